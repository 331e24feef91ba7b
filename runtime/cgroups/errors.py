"""The one exception of the cgroup modules, and what to advise when the kernel refuses a value."""

from __future__ import annotations

import errno as _errno
import posix

# (file, errno) → hint.  The kernel gives a bare number for causes that differ from file to file.
HINTS = {
    ("cgroup.procs", _errno.EBUSY): "the cgroup has controllers enabled for its children, so it takes no process",
    ("cgroup.procs", _errno.EINVAL): "a real-time process needs cpu.realtimeRuntime in its cgroup",
    ("cgroup.procs", _errno.ENOSPC): "cpuset.cpus and cpuset.mems of the cgroup must not be empty",
    ("cgroup.procs", _errno.EOPNOTSUPP): "the cgroup is in a threaded subtree: choose another cgroupsPath",
    ("cgroup.procs", _errno.ESRCH): "the process has ended",
    ("cpu.cfs_burst_us", _errno.EINVAL): "the burst must not be above the quota",
    ("cpu.cfs_period_us", _errno.EINVAL): "a period is 1000 to 1000000 µs",
    ("cpu.cfs_quota_us", _errno.EINVAL): "a quota is at least 1000 µs and within what the parent cgroup has",
    ("cpu.max", _errno.EINVAL): "a quota is at least 1000 µs, a period 1000 to 1000000 µs",
    ("cpu.rt_period_us", _errno.EINVAL): "the parent cgroup's real-time budget does not allow it",
    ("cpu.rt_runtime_us", _errno.EINVAL): "the parent cgroup's real-time budget does not allow it",
    ("cpu.shares", _errno.EINVAL): "shares can't be set while cpu.idle is 1",
    ("cpu.weight", _errno.EINVAL): "shares can't be set while cpu.idle is 1",
    ("cpuset.cpus", _errno.EACCES): "only CPUs of the parent cgroup can be given",
    ("cpuset.cpus", _errno.EINVAL): "write CPUs as 0-2,5 and only those that the parent cgroup has",
    ("cpuset.cpus", _errno.ERANGE): "this machine has no such CPU",
    ("cpuset.mems", _errno.EACCES): "only memory nodes of the parent cgroup can be given",
    ("cpuset.mems", _errno.EINVAL): "write memory nodes as 0-2,5 and only those that the parent cgroup has",
    ("cpuset.mems", _errno.ERANGE): "this machine has no such memory node",
    ("devices.allow", _errno.EPERM): "the parent cgroup itself may not use this device",
    ("io.max", _errno.ENODEV): "there is no block device with these numbers",
    ("memory.limit_in_bytes", _errno.EBUSY): "the cgroup uses more than this already",
    ("memory.limit_in_bytes", _errno.EINVAL): "the limit must not be above memory+swap",
    ("memory.memsw.limit_in_bytes", _errno.EBUSY): "the cgroup uses more than this already",
    ("memory.memsw.limit_in_bytes", _errno.EINVAL): "memory.swap is memory plus swap: set memory.limit, not above it",
    ("memory.memsw.limit_in_bytes", _errno.ENOENT): "boot the kernel with swapaccount=1",
    ("memory.swap.max", _errno.ENOENT): "boot the kernel with swapaccount=1",
    ("rdma.max", _errno.ENODEV): "there is no RDMA device of this name",
}
_HINTS_FOR_ANY_FILE = {
    _errno.ENOENT: "this kernel does not have it",
    _errno.EROFS: "the cgroup file system is mounted read-only",
    _errno.EACCES: "the caller may not write here: without root a cgroup must be delegated",
    _errno.EPERM: "the caller may not write here: without root a cgroup must be delegated",
}


class CgroupError(Exception):
    """A cgroup operation that the host refused.

    pointer: JSON pointer of what asked for it ("" when nothing in config.json did); message: what was tried or is
    wrong, one line, without errno's text; errno: 0 when no system call failed; hint: what to do, or "".
    """

    def __init__(self, pointer: str, message: str, errno: int = 0, hint: str = "") -> None:
        super().__init__(pointer, message, errno, hint)
        self.pointer = pointer
        self.message = message
        self.errno = errno
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}: {posix.strerror(self.errno)}" if self.errno else self.message


class InUseError(CgroupError):
    """A cgroup can't be removed, since there are processes in it."""


def refused(pointer: str, what: str, path: str, error: OSError) -> CgroupError:
    """The CgroupError for an OSError met while doing `what` to the cgroup file or directory `path`."""
    number = error.errno or 0
    hint = HINTS.get((path[path.rindex("/") + 1 :], number), "") or _HINTS_FOR_ANY_FILE.get(number, "")
    return CgroupError(pointer, f"{what} {path}", number, hint)
