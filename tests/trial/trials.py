"""The table of what is tried, and how a trial is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from . import corrupt, criu, crowd, disk, inject, lives, surroundings
from .judge import Row, Verdict
from .world import World

Round = Callable[[World, Random, int], None]


@dataclass(frozen=True)
class Trial:
    """short, minute: how many rounds the short form has, and the long one for each of its minutes. together: how many
    are made before what they leave is looked at. user: the caller isn't root. knows: `delete --force` can know all that
    a container has. criu: it takes CRIU itself."""

    name: str
    round: Round
    short: int
    minute: int
    together: int = 1
    user: bool = False
    knows: bool = True
    criu: bool = False

    def rounds(self, minutes: int) -> int:
        """How many it has; 0 minutes are the short form."""
        return self.minute * minutes or self.short


TRIALS = (
    Trial("a signal at a system call", inject.signals, 36, 100),
    Trial("a system call that fails", inject.errors, 36, 100),
    Trial("sixteen callers at once", crowd.callers, 1, 1),
    Trial("one life after another", lives.life, 30, 200),
    Trial("many lives at once", lives.begin, 10, 30, together=300),
    Trial("a disk that fills", disk.full, 8, 6),
    Trial("a limit on the size of files", disk.limited, 6, 6),
    Trial("a store that becomes read-only", disk.read_only, 6, 3),
    Trial("a broken file in the store", corrupt.store, 8, 10, knows=False),
    Trial("a broken file beside it", corrupt.beside, 6, 5),
    Trial("a caller in odd surroundings", surroundings.odd, 24, 15),
    Trial("a signal, without root", inject.signals, 8, 8, user=True),
    Trial("a system call that fails, without root", inject.errors, 8, 8, user=True),
    Trial("odd surroundings, without root", surroundings.odd, 8, 6, user=True),
    Trial("CRIU itself", criu.hit, 24, 6, criu=True),
)


def attempt(trial: Trial, world: World, seed: int, rounds: range, tell: Callable[[str], None]) -> Row:
    """Make the rounds; `tell` is told of the bad ones."""
    row = Row(trial.name)
    world.measure()  # the first life makes what is kept
    before = world.measure()
    for number, verdict in _verdicts(trial, world, seed, rounds):
        row.rounds = number - rounds.start + 1
        row.add(verdict)
        if verdict.bad:
            tell(f"--- {trial.name}, seed {seed}, round {number}\n{verdict}\n")
    after = world.measure()
    last = world.aftercare()
    last.bad += [
        ("growth", f"{what}: {before[what]}, then {after[what]}") for what in after if after[what] > before[what]
    ]
    row.add(last)
    if last.bad:
        tell(f"--- {trial.name}, seed {seed}, after the last round\n{last}\n")
    return row


def _verdicts(trial: Trial, world: World, seed: int, rounds: range) -> Iterator[tuple[int, Verdict]]:
    for number in rounds:
        trial.round(world, Random(f"{seed} {trial.name} {number}"), number)
        if (number + 1) % trial.together == 0 or number == rounds[-1]:
            yield number, world.aftercare(knows=trial.knows)
