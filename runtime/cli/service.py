"""Starting under a service manager: sd_notify(3) of the container's program is passed on, and so are sockets
(sd_listen_fds(3)).

The manager is told with init's pid, once the program has said READY=1, since it only listens to processes of the
service.
"""

from __future__ import annotations

import posix
import select
from _socket import AF_UNIX, MSG_DONTWAIT, SCM_RIGHTS, SOCK_DGRAM, SOL_SOCKET, socket

from pyrun.container.notify import DIRECTORY, NAME
from pyrun.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrun.container.container import Container

_MOST = 1 << 16
_QUEUE = 1024  # more than net.unix.max_dgram_qlen
_BARRIER_SECONDS = 30
_SECONDS = 5


class Notifications:
    """The socket in the container's directory, where init says when it is ready. Raises Error when it can't be made."""

    __slots__ = ("_address", "_caller", "_pid", "_socket")

    def __init__(self, container: Container, address: bytes) -> None:
        self._address = address
        self._caller = container.caller
        self._pid = container.state["pid"]
        self._socket = socket(AF_UNIX, SOCK_DGRAM)
        # By way of the descriptor: the path itself may be longer than an address can be.
        path = f"/proc/self/fd/{container.directory.fd}/{DIRECTORY}/{NAME}"
        try:
            try:
                posix.unlink(path)  # of a start that was killed
            except FileNotFoundError:
                pass
            self._socket.bind(path)
            posix.chmod(path, 0o777)
        except OSError as e:
            raise Error("listen for the container's readiness", call=f"bind {path}", errno=e.errno) from None

    @classmethod
    def of(cls, container: Container) -> Notifications | None:
        """None when nobody wants to be told, or create was not told so."""
        address = container.caller.environ.get(b"NOTIFY_SOCKET", b"")
        if not address:
            return None
        try:
            posix.stat(DIRECTORY, dir_fd=container.directory.fd)
        except FileNotFoundError:
            return None
        return cls(container, address)

    def fileno(self) -> int:
        """The socket, for poll(2)."""
        return self._socket.fileno()

    def receive(self) -> bool:
        """Take the messages that are there; whether the one that counts was among them, which is passed on."""
        for _ in range(_QUEUE):  # somebody may never stop sending
            try:
                words = self._socket.recv(_MOST, MSG_DONTWAIT)
            except BlockingIOError:
                return False
            if b"READY=1" in words.split(b"\n"):
                _tell(self._address, b"READY=1\nMAINPID=%d" % self._pid)
                return True
        return False

    def relay(self) -> bool:
        """The same for who has more to do: a service manager that can't be told is a warning."""
        try:
            return self.receive()
        except Error as e:
            self._caller.log.warning(str(e))
            return True

    def wait(self) -> None:
        """Until the program is ready or has ended; then until what was said of it has been read: our end comes next,
        and nothing can be known of the sender of a message any more then."""
        pidfd = posix.pidfd_open(self._pid)
        try:
            while True:
                ready = self._caller.wait_for(self.fileno(), pidfd)
                if self.receive():
                    _barrier(self._address)
                    return
                if pidfd in ready:
                    return
        finally:
            posix.close(pidfd)
            self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _tell(address: bytes, words: bytes, fd: int = -1) -> None:
    """Raises Error."""
    path = b"\0" + address[1:] if address[:1] == b"@" else address
    out = socket(AF_UNIX, SOCK_DGRAM)
    try:
        # A manager that has stopped reading must not stop us.
        out.settimeout(_SECONDS)
        out.connect(path)
        out.sendmsg([words], [(SOL_SOCKET, SCM_RIGHTS, fd.to_bytes(4, "little"))] if fd >= 0 else [])
    except OSError as e:
        call = f"send to {address.decode(errors='replace')}"
        raise Error("notify the service manager", call=call, errno=e.errno) from None
    finally:
        out.close()


def _barrier(address: bytes) -> None:
    """sd_notify_barrier(3): the service manager closes the descriptor when it has read all that came before."""
    read, write = posix.pipe2(posix.O_CLOEXEC)
    try:
        _tell(address, b"BARRIER=1", write)
    finally:
        posix.close(write)
    poll = select.poll()
    poll.register(read, 0)
    poll.poll(_BARRIER_SECONDS * 1000)
    posix.close(read)


def passed_sockets(environ: Mapping[bytes, bytes]) -> int:
    """How many descriptors from 3 on are sockets for the container's program: LISTEN_FDS, if they are meant for us."""
    count = environ.get(b"LISTEN_FDS", b"")
    meant_for = environ.get(b"LISTEN_PID", b"")
    if not count.isdigit() or len(count) > 4 or meant_for not in (b"", b"%d" % posix.getpid()):
        return 0
    return int(count)


def told(environ: Mapping[bytes, bytes], count: int) -> list[str]:
    """What the program is told of its `count` sockets, as systemd would: entries of its environment."""
    if not count:
        return []
    found = [f"LISTEN_FDS={count}", "LISTEN_PID=1"]
    names = environ.get(b"LISTEN_FDNAMES")
    return [*found, f"LISTEN_FDNAMES={names.decode(errors='replace')}"] if names else found
