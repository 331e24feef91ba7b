"""What checkpoint and restore take: a CRIU (tests/fake_criu.py stands for it), and images; and what must be so when one
of them has failed."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import processes

if TYPE_CHECKING:
    from .world import World

_FAKE = Path(__file__).parents[1] / "fake_criu.py"
_PLAY = {"play": "success", "notices": ["setup-namespaces"], "features": ["mem_track"]}
_WRITTEN = "inventory.img"
_PAUSE = 0.01


class Images:
    """criu: its path. Each container's image is a directory by its name."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o711)
        self.folder = folder / "images"
        self.folder.mkdir(mode=0o711)
        self.criu = folder / "criu"
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
        while self._is_at_work() and time.monotonic() < last:
            time.sleep(_PAUSE)

    def _is_at_work(self) -> bool:
        return any(str(self.criu) in processes.describe(pid) for pid in processes.below(os.getpid()))


def goes_on(world: World, name: str) -> None:
    """A checkpoint has failed: the container runs as it did; unless it was written all the same."""
    world.images.await_criu()
    if (status := world.status(name)) != "running" and not world.images.is_whole(name):
        world.verdict.add("harm", f"it is {status}, and was not written")


def can_be_had_again(world: World, name: str) -> None:
    """A restore has failed: what `delete --force` leaves takes another one of the same image."""
    if world.run("delete", "--force", name):
        world.verdict.add("leftovers", f"delete --force {name} fails")
    world.prepare(*world.words(name, ("restore", "--detach", "IMAGE", "BUNDLE", "ID")))
