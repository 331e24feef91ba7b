"""The seccomp listener: taken from the process that has loaded its filter, and handed to the agent at listenerPath
(config-linux.md "Seccomp", "The Container Process State"; seccomp_unotify(2)).

It is taken from outside (pidfd_getfd(2)). Without privilege that is not allowed, and then the process sends it, by
sendmsg(2): the one call whose way through the filter is the profile's to say.
"""

from __future__ import annotations

import ctypes
import posix

from pyrun.container import handover
from pyrun.errors import Error
from pyrun.spec import strictjson
from pyrun.spec.version import SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.container.state import State
    from pyrun.spec.config import Seccomp

_PIDFD_GETFD = 438  # on all machines
_PATH = "/linux/seccomp/listenerPath"
_LISTENER = "seccomp notify"


def take(number: int, fd: int, pid: int) -> int:
    """The listener of the process `pid`, whose filter is loaded: `fd` when it has sent it, else -1, and then it has
    this `number` there. Raises Error."""
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
    try:
        handover.send(fd, path, strictjson.dumps(content).encode())
    except BlockingIOError:
        detail = f"the agent at {path} does not take it within {handover.SECONDS} s"
        raise Error("send the seccomp listener", pointer=_PATH, detail=detail) from None
    except (OSError, OverflowError) as e:
        errno = e.errno if isinstance(e, OSError) else 0
        call, hint = f"connect {path}", "the agent must listen there"
        raise Error("send the seccomp listener", pointer=_PATH, call=call, errno=errno, hint=hint) from None
