"""What takes back what was made, when the rest of it fails."""

from __future__ import annotations

import posix
from fcntl import F_DUPFD_CLOEXEC, fcntl

from pyrun.kernel.files import close

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


# A walk through a cgroup's directories, with the list of its processes
_RESERVE = 6


class Undo:
    """Steps, pushed when a thing has been made, and run in reverse. What comes after one that fails isn't run: the
    state, which was written first and so is removed nearly last, still tells `delete --force` of all that is left.

    It keeps descriptors in reserve: when the limit of them (RLIMIT_NOFILE) is what failed, the steps need some. Raises
    OSError when there are none to begin with, and then nothing has been made."""

    __slots__ = ("_reserve", "_steps")

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []
        self._reserve = [posix.open("/", posix.O_PATH | posix.O_CLOEXEC)]
        while len(self._reserve) < _RESERVE:
            self._reserve.append(fcntl(self._reserve[0], F_DUPFD_CLOEXEC))

    def push(self, step: Callable[[], object]) -> None:
        """`step` takes back what has just been made."""
        self._steps.append(step)

    def push_last(self, step: Callable[[], object]) -> None:
        """A step to run after all others."""
        self._steps.insert(0, step)

    def run(self) -> None:
        """Raises what a step raises."""
        self.close()
        while self._steps:
            self._steps.pop()()

    def close(self) -> None:
        """Let go of the reserve: there is nothing to undo any more."""
        while self._reserve:
            close(self._reserve.pop())
