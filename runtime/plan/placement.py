"""Into the container's cgroups: at the clone, and by init's own hand (cgroups(7), clone3(2)).

Moving another process makes the kernel wait for a grace period, which takes longer than all else that create does. A
process that is born in its cgroup (v2), or writes "0" to a `tasks` file to move just itself (v1), need not wait.
"""

from __future__ import annotations

from errno import EACCES, EBADF, EPERM

from pyrun.kernel.constants import AT_FDCWD, O_DIRECTORY, O_RDONLY, O_WRONLY
from pyrun.machine.program import Program, Register

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.plan.facts import Facts

POINTER = "/linux/cgroupsPath"


class Placement:
    """The cgroups, opened with the host's rights. unified: that of v2, for CLONE_INTO_CGROUP.

    optional: being outside is no error: rootless, and no limit was asked for."""

    __slots__ = ("_tasks", "optional", "unified")

    def __init__(self, p: Program, facts: Facts) -> None:
        self.optional = facts.cgroups_optional
        self.unified: Register | None = None
        self._tasks: list[tuple[str, Register]] = []
        with p.source(POINTER):
            if facts.unified_cgroup:
                self.unified = p.openat(AT_FDCWD, facts.unified_cgroup, O_RDONLY | O_DIRECTORY)
            for folder in facts.v1_cgroups:
                denied = p.label()
                errors = {EACCES: denied, EPERM: denied} if self.optional else None
                fd = p.openat(AT_FDCWD, f"{folder}/tasks", O_WRONLY, errors=errors)
                p.place(denied)
                self._tasks.append((folder, fd))

    def enter(self, p: Program) -> None:
        """Move the process that runs this into those of v1: `tasks`, unlike cgroup.procs, takes no global lock."""
        with p.source(POINTER):
            for folder, fd in self._tasks:
                # With `optional` the descriptor may be an errno: EBADF then.
                denied, closed = p.label(), p.label()
                errors = {EACCES: denied, EPERM: denied, EBADF: denied} if self.optional else None
                p.write(fd, "0", errors=errors, note=f"moving init to {folder}")
                p.place(denied)
                p.call("close", fd, errors={EBADF: closed} if self.optional else None)
                p.place(closed)
                p.free(fd)
            if self.unified:
                p.close(self.unified)
