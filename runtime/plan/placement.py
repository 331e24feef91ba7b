"""Into the container's cgroups: at the clone, and by init's own hand (cgroups(7), clone3(2)).

Moving another process makes the kernel wait for a grace period, which takes longer than all else that create does. A
process that is born in its cgroup (v2), or writes "0" to a `tasks` file to move just itself (v1), need not wait.
"""

from __future__ import annotations

from errno import EACCES, EBADF, EPERM

from pyrun.kernel.constants import AT_FDCWD, O_DIRECTORY, O_RDONLY, O_WRONLY
from pyrun.machine.program import ANY_ERROR, Program, Register

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.plan.facts import Facts

POINTER = "/linux/cgroupsPath"
_ALL_CPUS = b"\xff" * 1024  # as many as a kernel can have (CONFIG_NR_CPUS)


class Placement:
    """The cgroups, opened with the host's rights. unified: that of v2, for CLONE_INTO_CGROUP.

    optional: being outside is no error: rootless, and no limit was asked for."""

    __slots__ = ("_leaf", "_tasks", "optional", "unified")

    def __init__(self, p: Program, facts: Facts) -> None:
        self.optional = facts.cgroups_optional
        self.unified: Register | None = None
        self._leaf: Register | None = None
        self._tasks: list[tuple[str, Register]] = []
        with p.at(POINTER):
            if facts.unified_cgroup:
                self.unified = p.openat(AT_FDCWD, facts.unified_cgroup, O_RDONLY | O_DIRECTORY)
                if facts.leaf:
                    self._leaf = p.openat(self.unified, f"{facts.leaf}/cgroup.procs", O_WRONLY)
            for directory in facts.v1_cgroups:
                denied = (EACCES, EPERM) if self.optional else ()
                fd = p.openat(AT_FDCWD, f"{directory}/tasks", O_WRONLY, ignore=denied)
                self._tasks.append((directory, fd))

    def enter_leaf(self, p: Program) -> None:
        """On into the leaf, once the cgroup above it is the root of a cgroup namespace: then that one has no processes
        of its own, and may give controllers to those below (cgroups(7), "no internal processes")."""
        if self._leaf:
            with p.at(POINTER), p.opened(self._leaf) as fd:
                p.write(fd, "0", note="moving init to the leaf of its cgroup")

    def enter(self, p: Program) -> None:
        """Move the process that runs this into those of v1: `tasks`, unlike cgroup.procs, takes no global lock."""
        with p.at(POINTER):
            for directory, fd in self._tasks:
                # With `optional` the descriptor may be an errno: EBADF then.
                refused = (EACCES, EPERM, EBADF) if self.optional else ()
                p.write(fd, "0", ignore=refused, note=f"moving init to {directory}")
                p.call("close", fd, ignore=refused)
                p.free(fd)
            if self.unified:
                p.close(self.unified)
        # The CPUs are those of the cgroup's cpuset, whatever the runtime's caller has been restricted to.
        with p.at("/linux/resources/cpu/cpus"):
            p.call("sched_setaffinity", 0, len(_ALL_CPUS), _ALL_CPUS, ignore=(ANY_ERROR,))
