"""The trial's own part of each cgroup hierarchy, the only one that is looked at."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
_CPUSET = ("cpuset.cpus", "cpuset.mems")
FREEZERS = {"freezer.state": "THAWED", "cgroup.freeze": "0"}


class Tree:
    """name: of the cgroup in which all of the trial's containers have theirs. systemd: it is a slice, made by that."""

    def __init__(self, name: str, systemd: bool = False) -> None:
        self.systemd = systemd
        self.name = f"{name.replace('-', '')}.slice" if systemd else name
        tops = [Path("/sys/fs/cgroup")] if V2 else hierarchies()
        self.directories = [top / self.name for top in tops]
        self.foreign = [top / f"{name}-sentinel" for top in tops]

    def path(self, container: str) -> str:
        """What linux.cgroupsPath is for a container."""
        return f"{self.name}:trial:{container}" if self.systemd else f"/{self.name}/{container}"

    def make(self) -> None:
        """Make the directories, and those of the sentinel."""
        for directory in (*(() if self.systemd else self.directories), *self.foreign):
            directory.mkdir()
            for name in _CPUSET:  # on version 1 nobody can be in one without
                if not V2 and (directory / name).exists():
                    (directory / name).write_text((directory.parent / name).read_text())

    def made(self) -> set[str]:
        """What is below them."""
        return {
            os.path.join(folder, name)
            for top in self.directories
            for folder, names, _ in os.walk(top)
            for name in names
        }

    def of(self, container: str) -> set[str]:
        """Those among them that are a container's, or below one of its."""
        names = {container, f"trial-{container}.scope"}
        return {path for path in self.made() if names & set(path.split("/"))}

    def sweep(self, spared: set[str]) -> None:
        """Remove what is left by others than `spared`: their processes have been killed, and die once thawed."""
        for path in self.made() - spared:
            for name, value in FREEZERS.items():
                with contextlib.suppress(OSError):
                    if os.path.exists(f"{path}/{name}"):
                        Path(path, name).write_text(value)

    def remove(self, spared: set[str]) -> None:
        """Remove those that are empty by now, from below."""
        for path in sorted(self.made() - spared, reverse=True):
            with contextlib.suppress(OSError):
                os.rmdir(path)

    def unmake(self) -> None:
        """At the end."""
        self.remove(set())
        for directory in (*self.directories, *self.foreign):
            with contextlib.suppress(OSError):
                directory.rmdir()


def hierarchies() -> list[Path]:
    """The mount points of version 1's, and of the unified one beside them."""
    lines = (line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines())
    found = {Path(words[4]) for words in lines if words[words.index("-") + 1] in ("cgroup", "cgroup2")}
    return sorted(path for path in found if path.parent == Path("/sys/fs/cgroup"))
