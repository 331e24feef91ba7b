"""--pid-file: where callers read the pid of what they have asked for."""

from __future__ import annotations

import posix

from pyrun.runtime.bundle import absolute
from pyrun.runtime.errors import Error


def write_pid_file(path: str, pid: int) -> None:
    """Renamed into place, without a newline: go-runc and conmon read the whole file as a number."""
    folder, _, name = absolute(path).rpartition("/")
    temporary = f"{folder}/.{name}"
    # Never through what somebody else has put there: in /tmp that could be a link to any file.
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
    try:
        try:
            posix.unlink(temporary)  # of a create that was killed
        except FileNotFoundError:
            pass
        fd = posix.open(temporary, flags, 0o666)
        posix.write(fd, str(pid).encode())
        posix.close(fd)
        posix.rename(temporary, path)
    except OSError as e:
        raise Error("write the pid file", tried=f"open {path}", error=e.errno) from None
