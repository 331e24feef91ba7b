"""Where CRIU restores: `python3 -IS stage.py ROOT MOUNTPOINT IMAGE WORK CRIU [DESTINATION...]` makes a mount namespace
in which the root is a mount point, as CRIU wants it, and becomes `criu swrk 3`.

The namespace goes with its last process: nothing of it is seen on the host, or left there by a kill. What mounts of the
container need and its root lacks, DESTINATIONs, is made from inside of the root: no symlink of it leads anywhere else.
One that ends with a slash is a directory, the others are files.

CRIU opens the directories of a request by way of the process that made its socket, and mounts in them: so both are of
this process, which it becomes. The other end of the socket goes over descriptor 3 to who has started this; or the words
of what went wrong.
"""

from __future__ import annotations

import array
import ctypes
import os
import socket
import sys

# Where CRIU finds the directories.
IMAGE, WORK = 100, 101

_CLONE_NEWNS = 0x20000
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 0x80000


def main(root: str, point: str, image: str, work: str, criu: str, *destinations: str) -> None:
    """Does not return."""
    control = socket.socket(fileno=3)
    try:
        _mount(root, point)
        if destinations:
            _make(point, destinations)
        for number, path in ((IMAGE, image), (WORK, work)):
            os.dup2(os.open(path, os.O_RDONLY | os.O_DIRECTORY), number)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = array.array("i", [theirs.fileno()])
        control.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        number = os.dup(ours.fileno())
        control.detach()
        os.dup2(number, 3)
        os.close(number)
        os.execv(criu, ["criu", "swrk", "3"])
    except OSError as e:
        words = f"{e.filename}: {e.strerror}" if e.filename else str(e.strerror or e)
        os.write(3, words.encode(errors="replace"))
    sys.exit(1)


def _mount(root: str, point: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def call(what: str, result: int) -> None:
        if result:
            raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")

    call("unshare", libc.unshare(_CLONE_NEWNS))
    call("make / a slave", libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None))
    # It receives what the host mounts below, as at create: CRIU gives the container's mounts what this one has of that.
    target = os.fsencode(point)
    call(f"bind {root}", libc.mount(os.fsencode(root), target, None, _MS_BIND | _MS_REC, None))


def _make(point: str, destinations: tuple[str, ...]) -> None:
    """In a process of its own, which has the root for its root."""
    child = os.fork()
    if child:
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            raise OSError(0, "what mounts need can't be made in the root")
        return
    code = 1
    try:
        os.chroot(point)
        os.chdir("/")
        for path in destinations:
            if not os.path.lexists(path.rstrip("/")):
                os.makedirs(path if path.endswith("/") else os.path.dirname(path), 0o755, exist_ok=True)
                if not path.endswith("/"):
                    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
