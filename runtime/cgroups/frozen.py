"""Whether a cgroup is frozen: the one question about cgroups that every command on a container asks, so it stands alone
and costs nothing to load."""

from __future__ import annotations

import posix
from errno import EACCES, ENODEV, ENOENT, ENOTDIR

from pyrun.kernel.files import read_bytes, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The cgroup is gone, or not for us to see.
_GONE = (EACCES, ENODEV, ENOENT, ENOTDIR)


def is_frozen(directory: str) -> bool:
    """Whether the processes of the cgroup at `directory` (of v1's freezer, or of v2) are stopped, by a cgroup above
    too. False for "" and for a cgroup that is gone. Source: freezer-subsystem.rst, cgroup-v2.rst (cgroup.events)."""
    if not directory:
        return False
    for file, thawed in (("freezer.state", b"THAWED\n"), ("cgroup.events", b"frozen 0")):
        try:
            fd = posix.open(f"{directory}/{file}", posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError as e:
            if e.errno not in _GONE:
                raise
            continue
        try:
            return thawed not in posix.read(fd, 4096)
        except OSError as e:
            if e.errno not in _GONE:  # removed between open and read
                raise
            return False
        finally:
            posix.close(fd)
    return False


def moved_to(pid: int, directories: list[Any]) -> str:
    """The directory of the freezer cgroup of version 1 that the process is in, if somebody has moved it out of the
    container's, whose rows of `to_state` these are; else "" (proc_pid_cgroup(5))."""
    for controllers, top, path, *_ in directories:
        if "freezer" in controllers:
            try:
                lines = read_bytes(f"/proc/{pid}/cgroup").decode("utf-8", "surrogateescape").splitlines()
            except OSError:
                return ""
            found = next((top + line.partition(":freezer:")[2] for line in lines if ":freezer:" in line), path)
            return "" if found == path or found.startswith(f"{path}/") else found
    return ""


def thaw(directory: str) -> None:
    """Let a cgroup of version 1 run. One that is gone is no error."""
    try:
        write(f"{directory}/freezer.state", "THAWED")
    except OSError as e:
        if e.errno not in _GONE:
            raise


def has_inner(directory: str) -> bool:
    """Whether there are cgroups in the one at `directory`: made by what runs in the container, and perhaps frozen."""
    try:
        return bool(directory) and posix.stat(directory).st_nlink > 2
    except OSError:
        return False
