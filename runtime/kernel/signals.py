"""The C half of the signal module: the Python half imports enum, which takes longer than a whole `kill`."""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_DFL, SIG_IGN, getsignal, pidfd_send_signal, set_wakeup_fd, signal, valid_signals
else:
    from _signal import SIG_DFL, SIG_IGN, getsignal, pidfd_send_signal, set_wakeup_fd, signal, valid_signals

__all__ = [
    "CHANGEABLE", "ENDING", "SIGCHLD", "SIGHUP", "SIGINT", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSYS", "SIGTERM",
    "SIGURG", "SIGWINCH", "SIG_DFL", "SIG_IGN", "Pending", "default", "in_child", "pidfd_send_signal", "signal",
]  # fmt: skip

# signal(7), the same on all machines that pyrun runs on
SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGPIPE = 1, 2, 3, 9, 13
SIGTERM, SIGCHLD, SIGSTOP, SIGURG, SIGWINCH, SIGSYS = 15, 17, 19, 23, 28, 31

# Whose action may be set. Not among them: what libc keeps for its own, 32 and 33, and with musl 34 as well.
CHANGEABLE = frozenset(map(int, valid_signals() - {SIGKILL, SIGSTOP}))
# What asks a process to end.
ENDING = (SIGHUP, SIGINT, SIGTERM)
_MOST = 256


def default(number: int) -> None:
    """The kernel's own action for a signal: before the first wait nothing has been made that would have to be undone,
    and Python's own action for SIGINT is an exception between any two byte codes."""
    signal(number, SIG_DFL)


class Pending:
    """Signals, noted as they come and acted on only where somebody looks: an exception that may rise between any two
    byte codes could not be undone rightly. There is one in a process, which is its program's, not a library's.

    fd: readable when one has come. interruptible: one that asks to end may end what waits; not any more when one has,
    since what is half-made is being undone then."""

    __slots__ = ("_kept", "fd", "interruptible")

    def __init__(self) -> None:
        self.fd, write = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
        set_wakeup_fd(write, warn_on_full_buffer=False)
        self._kept = b""
        self.interruptible = True
        self.note(*ENDING)

    def note(self, *numbers: int) -> None:
        """Note these too from now on; but what our caller has us ignore stays ignored (nohup(1))."""
        for number in numbers:
            if getsignal(number) != SIG_IGN:
                signal(number, _nothing)

    def take(self) -> bytes:
        """All that have come, in order, a byte each."""
        found, self._kept = self._kept + self._read(), b""
        return found

    def take_ending(self) -> int:
        """The first that asks to end, or 0. All are kept for `take`, that one too."""
        self._kept += self._read()
        for number in self._kept:
            if number in ENDING:
                self.interruptible = False
                return number
        return 0

    def _read(self) -> bytes:
        try:
            return posix.read(self.fd, _MOST)
        except BlockingIOError:
            return b""


def in_child() -> None:
    """In a child that has been forked: its signals are not its parent's."""
    set_wakeup_fd(-1)
    for number in ENDING:
        default(number)


def _nothing(number: int, frame: object) -> None:
    pass
