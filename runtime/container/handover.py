"""Descriptors handed over unix sockets: a terminal's master, pidfds, seccomp listeners (unix(7), SCM_RIGHTS).

One message with one descriptor and at least a byte of data: conmon and containerd's shim insist on all three."""

from __future__ import annotations

import fcntl
import posix
import time
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket
from _struct import Struct

from pyrun.errors import Error
from pyrun.kernel.constants import TCGETS, TCSETS

# Who listens but never takes anything must not hold the container's lock for ever.
SECONDS = 5
_SO_SNDTIMEO = 21
# struct termios of the kernel (asm-generic/termbits.h): its size, the lowest byte of c_oflag, and a bit of that
_TERMIOS, _OFLAG, _ONLCR = 36, 4, 4


def send(fd: int, path: str, data: bytes) -> None:
    """Send `data`, and `fd` with its first byte, to the stream socket at `path`. Raises OSError; BlockingIOError when
    not all of it is taken within SECONDS."""
    connection = socket(AF_UNIX, SOCK_STREAM)
    end = time.monotonic() + SECONDS
    try:
        _within(connection, end)
        # By way of a descriptor: an address holds 107 bytes (unix(7)), and a path may have more.
        found = posix.open(path, posix.O_PATH | posix.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{found}")
        finally:
            posix.close(found)
        _within(connection, end)
        sent = connection.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, fd.to_bytes(4, "little"))])
        while sent < len(data):
            _within(connection, end)
            sent += connection.send(data[sent:])
    finally:
        connection.close()


def _within(connection: socket, end: float) -> None:
    """What is sent next may take until then (socket(7), SO_SNDTIMEO). A timeout of Python's own would not do: it makes
    the socket non-blocking, and connect(2) then fails at once where the other side is busy (unix(7))."""
    left = max(end - time.monotonic(), 0.001)
    connection.setsockopt(SOL_SOCKET, _SO_SNDTIMEO, Struct("@ll").pack(int(left), int(left % 1 * 1e6)))


def send_terminal(master: int, path: str) -> None:
    """Send the terminal's master over the unix socket at `path`, and close it. Raises Error."""
    try:
        send(master, path, b"/dev/ptmx")
    except OSError as e:
        call, hint = f"connect {path}", "nothing is listening on --console-socket"
        raise Error("send the terminal", pointer="/process/terminal", call=call, errno=e.errno, hint=hint) from None
    finally:
        posix.close(master)


def keep_terminal(master: int) -> None:
    """Keep the master, to relay it: what is written into the terminal comes out as it is, without a carriage return
    before each newline, as from runc. That is for the caller's terminal to add, if it has one. Raises OSError."""
    attributes = bytearray(fcntl.ioctl(master, TCGETS, bytes(_TERMIOS)))
    attributes[_OFLAG] &= ~_ONLCR
    fcntl.ioctl(master, TCSETS, bytes(attributes))


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
