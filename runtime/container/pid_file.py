"""--pid-file: where callers read the pid of what they have asked for."""

from __future__ import annotations

import posix

from pyrun.container.bundle import absolute
from pyrun.errors import Error


def write_pid_file(path: str, pid: int) -> None:
    """Renamed into place, without a newline: go-runc and conmon read the whole file as a number."""
    directory, _, name = absolute(path).rpartition("/")
    # A name that nobody else has: what lies beside the file is not ours, and may be a symlink that others have put
    # there.
    temporary = f"{directory}/.{name[:200]}.{posix.urandom(6).hex()}"
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
    try:
        fd = posix.open(temporary, flags, 0o666)
        try:
            posix.write(fd, str(pid).encode())
            posix.rename(temporary, path)
        except OSError:
            posix.unlink(temporary)
            raise
        finally:
            posix.close(fd)
    except OSError as e:
        raise Error("write the pid file", call=f"open {path}", errno=e.errno) from None
