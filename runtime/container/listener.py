"""The seccomp listener: taken from the process that has loaded its filter, and handed to the agent at listenerPath
(config-linux.md "Seccomp", "The Container Process State"; seccomp_unotify(2)).

It is taken from outside (pidfd_getfd(2)). Without privilege that is not allowed, and then the process sends it, by
sendmsg(2): the one call whose way through the filter is the profile's to say.
"""

from __future__ import annotations

import ctypes
import posix
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket
from _struct import Struct

from pyrun.errors import Error
from pyrun.machine.messages import LISTENER
from pyrun.spec import strictjson
from pyrun.spec.version import SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.container.store import State
    from pyrun.machine.launch import Executor
    from pyrun.spec.config import Seccomp

_PIDFD_GETFD = 438  # on all machines
_PATH = "/linux/seccomp/listenerPath"
_SECONDS = 5
_SO_SNDTIMEO = 21
_LISTENER = "seccomp notify"


def take(executor: Executor, pid: int) -> int:
    """The listener of the process `pid`, whose filter is loaded. Raises Error, and what `executor` tells of a filter
    that can't be loaded."""
    number, fd = executor.expect(executor.init, LISTENER)
    if fd >= 0:
        return fd
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = posix.pidfd_open(pid)
    try:
        fd = int(libc.syscall(_PIDFD_GETFD, pidfd, number, 0))
        if fd < 0:
            raise Error("take the seccomp listener", pointer=_PATH, call="pidfd_getfd", errno=ctypes.get_errno())
    finally:
        posix.close(pidfd)
    if _LISTENER not in posix.readlink(f"/proc/self/fd/{fd}"):
        posix.close(fd)
        raise Error("take the seccomp listener", pointer=_PATH, detail="it is another file")
    return fd


def send(fd: int, pid: int, profile: Seccomp, state: State, status: str) -> None:
    """Give the agent the listener `fd` of the process `pid`, of which this is the container's `state`: one connection,
    one state, the descriptor with its first byte (MUST 129 to 133). Raises Error."""
    content = {
        "ociVersion": SPEC_VERSION,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": profile.get("listenerMetadata", ""),
        "state": {
            "ociVersion": state["ociVersion"],
            "id": state["id"],
            "status": status,
            "pid": state["pid"],
            "bundle": state["bundle"],
            "annotations": state["annotations"],
        },
    }
    if not content["metadata"]:
        del content["metadata"]
    path = profile["listenerPath"]
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.setsockopt(SOL_SOCKET, _SO_SNDTIMEO, Struct("@ll").pack(_SECONDS, 0))
        connection.connect(path)
        data = strictjson.dumps(content).encode()
        sent = connection.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, fd.to_bytes(4, "little"))])
        while sent < len(data):
            sent += connection.send(data[sent:])
    except BlockingIOError:
        words = f"the agent at {path} does not take it within {_SECONDS} s"
        raise Error("send the seccomp listener", pointer=_PATH, detail=words) from None
    except (OSError, OverflowError) as e:
        error = e.errno if isinstance(e, OSError) else 0
        hint = "the agent must listen there"
        raise Error(
            "send the seccomp listener", pointer=_PATH, call=f"connect {path}", errno=error, hint=hint
        ) from None
    finally:
        connection.close()
