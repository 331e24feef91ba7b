"""Take off what a container without a mount namespace left on the host."""

from __future__ import annotations

from pyrun.runtime.executor.launch import EndedError, Executor, Layout, ProgramError
from pyrun.runtime.linux import MNT_DETACH
from pyrun.runtime.program import ANY_ERROR, Program

_UMOUNT_NOFOLLOW = 8


def unmount(path: str) -> None:
    """Unmount the tree at `path`, if there is one (umount2(2))."""
    p = Program()
    done = p.label()
    p.call("umount2", path, MNT_DETACH | _UMOUNT_NOFOLLOW, errors={ANY_ERROR: done})
    p.place(done)
    executor = Executor(p, Layout([]), [])
    try:
        executor.expect(executor.host, -1)
    except (EndedError, ProgramError):
        pass
    executor.close()
