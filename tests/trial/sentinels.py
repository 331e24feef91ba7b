"""Those who have nothing to do with it, and must not notice: a process, a cgroup with one, a mount, a container."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.harness import MNT_DETACH, libc

from .cgroups import FREEZERS
from .processes import is_well, start_time

if TYPE_CHECKING:
    from .world import World


class Sentinels:
    """Set up in a world; `harm` says what has become of them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.processes = [subprocess.Popen(["sleep", "100000"], start_new_session=True) for _ in range(2)]
        world.spared.update(process.pid for process in self.processes)
        for directory in world.tree.foreign:
            (directory / "cgroup.procs").write_text(str(self.processes[1].pid))
        self.mount = world.home / "sentinel"
        self.mount.mkdir(exist_ok=True)
        libc.mount(b"sentinel", bytes(self.mount), b"tmpfs", 0, b"size=4k")
        (self.mount / "mark").write_text("here")
        self.neighbour = world.new(kind=0, brief=False)
        world.prepare("create", *world.bundle(self.neighbour), self.neighbour)
        world.prepare("start", self.neighbour)
        world.ids.remove(self.neighbour)
        self.state = world.root / self.neighbour / "state.json"
        self.init = int(json.loads(self.state.read_text())["pid"])
        world.spared.add(self.init)
        self.cgroups = world.tree.of(self.neighbour)
        assert self.cgroups or world.user, "the cgroups are not where they are looked for"
        self.seen = self._look()

    def harm(self) -> list[str]:
        """What is not as it was."""
        now = self._look()
        return [what for what, before in self.seen.items() if now[what] != before]

    def _look(self) -> dict[str, object]:
        pids = sorted(self.world.spared)
        return {
            "a process": [(start_time(pid), is_well(pid)) for pid in pids],
            "a process's cgroups": [_read(f"/proc/{pid}/cgroup") for pid in pids],
            "a cgroup": [_read(directory / "cgroup.procs") for directory in self.world.tree.foreign],
            "a mount": _read(self.mount / "mark"),
            "the neighbour's state": _read(self.state),
            "the neighbour's cgroups": sorted(self.world.tree.of(self.neighbour)),
            "the neighbour's frost": [_read(f"{path}/{name}") for path in sorted(self.cgroups) for name in FREEZERS],
        }

    def remove(self) -> None:
        """All of them."""
        self.world.run("delete", "--force", self.neighbour)
        (self.world.home / f"{self.neighbour}.json").unlink(missing_ok=True)
        for process in self.processes:
            process.kill()
            process.wait()
        self.world.spared.clear()
        libc.umount2(bytes(self.mount), MNT_DETACH)


def _read(path: Path | str) -> str:
    try:
        return Path(path).read_text()
    except OSError as e:
        return f"{e.strerror}"
