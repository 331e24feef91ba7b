"""Notices that a cgroup is out of memory (memory.rst of cgroup v1, "OOM Control"; cgroup-v2.rst, memory.events)."""

from __future__ import annotations

import posix
import select
from typing import TYPE_CHECKING

from pyrun.kernel import files

if TYPE_CHECKING:
    from pyrun.cgroups.cgroup import Cgroup


def notices(cgroup: Cgroup) -> V1Notices | V2Notices:
    """Raises OSError where the host has none."""
    directory = next((d.path for d in cgroup.directories if cgroup.mode == "v2" or "memory" in d.controllers), "")
    return V2Notices(directory) if cgroup.mode == "v2" else V1Notices(directory)


class V1Notices:
    """fd: to be polled for `events`; take(): after that, how many notices there are."""

    events = select.POLLIN

    def __init__(self, directory: str) -> None:
        self._file = f"{directory}/memory.oom_control"
        control = posix.open(self._file, posix.O_RDONLY | posix.O_CLOEXEC)
        self.fd = posix.eventfd(0, posix.EFD_CLOEXEC | posix.EFD_NONBLOCK)
        try:
            files.write(f"{directory}/cgroup.event_control", f"{self.fd} {control}")
        finally:
            posix.close(control)

    def take(self) -> int:
        """The kernel wakes before it kills, so its counter says nothing yet. It wakes too when the cgroup goes."""
        count = posix.eventfd_read(self.fd)
        return count if files.exists(self._file) else 0


class V2Notices:
    """The same for version 2, which counts kills."""

    events = select.POLLPRI

    def __init__(self, directory: str) -> None:
        self.fd = posix.open(f"{directory}/memory.events", posix.O_RDONLY | posix.O_CLOEXEC)
        self._seen = self._kills()

    def _kills(self) -> int:
        # Reading is what ends the kernel's notice.
        for line in posix.pread(self.fd, 4096, 0).splitlines():
            name, _, number = line.partition(b" ")
            if name == b"oom_kill":
                return int(number)
        return 0

    def take(self) -> int:
        """How many there were since the last time."""
        try:
            now = self._kills()
        except OSError:  # the cgroup is gone
            return 0
        new, self._seen = now - self._seen, now
        return new
