"""What checkpoint and restore take: CRIU, or tests/fake_criu.py in its place, and images; and what must be so when one
of them has failed."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from . import processes

if TYPE_CHECKING:
    from .world import World

_FAKE = Path(__file__).parents[1] / "fake_criu.py"
_PLAY = {"play": "success", "notices": ["setup-namespaces"], "features": ["mem_track"]}
_WRITTEN = "inventory.img"
_PAUSE = 0.01
# CRIU itself, which is told by a file where it is to fail.
_REAL = """#!/bin/sh
[ ! -e {fault} ] || { read CRIU_FAULT < {fault}; export CRIU_FAULT; }
exec {criu} "$@"
"""


class Course(AbstractContextManager[None]):
    """Of a verb. seconds: how long it takes. room: KiB of its image."""

    seconds = 0.0
    room = 0

    def __enter__(self) -> None:
        self.seconds = -time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.monotonic()


class Images:
    """criu: its path. Each container's image is a directory by its name. real: the CRIU that is used; "": the one of
    the tests. fault: where it is told to fail. killed: in this round it was, at work."""

    def __init__(self, folder: Path, real: str = "") -> None:
        folder.mkdir(mode=0o711)
        self.fault = folder / "fault"
        self.killed = False
        self.folder = folder / "images"
        self.folder.mkdir(mode=0o711)
        self.criu = folder / "criu"
        if real:
            self.criu.write_text(_REAL.replace("{fault}", str(self.fault)).replace("{criu}", real))
        else:
            self.criu.write_text(f"#!{sys.executable}\n{_FAKE.read_text()}")
        self.criu.chmod(0o755)
        (folder / "play").write_text(json.dumps(_PLAY))
        (folder / "asked").symlink_to("/dev/null")

    def path(self, name: str) -> Path:
        return self.folder / name

    def is_whole(self, name: str) -> bool:
        """All of it is written."""
        return (self.path(name) / _WRITTEN).exists()

    def forget(self, name: str) -> None:
        if self.path(name).exists():
            self.await_criu()
            shutil.rmtree(self.path(name))

    def await_criu(self) -> None:
        """Wait until none is at work: one whose caller was killed goes on for a while. One that stays is a leftover."""
        last = time.monotonic() + processes.PATIENCE
        while self.at_work() and time.monotonic() < last:
            time.sleep(_PAUSE)

    def at_work(self) -> set[int]:
        """Those that are CRIU."""
        return {pid for pid in processes.below(os.getpid()) if processes.name(pid) == self.criu.name}


def goes_on(world: World, name: str) -> None:
    """A checkpoint has failed: the container runs as it did; unless it was written all the same, or CRIU had its
    processes in hand and was killed."""
    world.images.await_criu()
    status, killed = world.status(name), world.images.killed
    if status == "running" and not killed:
        world.prepare("exec", name, "true")
    elif status == "paused" or not (status == "running" or killed or world.images.is_whole(name)):
        world.verdict.add("harm", f"it is {status}, and was not written")


def can_be_had_again(world: World, name: str) -> None:
    """A restore has failed: what `delete --force` leaves takes another one of the same image."""
    if world.run("delete", "--force", name):
        world.verdict.add("leftovers", f"delete --force {name} fails")
    world.prepare(*world.words(name, ("restore", "--detach", "IMAGE", "BUNDLE", "ID")))
