"""Work on many things, shared among several processes."""

from __future__ import annotations

import marshal
import posix

from pyrun.kernel.files import close, read_all, write_all
from pyrun.kernel.signals import in_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


# Each takes a descriptor of ours.
_MOST = 8


def in_shares(work: Callable[[list[str]], list[Any]], names: list[str], least: int) -> list[Any]:
    """The rows that `work` finds for the names, in their order: by a process for each CPU that we may use, if there are
    `least` names for it. Rows hold only what marshal takes. What another process fails at is done again by us; so
    errors are raised here, and what `work` logs may come twice."""
    count = min(len(posix.sched_getaffinity(0)), len(names) // least, _MOST) or 1
    at = [i * len(names) // count for i in range(count + 1)]
    first, *rest = [names[at[i] : at[i + 1]] for i in range(count)]
    others: list[tuple[list[str], int, int]] = []
    try:
        others.extend((share, *_begin(work, share)) for share in rest)
        found = work(first)
        for share, _, fd in others:
            try:
                found += marshal.loads(read_all(fd) if fd >= 0 else b"")
            except EOFError:  # it has failed, or has been killed
                found += work(share)
        return found
    finally:
        begun = [(pid, fd) for _, pid, fd in others if fd >= 0]
        for _, fd in begun:
            close(fd)  # one that still writes ends by that, the last first: it has the ends of those before it, too
        for pid, _ in begun:
            posix.waitpid(pid, 0)


def _begin(work: Callable[[list[str]], list[Any]], share: list[str]) -> tuple[int, int]:
    """A child that does the share, and the descriptor to read its rows from; (-1, -1) if there can be none now."""
    try:
        read, write = posix.pipe2(posix.O_CLOEXEC)
    except OSError:
        return -1, -1
    try:
        pid = posix.fork()
    except OSError:
        close(read)
        return -1, -1
    else:
        if not pid:
            try:
                in_child()
                close(read)
                write_all(write, marshal.dumps(work(share)))
            finally:
                posix._exit(0)  # with no word of its own: the parent meets the same error
        return pid, read
    finally:
        close(write)
