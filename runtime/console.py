"""The terminal's master: handed to a console socket, or relayed to the caller's own terminal."""

from __future__ import annotations

import posix
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket

from pyrun.runtime.errors import Error

# One message with one descriptor and at least a byte of data: conmon and containerd's shim insist on all three.
_NAME = b"/dev/ptmx"


def send(master: int, path: str) -> None:
    """Send the master over the unix socket at `path`, and close it. Raises Error."""
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.connect(path)
        connection.sendmsg([_NAME], [(SOL_SOCKET, SCM_RIGHTS, master.to_bytes(4, "little"))])
    except OSError as e:
        words = {"tried": f"connect {path}", "error": e.errno, "hint": "who asked for a terminal must listen there"}
        raise Error("send the terminal", pointer="/process/terminal", **words) from None  # type: ignore[arg-type]
    finally:
        connection.close()
        posix.close(master)
