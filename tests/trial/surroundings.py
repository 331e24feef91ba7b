"""Callers as they ought not to be."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from .scenes import SCENES, scenes
from .world import World

_STRIDE = 5
_MEGABYTE = 1 << 20
_CAN_BE_IGNORED = sorted(set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})


def odd(world: World, random: Random, number: int) -> None:
    """A verb, called in one of these ways."""
    ways = list(WAYS)
    way = ways[number % len(ways)]
    names = scenes(world)
    scene = names[(number * _STRIDE + number // len(ways)) % len(names)]
    world.note(f"{scene}: {way}")
    SCENES[scene].play(world, number, **WAYS[way])


def _close(*numbers: int) -> None:
    for number in numbers:
        os.close(number)


def _ignore(*numbers: int) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (most, most if hard == resource.RLIM_INFINITY else min(most, hard)))


def _nowhere() -> None:
    folder = f"/tmp/trial-{os.getpid()}"
    os.mkdir(folder)
    os.chdir(folder)
    os.rmdir(folder)


def _to(*numbers: int, path: str = "/dev/full", flags: int = os.O_WRONLY) -> None:
    fd = os.open(path, flags)
    for number in numbers:
        os.dup2(fd, number)


def _to_nobody() -> None:
    """stdout and stderr are a pipe that nobody reads."""
    read, write = os.pipe()
    os.dup2(write, 1)
    os.dup2(write, 2)
    _close(read, write)


def _own(function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """What the caller does to itself before it executes pyrun."""
    return {"plain": partial(function, *arguments)}


WAYS: dict[str, dict[str, Any]] = {
    "stdin closed": _own(_close, 0),
    "stdout closed": _own(_close, 1),
    "stderr closed": _own(_close, 2),
    "all three closed": _own(_close, 0, 1, 2),
    "stdin a directory": _own(partial(_to, 0, path="/", flags=os.O_RDONLY)),
    "stdout and stderr full": _own(_to, 1, 2),
    "stdout and stderr broken": _own(_to_nobody),
    "SIGCHLD ignored": _own(_ignore, signal.SIGCHLD),
    "all signals ignored": _own(_ignore, *_CAN_BE_IGNORED),
    "all signals blocked": _own(signal.pthread_sigmask, signal.SIG_BLOCK, _CAN_BE_IGNORED),
    **{f"RLIMIT_NOFILE {n}": _own(_limit, resource.RLIMIT_NOFILE, n) for n in range(3, 17)},
    **{f"RLIMIT_AS {n} MiB": _own(_limit, resource.RLIMIT_AS, n * _MEGABYTE) for n in (4, 8, 12, 16, 24, 32, 64)},
    "RLIMIT_NPROC 0": _own(_limit, resource.RLIMIT_NPROC, 0),
    "RLIMIT_NPROC 1": _own(_limit, resource.RLIMIT_NPROC, 1),
    "RLIMIT_STACK 64 KiB": _own(_limit, resource.RLIMIT_STACK, 1 << 16),
    "RLIMIT_MEMLOCK 0": _own(_limit, resource.RLIMIT_MEMLOCK, 0),
    "RLIMIT_FSIZE 0": _own(_limit, resource.RLIMIT_FSIZE, 0),
    "a directory that is gone": _own(_nowhere),
    "no environment": {"env": {}},
    "an environment of 1 MB": {"env": {f"NAME{n}": "x" * 100_000 for n in range(10)}},
    "an environment of 5,000 names": {"env": {f"NAME{n}": "" for n in range(5000)}},
    "an environment that is no text": {"env": {b"\xff": b"\xfe=", b"LC_ALL": b"\xff", b"HOME": b"\n"}},
    "umask 777": _own(os.umask, 0o777),
    "umask 0": _own(os.umask, 0),
    "a session of its own": {"start_new_session": True},
}
