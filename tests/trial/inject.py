"""Hits at the Nth system call (inject.c): signals, and errors.

The calls are counted once for each scene; the rounds are then spread evenly over the count, however many there are."""

from __future__ import annotations

import errno
import platform
import re
import signal
import subprocess
from itertools import product
from pathlib import Path
from random import Random

from .bundles import KINDS
from .scenes import SCENES, scenes
from .world import World

SUPPORTED = platform.machine() == "x86_64"
_WHO = ("own", "others")
_SIGNALS = ("SIGTERM", "SIGINT", "SIGKILL")
_ERRORS = ("ENOMEM", "EIO", "ENOSPC")
_STRIDE = 29
# Irrational, so that the places of any number of rounds are spread evenly; and so are those of each row, which comes
# again after as many rounds as there are rows.
_SPREAD = 0.7320508075688772
_HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")


def signals(world: World, random: Random, number: int) -> None:
    """A signal at a system call of pyrun, or of the executor."""
    _hit(world, number, {name: int(getattr(signal, name)) for name in _SIGNALS})


def errors(world: World, random: Random, number: int) -> None:
    """A system call of pyrun, or of the executor, that fails."""
    _hit(world, number, {name: -int(getattr(errno, name)) for name in _ERRORS})


def _hit(world: World, number: int, values: dict[str, int]) -> None:
    rows = list(product(scenes(world), _WHO, values))
    # Neighbours differ in all that they can: a short form has something of everything.
    scene, who, name = rows[number * _STRIDE % len(rows)]
    kind = (number + number // len(rows)) % len(KINDS)
    calls = _count(world, scene, kind)
    if not calls[_WHO.index(who)]:
        who = "own"  # nobody else is at work there
    most = calls[_WHO.index(who)]
    nth = world.call or 1 + int((number * _SPREAD + world.shift) % 1 * most)
    call = _injected(world, scene, kind, who, nth, values[name])[2]
    world.note(f"{scene}: {name} at call {nth} of {most} ({who}): {_name(call)}")


def _count(world: World, scene: str, kind: int) -> tuple[int, int]:
    """How many calls the scene has. The first time may fill the cache, and is another one."""
    if (scene, kind) not in world.calls:
        _injected(world, scene, kind, "own", 0, 0)
        world.calls[scene, kind] = _injected(world, scene, kind, "own", 0, 0)[:2]
        world.forget()
    return world.calls[scene, kind]


def _injected(world: World, scene: str, kind: int, who: str, nth: int, what: int) -> tuple[int, int, int]:
    report = world.home / "report"
    SCENES[scene].play(world, kind, before=(str(injector(world.home)), who, str(nth), str(what), str(report)))
    own, others, call = map(int, report.read_text().split() or (0, 0, -1))
    report.unlink()
    return own, others, call


def injector(home: Path) -> Path:
    """The compiled inject.c, made where the first of the trials needs it."""
    made = home.parent / "inject"
    if not made.exists():
        source = Path(__file__).with_name("inject.c")
        subprocess.run(["gcc", "-std=gnu11", "-O1", "-o", made, source], check=True)
    return made


def _name(number: int) -> str:
    found = re.search(rf"#define __NR_(\w+) {number}$", _HEADER.read_text(), re.MULTILINE) if _HEADER.exists() else None
    return found[1] if found else f"call {number}" if number >= 0 else "never reached"
