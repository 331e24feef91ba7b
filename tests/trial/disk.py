"""Disks that fill, files that may not grow, and a store that nobody can write to any more."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from conformance.harness import MNT_DETACH, libc

from .scenes import SCENES, scenes
from .world import World

_PAGE = 4096
_MS_RDONLY, _MS_REMOUNT, _MS_BIND = 1, 32, 1 << 12
_MOST_INODES, _MOST_PAGES = 9, 5
_MOST_SIZE = 6000  # a state has less


def full(world: World, random: Random, number: int) -> None:
    """A life in a store with room for so many files, or so many pages."""
    room = number % (_MOST_INODES + _MOST_PAGES)
    inodes, pages = (room + 1, 100) if room < _MOST_INODES else (100, room - _MOST_INODES + 1)
    world.note(f"a store of {inodes} inodes and {pages} pages")
    with _another_store(world, f"mode=700,nr_inodes={inodes},size={pages * _PAGE}"):
        name = world.new(kind=number, brief=True)
        world.run("run", *world.bundle(name), name)
        world.write(name, kind=number, brief=False)
        for words in (("create", "BUNDLE", "ID"), ("start", "ID"), ("update", "--pids-limit", "9", "ID")):
            world.run(*world.words(name, words))
        world.forget()
        for left in world.root.iterdir():
            world.verdict.add("leftovers", f"in the full store: {left.name}")


@contextmanager
def _another_store(world: World, options: str) -> Iterator[None]:
    usual, world.root = world.root, world.home / "tiny"
    world.root.mkdir()
    libc.mount(b"tiny", bytes(world.root), b"tmpfs", 0, options.encode())
    try:
        yield
    finally:
        libc.umount2(bytes(world.root), MNT_DETACH)
        world.root.rmdir()
        world.root = usual


def limited(world: World, random: Random, number: int) -> None:
    """A verb whose files may have so many bytes."""
    scene = _scene(world, number)
    size = random.randrange(_MOST_SIZE)
    world.note(f"{scene}: RLIMIT_FSIZE {size}")
    SCENES[scene].play(world, number, plain=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))


def read_only(world: World, random: Random, number: int) -> None:
    """A verb, after the store's mount was made read-only (for this mount namespace)."""
    scene = _scene(world, number)
    world.note(scene)
    SCENES[scene].play(world, number, within=_read_only(world.root))


def _scene(world: World, number: int) -> str:
    names = scenes(world)
    return names[number % len(names)]


@contextmanager
def _read_only(path: Path) -> Iterator[None]:
    raw = bytes(path)
    libc.mount(raw, raw, None, _MS_BIND, None)
    libc.mount(b"none", raw, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY, None)
    try:
        yield
    finally:
        libc.umount2(raw, MNT_DETACH)
