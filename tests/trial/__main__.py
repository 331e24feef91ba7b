"""The long form: python -m tests.trial [--minutes N] [--seed N] [--round N [--call N]] [--criu CRIU] [TRIAL...]"""

from __future__ import annotations

import argparse
import os
import sys

from conformance.harness import libc

from . import inject, judge
from .processes import adopt_orphans
from .trials import TRIALS, Trial, attempt
from .world import World

_CLONE_NEWNS, _MS_REC, _MS_PRIVATE = 0x20000, 1 << 14, 1 << 18


def main() -> int:
    """Exit status 1: something is bad."""
    asked = _arguments()
    trials = [trial for trial in TRIALS if trial.criu == bool(asked.criu)]
    trials = [trial for trial in trials if not asked.trials or any(word in trial.name for word in asked.trials)]
    _apart()
    rows = [row for user in (False, True) for row in _rows(asked, [trial for trial in trials if trial.user == user])]
    print(judge.table(rows))
    return 0 if all(row.is_good for row in rows) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.trial", description="The standing trial of pyrun.")
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help="words of the names of those to be made")
    parser.add_argument("--pyrun", default="build/pyrun", help="the program under trial")
    parser.add_argument("--minutes", type=int, default=10, help="about how long; 0: the short form")
    parser.add_argument("--seed", type=int, default=1, help="what all chance comes from")
    parser.add_argument("--round", type=int, help="make this round only")
    parser.add_argument(
        "--call", type=int, default=0, help="hit this one: how many there are depends on the moment too"
    )
    parser.add_argument("--criu", default="", help="CRIU itself, on a kernel where it works: the trials that take it")
    parser.add_argument("--systemd-cgroup", action="store_true", help="let systemd make the cgroups")
    return parser.parse_args()


def _apart() -> None:
    """No mistake may reach the machine's mounts, and no process get out of sight."""
    if libc.unshare(_CLONE_NEWNS) or libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None):
        raise SystemExit("the trial needs root")
    adopt_orphans()


def _rows(asked: argparse.Namespace, trials: list[Trial]) -> list[judge.Row]:
    if not trials:
        return []
    wide = ("--systemd-cgroup",) if asked.systemd_cgroup and not trials[0].user else ()
    pyrun = os.path.abspath(asked.pyrun)
    with World(pyrun, wide=wide, user=trials[0].user, seed=asked.seed, criu=asked.criu) as world:
        world.call = asked.call
        return [_row(asked, trial, world) for trial in trials if inject.SUPPORTED or "system call" not in trial.name]


def _row(asked: argparse.Namespace, trial: Trial, world: World) -> judge.Row:
    one = asked.round
    rounds = range(trial.rounds(asked.minutes)) if one is None else range(one, one + 1)
    row = attempt(trial, world, asked.seed, rounds, lambda text: print(text, flush=True))
    print(row, file=sys.stderr, flush=True)
    return row


if __name__ == "__main__":
    sys.exit(main())
