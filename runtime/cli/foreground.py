"""run without --detach: relay the terminal, forward signals, and wait for the container's end."""

from __future__ import annotations

import fcntl
import posix
import select

from pyrun.kernel.constants import TIOCSWINSZ
from pyrun.kernel.signals import CHANGEABLE, SIGCHLD, SIGPIPE, SIGURG, SIGWINCH, Pending, pidfd_send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cli.service import Notifications

# Not the container's business.
_KEPT = {SIGCHLD, SIGURG, SIGPIPE}
_TIOCGWINSZ = 0x5413
_CHUNK = 1 << 16


class Foreground:
    """Set up before the container starts, so that no signal and no output is missed.

    pid: init. console: the pty's master, or -1. signals: what comes to us, from `wait` on for the container.
    notifications: who waits for the program to be ready is told."""

    __slots__ = ("_attributes", "_heard", "_notifications", "_signals", "console", "pid", "pidfd", "signal")

    def __init__(
        self, pid: int, console: int, signals: Pending | None, notifications: Notifications | None = None
    ) -> None:
        self._notifications = notifications
        self._heard = True
        self.signal = 0  # that ended it
        self.pid = pid
        self.pidfd = posix.pidfd_open(pid)
        self.console = console
        self._signals = signals or Pending()
        self._signals.note(*(CHANGEABLE - _KEPT))
        self._attributes: list[Any] | None = None
        if console >= 0:
            self._attributes = _raw(0)
            _copy_size(console)

    def wait(self) -> int:
        """The container's exit code, or 128 + the signal that ended it."""
        try:
            self._relay()
        finally:
            self.end()
        code = posix.waitstatus_to_exitcode(posix.waitpid(self.pid, 0)[1])
        self.signal = max(-code, 0)
        return code if code >= 0 else 128 - code

    def end(self) -> None:
        """Give the caller's terminal back as it was; what is done for the container from here on isn't interrupted."""
        self._signals.interruptible = False
        if self._attributes:
            import termios  # lazy: only with a terminal

            termios.tcsetattr(0, termios.TCSANOW, self._attributes)

    def _relay(self) -> None:
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        poll.register(self._signals.fd, select.POLLIN)
        self._forward(self._signals.take())  # what has come before this
        notified = self._notifications.fileno() if self._notifications else -1
        if self._notifications:
            poll.register(notified, select.POLLIN)
        pending = b""  # typed, but not yet taken by the container
        if self.console >= 0:
            posix.set_blocking(self.console, False)
            poll.register(self.console, select.POLLIN)
            poll.register(0, select.POLLIN)
        ended = False
        while not ended:
            events = dict(poll.poll())
            if self._signals.fd in events:
                self._forward(self._signals.take())
            ended = self.pidfd in events
            if self._notifications and (notified in events or ended) and self._notifications.relay():
                poll.unregister(notified)
                self._notifications.close()
                self._notifications = None
            if self.console >= 0 and (self.console in events or ended):
                if events.get(self.console, 0) & select.POLLOUT:
                    pending = pending[posix.write(self.console, pending) :]
                    poll.register(self.console, select.POLLIN)
                if not self._show(everything=ended):
                    poll.unregister(self.console)
                    self.console = -1
            if 0 in events and self.console >= 0:
                typed = posix.read(0, _CHUNK)
                if not typed:
                    poll.unregister(0)
                pending += typed
            if pending and self.console >= 0:
                try:
                    pending = pending[posix.write(self.console, pending) :]
                except BlockingIOError:
                    poll.register(self.console, select.POLLIN | select.POLLOUT)

    def _show(self, everything: bool) -> bool:
        """Copy what the container has written; False once its side of the terminal is closed."""
        while True:
            try:
                said = posix.read(self.console, _CHUNK)
            except BlockingIOError:
                return True
            except OSError:  # EIO: nobody has the other side open
                return False
            if not said:
                return False
            while said and self._heard:
                try:
                    said = said[posix.write(1, said) :]
                except BlockingIOError:
                    writable = select.poll()
                    writable.register(1, select.POLLOUT)
                    writable.poll()
                except BrokenPipeError:
                    self._heard = False  # nobody reads any more; the container goes on
            if not everything:
                return True

    def _forward(self, numbers: bytes) -> None:
        for number in numbers:
            if number == SIGWINCH and self.console >= 0:
                _copy_size(self.console)
                continue
            try:
                pidfd_send_signal(self.pidfd, number)
            except ProcessLookupError:
                return


def _raw(fd: int) -> list[Any] | None:
    """Make the caller's terminal raw, but for what is written to it, which it still processes; returns its attributes
    as they were, None when it isn't a terminal."""
    import termios  # lazy: only with a terminal

    try:
        before = termios.tcgetattr(fd)
    except termios.error:
        return None
    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = termios.tcgetattr(fd)
    iflag &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
        | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
    )  # fmt: skip
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    cc[termios.VMIN], cc[termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSANOW, [iflag, oflag, cflag, lflag, ispeed, ospeed, cc])
    return before


def _copy_size(console: int) -> None:
    try:
        size = fcntl.ioctl(0, _TIOCGWINSZ, bytes(8))
    except OSError:
        return  # not a terminal
    fcntl.ioctl(console, TIOCSWINSZ, size)
