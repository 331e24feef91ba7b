"""What to advise when the kernel refuses a value, or an operation on a cgroup."""

from __future__ import annotations

import errno

from pyrun.errors import CgroupError

# (file, errno) → hint, of what belongs to no controller; each of those has its own.
_HINTS = {
    ("cgroup.procs", errno.EBUSY): "the cgroup has controllers enabled for its children, so it takes no process",
    ("cgroup.procs", errno.EOPNOTSUPP): "the cgroup is in a threaded subtree: choose another cgroupsPath",
    ("cgroup.procs", errno.ESRCH): "the process has ended",
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
    hint = _hint(path[path.rindex("/") + 1 :], number) or _HINTS_FOR_ANY_FILE.get(number, "")
    return CgroupError(f"{what} {path}", pointer=pointer, errno=number, hint=hint)


def _hint(file: str, number: int) -> str:
    # Imported here: kill, delete and exec need no controllers while all goes well.
    from pyrun.cgroups.controllers import controllers  # lazy: an error

    tables = (_HINTS, *(controller.hints for controller in controllers()))
    return next((table[file, number] for table in tables if (file, number) in table), "")
