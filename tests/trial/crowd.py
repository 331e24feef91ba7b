"""Sixteen callers who know nothing of each other, and few containers."""

from __future__ import annotations

from random import Random
from threading import Thread

from .world import World

_CALLERS = 16
_CONTAINERS = 3
_COMMANDS = 6  # of each caller
_PAUSE = 0.2
# None of them waits for a program's end: it might be paused for ever.
_VERBS: tuple[tuple[str, ...], ...] = (
    ("create", "BUNDLE", "ID"),
    ("create", "BUNDLE", "ID"),
    ("run", "--detach", "BUNDLE", "ID"),
    ("start", "ID"),
    ("start", "ID"),
    ("exec", "--detach", "ID", "sleep", "100000"),
    ("update", "--pids-limit", "99", "ID"),
    ("pause", "ID"),
    ("resume", "ID"),
    ("kill", "ID", "KILL"),
    ("kill", "--all", "ID", "TERM"),
    ("delete", "ID"),
    ("delete", "--force", "ID"),
    ("state", "ID"),
    ("ps", "ID"),
    ("events", "--stats", "ID"),
    ("list",),
)


def callers(world: World, random: Random, number: int) -> None:
    """Each makes its commands, one after the other."""
    names = [world.new(kind=kind, brief=False) for kind in range(_CONTAINERS)]
    threads = [
        Thread(target=_call, args=(world, [(random.choice(names), random.choice(_VERBS)) for _ in range(_COMMANDS)]))
        for _ in range(_CALLERS)
    ]
    for thread in threads:
        thread.start()
    # An exec into a container that somebody pauses meanwhile waits for who resumes it; that may be the last one.
    for thread in threads:
        while thread.is_alive():
            thread.join(_PAUSE)
            for name in names:
                world.run("resume", name)


def _call(world: World, commands: list[tuple[str, tuple[str, ...]]]) -> None:
    for name, words in commands:
        world.run(*world.words(name, words))
