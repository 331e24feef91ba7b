"""The C half of the signal module: the Python half imports enum, which takes longer than a whole `kill`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_DFL, SIG_IGN, pidfd_send_signal, set_wakeup_fd, signal
else:
    from _signal import SIG_DFL, SIG_IGN, pidfd_send_signal, set_wakeup_fd, signal

SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGTERM, SIGCHLD, SIGURG, SIGWINCH = 1, 2, 9, 13, 15, 17, 23, 28

__all__ = [
    "SIGCHLD", "SIGHUP", "SIGINT", "SIGKILL", "SIGPIPE", "SIGTERM", "SIGURG", "SIGWINCH", "SIG_DFL", "SIG_IGN",
    "pidfd_send_signal", "set_wakeup_fd", "signal",
]  # fmt: skip

# signal(7), the same on all machines that pyrun runs on
SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGTERM, SIGCHLD, SIGURG, SIGWINCH = 1, 2, 9, 13, 15, 17, 23, 28
