"""The seccomp listener: taken from the process that has loaded its filter, and handed to the agent at listenerPath
(config-linux.md "Seccomp", "The Container Process State"; seccomp_unotify(2)).

A process whose filter notifies can hardly hand its listener over itself: the calls that this takes may be among those
that wait for an answer. So it is taken from outside (pidfd_getfd(2)). Without privilege that is not allowed, and then
the process does send it, by sendmsg(2), and by nothing else.
"""

from __future__ import annotations

import ctypes
import posix
import select
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket
from _struct import Struct
from errno import EBADF
from time import sleep

from pyrun.runtime.errors import Error
from pyrun.runtime.executor.launch import EndedError
from pyrun.runtime.executor.messages import LISTENER
from pyrun.spec import strictjson
from pyrun.spec.version import SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.runtime.executor.launch import Executor
    from pyrun.runtime.state import State
    from pyrun.spec.config import Seccomp

_PIDFD_GETFD = 438  # on all machines
_PATH = "/linux/seccomp/listenerPath"
_SECONDS = 5
_SO_SNDTIMEO = 21
_LISTENER = "seccomp notify"


def serve(executor: Executor, pid: int, profile: Seccomp, state: State, status: str) -> None:
    """Give the agent the listener of the process `pid`, of which this is the container's `state`. Raises Error, and
    what `executor` tells of a filter that can't be loaded."""
    if posix.geteuid() == 0:
        fd = _take(executor, pid)
    else:
        _, fd = executor.expect(executor.init, LISTENER)
    try:
        _send(fd, pid, profile, state, status)
    finally:
        posix.close(fd)


def _take(executor: Executor, pid: int) -> int:
    """The listener, which gets the number that the process has named just before it loads its filter."""
    libc = ctypes.CDLL(None, use_errno=True)
    number, _ = executor.expect(executor.init, LISTENER)
    pidfd = posix.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(executor.init.fileno(), select.POLLIN)
        while True:
            fd: int = libc.syscall(_PIDFD_GETFD, pidfd, number, 0)
            if fd >= 0:
                if _LISTENER not in posix.readlink(f"/proc/self/fd/{fd}"):
                    posix.close(fd)
                    raise Error("take the seccomp listener", pointer=_PATH, words="it is another file")
                return fd
            error = ctypes.get_errno()
            if error != EBADF:
                raise Error("take the seccomp listener", pointer=_PATH, tried="pidfd_getfd", error=error)
            # Not there yet. Should it never come, the process has ended or says why.
            if poll.poll(0):
                executor.expect(executor.init, -1)
                raise EndedError
            sleep(0.0002)
    finally:
        posix.close(pidfd)


def _send(fd: int, pid: int, profile: Seccomp, state: State, status: str) -> None:
    """One connection, one state, the descriptor with its first byte (MUST 129 to 133)."""
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
        raise Error("send the seccomp listener", pointer=_PATH, words=words) from None
    except (OSError, OverflowError) as e:
        error = e.errno if isinstance(e, OSError) else 0
        hint = "the agent must listen there"
        raise Error(
            "send the seccomp listener", pointer=_PATH, tried=f"connect {path}", error=error, hint=hint
        ) from None
    finally:
        connection.close()
