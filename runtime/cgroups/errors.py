"""What to advise when the kernel refuses a value, or an operation on a cgroup."""

from __future__ import annotations

import errno

from pyrun.errors import CgroupError

# (file, errno) → hint.  The kernel gives a bare number for causes that differ from file to file.
HINTS = {
    ("cgroup.procs", errno.EBUSY): "the cgroup has controllers enabled for its children, so it takes no process",
    ("cgroup.procs", errno.EINVAL): "a real-time process needs cpu.realtimeRuntime in its cgroup",
    ("cgroup.procs", errno.ENOSPC): "cpuset.cpus and cpuset.mems of the cgroup must not be empty",
    ("cgroup.procs", errno.EOPNOTSUPP): "the cgroup is in a threaded subtree: choose another cgroupsPath",
    ("cgroup.procs", errno.ESRCH): "the process has ended",
    ("cpu.cfs_burst_us", errno.EINVAL): "the burst must not be above the quota",
    ("cpu.cfs_period_us", errno.EINVAL): "a period is 1000 to 1000000 µs",
    ("cpu.cfs_quota_us", errno.EINVAL): "a quota is at least 1000 µs and within what the parent cgroup has",
    ("cpu.max", errno.EINVAL): "a quota is at least 1000 µs, a period 1000 to 1000000 µs",
    ("cpu.rt_period_us", errno.EINVAL): "the parent cgroup's real-time budget does not allow it",
    ("cpu.rt_runtime_us", errno.EINVAL): "the parent cgroup's real-time budget does not allow it",
    ("cpu.shares", errno.EINVAL): "shares can't be set while cpu.idle is 1",
    ("cpu.weight", errno.EINVAL): "shares can't be set while cpu.idle is 1",
    ("cpuset.cpus", errno.EACCES): "only CPUs of the parent cgroup can be given",
    ("cpuset.cpus", errno.EINVAL): "write CPUs as 0-2,5 and only those that the parent cgroup has",
    ("cpuset.cpus", errno.ERANGE): "this machine has no such CPU",
    ("cpuset.mems", errno.EACCES): "only memory nodes of the parent cgroup can be given",
    ("cpuset.mems", errno.EINVAL): "write memory nodes as 0-2,5 and only those that the parent cgroup has",
    ("cpuset.mems", errno.ERANGE): "this machine has no such memory node",
    ("devices.allow", errno.EPERM): "the parent cgroup itself may not use this device",
    ("io.max", errno.ENODEV): "there is no block device with these numbers",
    ("memory.limit_in_bytes", errno.EBUSY): "the cgroup uses more than this already",
    ("memory.limit_in_bytes", errno.EINVAL): "the limit must not be above memory+swap",
    ("memory.memsw.limit_in_bytes", errno.EBUSY): "the cgroup uses more than this already",
    ("memory.memsw.limit_in_bytes", errno.EINVAL): "memory.swap is memory plus swap: set memory.limit, not above it",
    ("memory.memsw.limit_in_bytes", errno.ENOENT): "boot the kernel with swapaccount=1",
    ("memory.swap.max", errno.ENOENT): "boot the kernel with swapaccount=1",
    ("rdma.max", errno.ENODEV): "there is no RDMA device of this name",
}
_HINTS_FOR_ANY_FILE = {
    errno.ENOENT: "this kernel does not have it",
    errno.EROFS: "the cgroup file system is mounted read-only",
    errno.EACCES: "the caller may not write here: without root a cgroup must be delegated",
    errno.EPERM: "the caller may not write here: without root a cgroup must be delegated",
}


def refused(pointer: str, what: str, path: str, error: OSError) -> CgroupError:
    """The CgroupError for an OSError met while doing `what` to the cgroup file or directory `path`."""
    number = error.errno or 0
    hint = HINTS.get((path[path.rindex("/") + 1 :], number), "") or _HINTS_FOR_ANY_FILE.get(number, "")
    return CgroupError(f"{what} {path}", pointer=pointer, errno=number, hint=hint)
