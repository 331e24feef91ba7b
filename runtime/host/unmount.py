"""Take off what a container without a mount namespace left on the host."""

from __future__ import annotations

from errno import ENOENT, ENOTDIR

from pyrun.kernel.constants import (
    AT_FDCWD,
    MNT_DETACH,
    O_DIRECTORY,
    O_NOFOLLOW,
    O_PATH,
    STATX_MNT_ID,
    STATX_MNT_ID_UNIQUE,
)
from pyrun.machine.launch import execute
from pyrun.machine.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.caller import Caller


def unmount(path: str, identity: int, caller: Caller) -> None:
    """Unmount the tree at `path`, if it is the mount with this unique id (umount2(2), statx(2)). Before Linux 6.8 ids
    are given again, but not while the mount is there. Raises Error."""
    p = Program()
    others = p.label()
    # What is mounted there now may be anybody's, and more than one: it goes by what the descriptor is.
    gone = dict.fromkeys((ENOENT, ENOTDIR), others)
    mount = p.openat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_NOFOLLOW, errors=gone)
    found = p.load(p.statx(mount, more=STATX_MNT_ID_UNIQUE), STATX_MNT_ID, 8)
    p.branch_unless(found, identity, others)
    p.call("fchdir", mount)
    p.call("umount2", ".", MNT_DETACH)
    p.place(others)
    execute(p, caller, "unmount the container's root", path)
