"""The C half of the signal module: the Python half imports enum, which takes longer than a whole `kill`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_DFL, SIG_IGN, pidfd_send_signal, set_wakeup_fd, signal
else:
    from _signal import SIG_DFL, SIG_IGN, pidfd_send_signal, set_wakeup_fd, signal

__all__ = ["SIG_DFL", "SIG_IGN", "pidfd_send_signal", "set_wakeup_fd", "signal"]
