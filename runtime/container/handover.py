"""Descriptors handed over unix sockets: a terminal's master, pidfds, seccomp listeners (unix(7), SCM_RIGHTS).

One message with one descriptor and at least a byte of data: conmon and containerd's shim insist on all three."""

from __future__ import annotations

import posix
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket
from _struct import Struct

from pyrun.errors import Error

# Who listens but never takes anything must not hold the container's lock for ever.
SECONDS = 5
_SO_SNDTIMEO = 21


def send(fd: int, path: str, data: bytes) -> None:
    """Send `data`, and `fd` with its first byte, to the stream socket at `path`. Raises OSError; BlockingIOError when
    it isn't taken within SECONDS."""
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.setsockopt(SOL_SOCKET, _SO_SNDTIMEO, Struct("@ll").pack(SECONDS, 0))
        connection.connect(path)
        sent = connection.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, fd.to_bytes(4, "little"))])
        while sent < len(data):
            sent += connection.send(data[sent:])
    finally:
        connection.close()


def send_terminal(master: int, path: str) -> None:
    """Send the terminal's master over the unix socket at `path`, and close it. Raises Error."""
    try:
        send(master, path, b"/dev/ptmx")
    except OSError as e:
        call, hint = f"connect {path}", "nothing is listening on --console-socket"
        raise Error("send the terminal", pointer="/process/terminal", call=call, errno=e.errno, hint=hint) from None
    finally:
        posix.close(master)


def send_pidfd(pid: int, path: str, name: bytes) -> None:
    """Send a pidfd of `pid`, a child of ours, as runc does; `name` is its word for whose it is: "standard" is init,
    "setns" an exec. Raises Error."""
    pidfd = posix.pidfd_open(pid)
    try:
        send(pidfd, path, name)
    except OSError as e:
        hint = "nothing is listening on --pidfd-socket"
        raise Error("send the pidfd", call=f"connect {path}", errno=e.errno, hint=hint) from None
    finally:
        posix.close(pidfd)
