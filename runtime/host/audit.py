"""Which system call a seccomp filter has killed a process for: the kernel says so in its log (kernel/auditsc.c,
audit_seccomp; dev-kmsg). Cold."""

from __future__ import annotations

import posix
import re

from pyrun.errors import Error
from pyrun.host.seccomp import call_name

# A record begins with its level, number and microseconds since boot; what follows `audit:` is the kernel's alone.
_RECORD = re.compile(
    r"\d+,\d+,(\d+),[^;]*;audit: type=1326 audit\([\d.:]+\): .*?"
    r"\bpid=(\d+) comm=.* sig=31 arch=([0-9a-f]+) syscall=(\d+) "
)
_SLACK = 1  # second, between two clocks
_MOST = 1 << 13  # of a record


def forbidden_call(pid: int, since: float) -> str:
    """The last call for which that process was killed, by its name; "" when the log doesn't say, or not to us. since:
    when the process was not there yet, by CLOCK_MONOTONIC: another may have had its number before."""
    found = ""
    try:
        log = posix.open("/dev/kmsg", posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError:
        return ""
    try:
        for record in _records(log):
            match = _RECORD.match(record)
            if match and int(match[1]) >= (since - _SLACK) * 1e6 and int(match[2]) == pid:
                found = _named(int(match[3], 16), int(match[4]))
    finally:
        posix.close(log)
    return found


def _records(log: int) -> list[str]:
    found = []
    while True:
        try:
            found.append(posix.read(log, _MOST).decode(errors="replace"))
        except BrokenPipeError:
            continue  # overwritten before it was read
        except OSError:  # EAGAIN: the end
            return found


def _named(architecture: int, number: int) -> str:
    try:
        name = call_name(architecture, number)
    except Error:
        name = ""
    return name or f"system call {number} of architecture {architecture:#x}"
