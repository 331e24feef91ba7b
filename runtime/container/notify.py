"""Starting under systemd: sd_notify(3) of the container's program is passed on, and sockets (sd_listen_fds(3)) are.

create binds a folder of the container's own at /run/notify; whoever runs the program puts a socket there, and tells the
service manager once the program has said READY=1: with init's pid, since it only listens to processes of the service.
"""

from __future__ import annotations

import posix
import select
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_DGRAM, SOL_SOCKET, socket
from errno import ENOENT

from pyrun.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.container.store import Entry
    from pyrun.spec.config import Config

_FOLDER = "notify"
_NAME = "notify.sock"
_INSIDE = "/run/notify"
_MOST = 1 << 16
_BARRIER_SECONDS = 30


def wanted() -> bool:
    """Our caller wants to be told."""
    return bool(posix.environ.get(b"NOTIFY_SOCKET"))


def prepare(entry: Entry, config: Config) -> None:
    """Add to the config what the container needs to notify us."""
    if "process" not in config:
        return
    posix.mkdir(_FOLDER, 0o755, dir_fd=entry.fd)
    config["mounts"] = [
        *config.get("mounts", []),
        {
            "destination": _INSIDE,
            "source": f"{entry.path}/{_FOLDER}",
            "options": ["bind", "private", "ro", "nosuid", "nodev", "noexec"],
        },
    ]
    config["process"]["env"] = [*config["process"].get("env", []), f"NOTIFY_SOCKET={_INSIDE}/{_NAME}"]


def remove(entry: Entry) -> None:
    """The folder, if there is one."""
    try:
        posix.unlink(f"{_FOLDER}/{_NAME}", dir_fd=entry.fd)
    except FileNotFoundError:
        pass
    try:
        posix.rmdir(_FOLDER, dir_fd=entry.fd)
    except FileNotFoundError:
        return


class Notifications:
    """The socket in the container's folder. Raises Error when it can't be made."""

    __slots__ = ("_pid", "_socket")

    def __init__(self, entry: Entry, pid: int) -> None:
        self._pid = pid
        self._socket = socket(AF_UNIX, SOCK_DGRAM)
        # By way of the descriptor: the path itself may be longer than an address can be.
        path = f"/proc/self/fd/{entry.fd}/{_FOLDER}/{_NAME}"
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
    def of(cls, entry: Entry, pid: int) -> Notifications | None:
        """None when nobody wants to be told, or create was not told so."""
        if not wanted():
            return None
        try:
            posix.stat(_FOLDER, dir_fd=entry.fd)
        except OSError as e:
            if e.errno == ENOENT:
                return None
            raise
        return cls(entry, pid)

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> bool:
        """Take one message; whether it was the one that counts, which is passed on."""
        words = self._socket.recv(_MOST)
        if not any(line == b"READY=1" for line in words.split(b"\n")):
            return False
        _tell(b"READY=1\nMAINPID=%d" % self._pid)
        return True

    def wait(self) -> None:
        """Until the program is ready or has ended; then until what was said of it has been read: our end comes next,
        and nothing can be known of the sender of a message any more then."""
        pidfd = posix.pidfd_open(self._pid)
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        try:
            while True:
                ready = dict(poll.poll())
                if self.fileno() in ready:
                    if self.receive():
                        _barrier()
                        return
                elif pidfd in ready:
                    return
        finally:
            posix.close(pidfd)
            self.close()

    def close(self) -> None:
        self._socket.close()


def _tell(words: bytes, fd: int = -1) -> None:
    """Raises Error."""
    address = posix.environ[b"NOTIFY_SOCKET"]
    path = b"\0" + address[1:] if address[:1] == b"@" else address
    out = socket(AF_UNIX, SOCK_DGRAM)
    try:
        out.connect(path)
        out.sendmsg([words], [(SOL_SOCKET, SCM_RIGHTS, fd.to_bytes(4, "little"))] if fd >= 0 else [])
    except OSError as e:
        tried = f"send to {address.decode(errors='replace')}"
        raise Error("notify the service manager", call=tried, errno=e.errno) from None
    finally:
        out.close()


def _barrier() -> None:
    """sd_notify_barrier(3): the service manager closes the descriptor when it has read all that came before."""
    read, write = posix.pipe2(posix.O_CLOEXEC)
    try:
        _tell(b"BARRIER=1", write)
    finally:
        posix.close(write)
    poll = select.poll()
    poll.register(read, 0)
    poll.poll(_BARRIER_SECONDS * 1000)
    posix.close(read)


def passed_sockets() -> int:
    """How many descriptors from 3 on are sockets for the container's program: LISTEN_FDS, if they are meant for us."""
    count = posix.environ.get(b"LISTEN_FDS", b"")
    meant_for = posix.environ.get(b"LISTEN_PID", b"")
    if not count.isdigit() or len(count) > 4 or meant_for not in (b"", b"%d" % posix.getpid()):
        return 0
    return int(count)


def pass_sockets(config: Config, count: int) -> None:
    """Tell the program of them, as systemd would."""
    if "process" not in config:
        return
    names = posix.environ.get(b"LISTEN_FDNAMES")
    more = [f"LISTEN_FDS={count}", "LISTEN_PID=1"]
    if names:
        more.append(f"LISTEN_FDNAMES={names.decode(errors='replace')}")
    config["process"]["env"] = [*config["process"].get("env", []), *more]
