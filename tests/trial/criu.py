"""checkpoint and restore by CRIU itself, where it can: pyrun or CRIU is ended at some moment of it, CRIU fails at a
place of its own (CRIU_FAULT), or the image has no room, or is broken."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from random import Random

from conformance.harness import MNT_DETACH, libc

from .bundles import KINDS
from .images import Course
from .scenes import SCENES
from .world import World

_VERBS = ("checkpoint", "restore")
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
# criu/include/fault-injection.h: dies before it has touched a process, finds no memory, does not reach a process;
# dies at the root process, fails when all are there.
_FAULTS = {"checkpoint": (1, 3, 5), "restore": (2, 6)}
_PAUSE = 0.01


def hit(world: World, random: Random, number: int) -> None:
    """By turns, each of the verbs and each of the harms."""
    verb = _VERBS[number % len(_VERBS)]
    kind = random.randrange(len(KINDS))
    harms = (_ended, _killed, _fails, _no_room if verb == "checkpoint" else _broken)
    harm = harms[number // len(_VERBS) % len(harms)]
    world.images.killed = False
    _course(world, verb)
    world.note(f"{verb}, of the kind {kind}")
    SCENES[verb].play(world, kind, within=harm(world, random, verb))


def _course(world: World, verb: str) -> Course:
    """That of the verb when nothing is done to it."""
    if verb not in world.courses:
        world.courses[verb] = course = Course()
        SCENES[verb].play(world, 0, within=course)
        course.room = sum(path.stat().st_size for path in world.images.path(world.ids[-1]).iterdir()) // 1024
        world.forget()
    return world.courses[verb]


def _ended(world: World, random: Random, verb: str) -> AbstractContextManager[None]:
    """pyrun gets a signal at some moment."""
    number = random.choice(_SIGNALS)
    return _signalled(world, random, verb, number, world.callers)


def _killed(world: World, random: Random, verb: str) -> AbstractContextManager[None]:
    """CRIU is killed, which leaves the processes as they are."""
    return _signalled(world, random, verb, signal.SIGKILL, world.images.at_work)


@contextlib.contextmanager
def _signalled(
    world: World, random: Random, verb: str, number: signal.Signals, who: Callable[[], set[int]]
) -> Iterator[None]:
    moment = random.random()
    world.note(f"{number.name} after {moment:.3f} of its time to {who.__name__}")
    over = threading.Event()

    def wait() -> None:
        over.wait(moment * _course(world, verb).seconds)
        while not over.is_set() and not (pids := who()):
            over.wait(_PAUSE)
        for pid in () if over.is_set() else pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            world.images.killed |= who == world.images.at_work

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def _fails(world: World, random: Random, verb: str) -> Iterator[None]:
    fault = random.choice(_FAULTS[verb])
    world.note(f"CRIU_FAULT {fault}")
    world.images.fault.write_text(f"{fault}\n")
    try:
        yield
    finally:
        world.images.fault.unlink()


@contextlib.contextmanager
def _no_room(world: World, random: Random, verb: str) -> Iterator[None]:
    room = random.randrange(4, _course(world, verb).room)
    world.note(f"room for {room} KiB")
    image = world.images.path(world.ids[-1])
    image.mkdir(mode=0o711)
    libc.mount(b"image", bytes(image), b"tmpfs", 0, f"size={room}k,mode=711".encode())
    try:
        yield
    finally:
        world.images.await_criu()
        libc.umount2(bytes(image), MNT_DETACH)


@contextlib.contextmanager
def _broken(world: World, random: Random, verb: str) -> Iterator[None]:
    """One of its files is cut short. Not that of memory: CRIU 4.1 does not come to an end then."""
    image = world.images.path(world.ids[-1])
    files = sorted(path for path in image.glob("*.img") if not path.name.startswith("pages-"))
    if not files:  # there is none, which was told
        yield
        return
    file = random.choice(files)
    whole = file.read_bytes()
    world.note(f"{file.name}, {len(whole)} bytes, is cut")
    file.write_bytes(whole[: random.randrange(len(whole))])
    try:
        yield
    finally:
        file.write_bytes(whole)
