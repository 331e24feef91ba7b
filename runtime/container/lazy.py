"""checkpoint --lazy-pages: the image is written, and its memory stays with CRIU until it has all been asked for.

That may be soon or never, so the lock is let go meanwhile: others may look at the container, and kill or delete it.
CRIU has what it serves in pipes of its own (criu.org/Lazy_migration), and serves it even then.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from pyrun.errors import Error
from pyrun.kernel.files import read_document

if TYPE_CHECKING:
    from pyrun.container.container import Container


def at_address(address: str, path: str | None) -> int:
    """A file of CRIU's options, as a descriptor: that address, which CRIU 3.17 and 4.1 take from a request only
    for a page server (they would serve at every one); then what the file at `path` says, which counts for more. Raises
    Error for one that is no regular file."""
    try:
        theirs = read_document(path) if path else b""
    except OSError:
        theirs = b""  # one that is not there is none to CRIU
    fd = os.memfd_create("criu.conf")
    os.write(fd, f"address {address}\n".encode() + theirs)
    return fd


class LazyPages:
    """One dump's. status_fd: what hears when memory can be asked for, by a byte that is zero; -1 for nobody. Raises
    Error for what can't be written to."""

    def __init__(self, container: Container, status_fd: int) -> None:
        self.served = False  # memory can be asked for
        self._container = container
        self._status = status_fd
        if status_fd >= 0:
            try:
                mode = fcntl.fcntl(status_fd, fcntl.F_GETFL) & os.O_ACCMODE
                ours = not os.get_inheritable(status_fd)
            except (OSError, OverflowError):
                ours = True
            if ours:  # what the caller has handed to us has outlived execve
                raise Error(f"--status-fd {status_fd} is not open")
            if mode == os.O_RDONLY:
                raise Error(f"--status-fd {status_fd} can't be written to")
            # Who reads to the end of it must not wait for CRIU.
            os.set_inheritable(status_fd, False)

    def notice(self, script: str, pid: int, fd: int) -> None:
        """What CRIU says on the way."""
        if script == "status-ready":
            self.served = True
            self._container.unlock()

    def wait(self, fd: int) -> None:
        """Until CRIU says more. While memory is served this may be interrupted; before that it does not take long."""
        if self.served:
            self._tell()
            self._container.caller.wait_for(fd)

    def _tell(self) -> None:
        """Once CRIU has been answered, and serves whatever becomes of us."""
        if self._status >= 0:
            try:
                os.write(self._status, b"\0")
            except OSError as e:
                self._container.caller.log.warning(f"--status-fd {self._status}: {e.strerror}")
            os.close(self._status)
            self._status = -1
