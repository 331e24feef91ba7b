"""A procfs of the runtime's own, out of everybody's reach.

Nothing that an image or another container mounts or links can stand in for its files (CVE-2025-52881)."""

from __future__ import annotations

from errno import EPERM

from pyrun.kernel.constants import (
    AT_FDCWD,
    O_DIRECTORY,
    O_RDONLY,
    PROC_SUPER_MAGIC,
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_XDEV,
)
from pyrun.machine.program import Program, Register
from pyrun.plan import verify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.plan.facts import Facts

# Within one procfs; its own symlinks, self and thread-self, are followed.
WITHIN = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS


def open_proc(p: Program, facts: Facts) -> Register:
    """Made on the host, since inside it may be refused; `self` in it is whoever asks."""
    if facts.privileged and not facts.nested:
        fs = p.fsopen("proc")
        p.fsconfig_create(fs)
        proc = p.fsmount(fs, 0)
        p.close(fs)
        return proc
    proc = p.openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY)
    verify.on_file_system(p, proc, PROC_SUPER_MAGIC, EPERM, "/proc is not a procfs")
    return proc
