"""Descriptors handed over unix sockets: a terminal's master, and pidfds.

One message with one descriptor and at least a byte of data: conmon and containerd's shim insist on all three."""

from __future__ import annotations

import posix
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket
from _struct import Struct

from pyrun.errors import Error

# Who listens but never takes anything must not hold the container's lock for ever.
_SECONDS, _SO_SNDTIMEO = 5, 21


def send(master: int, path: str) -> None:
    """Send the terminal's master over the unix socket at `path`, and close it. Raises Error."""
    try:
        _send(master, path, b"/dev/ptmx")
    except OSError as e:
        words = {"tried": f"connect {path}", "error": e.errno, "hint": "who asked for a terminal must listen there"}
        raise Error("send the terminal", pointer="/process/terminal", **words) from None  # type: ignore[arg-type]
    finally:
        posix.close(master)


def send_pidfd(pidfd: int, path: str, name: bytes) -> None:
    """Send a pidfd, as runc does; `name` is its word for whose it is: "standard" is init, "setns" an exec. Raises
    Error."""
    try:
        _send(pidfd, path, name)
    except OSError as e:
        hint = "who asked for a pidfd must listen there"
        raise Error("send the pidfd", call=f"connect {path}", errno=e.errno, hint=hint) from None


def _send(fd: int, path: str, name: bytes) -> None:
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.setsockopt(SOL_SOCKET, _SO_SNDTIMEO, Struct("@ll").pack(_SECONDS, 0))
        connection.connect(path)
        connection.sendmsg([name], [(SOL_SOCKET, SCM_RIGHTS, fd.to_bytes(4, "little"))])
    finally:
        connection.close()
