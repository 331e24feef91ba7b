"""The store on disk: ROOT/ID/, one directory a container.

    state.json    what later commands need; written to a temporary and renamed
    config.json   the bundle's, as it was at create: later edits have no effect (MUST 10)
    exec.fifo     init waits at it for `start`; that it does is what makes a container `created`
    exec.status   tells `start` whether execve worked

The directory itself is the lock (flock(2)): a command that changes a container holds it. A directory whose creator has
died half-way is not locked, and that is how its `creating` is known to be over.
"""

from __future__ import annotations

import fcntl
import posix
import time
from errno import EEXIST, ENOENT

from pyrun.errors import DoesNotExistError, Error
from pyrun.kernel.files import read_all
from pyrun.kernel.ownership import open_directory, open_file, open_owned
from pyrun.spec import strictjson
from pyrun.spec.faults import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, TypedDict

    from pyrun.spec.config import Hooks, Process, Seccomp

    Status = Literal["creating", "created", "running", "paused", "stopped"]

    class State(TypedDict, total=False):
        """What is in state.json. `pid` is 0 until there is an init; `started` is its start time (proc(5), field 22).
        `process` and `seccomp`, as in the config, are there for startContainer hooks only. `namespaces`: CLONE_NEW*
        flags of those that are not the host's, `joined`: of those among them that were there before.
        `mounted`: (path, unique id) of the mount that is the root of a container without a mount namespace."""

        ociVersion: str
        id: str
        bundle: str
        rootfs: str
        created: str
        owner: str
        annotations: dict[str, str]
        creating: bool
        pid: int
        started: int
        cgroup: dict[str, Any]
        freezer: str
        resctrl: dict[str, Any]
        hooks: Hooks
        process: Process
        seccomp: Seccomp
        mounted: tuple[str, int]
        executable: str
        namespaces: int
        joined: int


_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-")
_FILES = ("exec.fifo", "exec.status", "config.json", ".config.json", "state.json", ".state.json")


def check_id(container: str) -> None:
    """Raises Error for an id that can't be a directory's name, or could be more than that."""
    if not container or container in (".", "..") or not _ID_CHARACTERS.issuperset(container):
        raise Error(
            "invalid container ID format",
            detail=repr(container)[:100],
            hint="letters, digits and _ + . - are allowed, but not . or ..",
        )
    if len(container) > 255:
        raise Error("invalid container ID format", detail="longer than 255 bytes")


def make_root(root: str, sticky: bool) -> int:
    """Make the directory of all containers, and open it: 0700, and `sticky` where it lies in XDG_RUNTIME_DIR, so that
    cleaners spare it.
    Raises Error when others have a say in it (runtime/kernel/ownership.py)."""
    try:
        fd = open_owned(root, make=True)
    except OSError as e:
        raise Error("make the state directory", call=f"mkdir {root}", errno=e.errno, hint="choose a --root") from None
    if sticky:
        try:
            posix.chmod(f"/proc/self/fd/{fd}", 0o1700)
        except OSError as e:
            posix.close(fd)
            raise Error(
                "use the state directory", call=f"chmod {root}", errno=e.errno, hint="choose a --root"
            ) from None
    return fd


class ContainerDir:
    """One container's directory, held open. With `locked`, nobody else changes it until `close`."""

    __slots__ = ("container", "fd", "locked", "path")

    def __init__(self, root: str, container: str) -> None:
        """Raises DoesNotExistError; Error when what is there can't be believed (runtime/kernel/ownership.py)."""
        check_id(container)
        self.container = container
        self.path = f"{root}/{container}"
        self.locked = False
        try:
            parent = open_owned(root)
            try:
                self.fd = open_directory(container, parent, self.path)
            finally:
                posix.close(parent)
        except OSError as e:
            if e.errno == ENOENT:
                raise DoesNotExistError() from None
            raise Error(f"open container {container}", call=f"open {self.path}", errno=e.errno) from None

    @classmethod
    def new(cls, root: str, container: str, sticky: bool = False) -> ContainerDir:
        """Make a directory for a new container, locked. Raises Error when the id is taken."""
        check_id(container)
        parent = make_root(root, sticky)
        try:
            posix.mkdir(container, 0o711, dir_fd=parent)
        except OSError as e:
            if e.errno == EEXIST:
                raise Error("container with given ID already exists", detail=container) from None
            raise Error("make the state directory", call=f"mkdir {root}/{container}", errno=e.errno) from None
        finally:
            posix.close(parent)
        entry = cls(root, container)
        entry.lock()
        return entry

    def lock(self) -> None:
        """Wait for the lock. Raises DoesNotExistError when the container is gone by then."""
        fcntl.flock(self.fd, fcntl.LOCK_EX)
        self.locked = True
        try:
            there = posix.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            raise DoesNotExistError() from None
        mine = posix.fstat(self.fd)
        if (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            raise DoesNotExistError()

    def unlock(self) -> None:
        """Let others change it."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        self.locked = False

    def exists(self) -> bool:
        """The directory has not been removed."""
        return posix.fstat(self.fd).st_nlink > 0

    def abandoned(self) -> bool:
        """Nobody holds the lock: whoever was creating this container is gone."""
        if self.locked:
            return True
        try:
            fcntl.flock(self.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        return True

    def close(self) -> None:
        """Let go of it, and of the lock."""
        posix.close(self.fd)

    def read(self) -> State:
        """Raises Error when state.json isn't there or can't be understood: `delete --force` takes such a container."""
        try:
            state: State = strictjson.trusted(self.read_file("state.json"))
        except FileNotFoundError:
            raise Error(f"container {self.container} has no state", hint="delete --force removes it") from None
        except (Invalid, ValueError):
            raise Error(f"container {self.container}: state.json is broken", hint="delete --force removes it") from None
        if not isinstance(state, dict) or not isinstance(state.get("pid"), int):
            raise Error(f"container {self.container}: state.json is broken", hint="delete --force removes it")
        return state

    def write(self, state: State) -> None:
        """Replace state.json, all at once (rename(2))."""
        self.write_file(".state.json", strictjson.dumps(state).encode())
        self.rename(".state.json", "state.json")

    def rename(self, old: str, new: str) -> None:
        """rename(2) within the directory."""
        posix.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def read_file(self, name: str) -> bytes:
        """The content of a file in it. Raises OSError; Error for one that can't be believed."""
        fd = open_file(name, self.fd, self.path)
        try:
            return read_all(fd)
        finally:
            posix.close(fd)

    def write_file(self, name: str, content: bytes) -> None:
        """Make or replace a file in it, mode 0600. Raises OSError."""
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC | posix.O_NOFOLLOW
        fd = posix.open(name, flags, 0o600, dir_fd=self.fd)
        try:
            while content:
                content = content[posix.write(fd, content) :]
        finally:
            posix.close(fd)

    def waiting(self) -> bool:
        """init waits at exec.fifo. The fifo's existence is not enough: a killed `start` may have left it behind."""
        try:
            posix.close(self.open_fifo("exec.fifo", posix.O_WRONLY | posix.O_NONBLOCK))
        except OSError:  # ENOENT, or ENXIO: nobody reads
            return False
        return True

    def open_fifo(self, name: str, flags: int) -> int:
        """open(2) of a fifo in it, with O_CLOEXEC and by no symlink. Raises OSError."""
        return posix.open(name, flags | posix.O_CLOEXEC | posix.O_NOFOLLOW, dir_fd=self.fd)

    def make_fifo(self, name: str, *, write_only: bool = False) -> int:
        """Make a fifo and open it for reading and writing: so no open of it ever waits. With `write_only` the
        descriptor can't read back what it wrote itself."""
        posix.mkfifo(name, 0o600, dir_fd=self.fd)
        fd = self.open_fifo(name, posix.O_RDWR)
        if write_only:
            both, fd = fd, self.open_fifo(name, posix.O_WRONLY)
            posix.close(both)
        return fd

    def unlink(self, name: str) -> None:
        """Remove a file in it, if it is there."""
        try:
            posix.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return

    def remove(self) -> None:
        """Remove the directory and what is in it; only while locked."""
        for name in _FILES:
            self.unlink(name)
        if posix.fstat(self.fd).st_nlink > 2:
            from pyrun.container.notify import remove

            remove(self)
        try:
            posix.rmdir(self.path)
        except FileNotFoundError:
            return
        except OSError as e:
            raise Error(f"remove container {self.container}", call=f"rmdir {self.path}", errno=e.errno) from None


def containers(root: str) -> list[str]:
    """The ids in `root`, sorted; [] when there is no such directory."""
    try:
        parent = open_owned(root)
    except FileNotFoundError:
        return []
    except OSError as e:
        raise Error("list the containers", call=f"open {root}", errno=e.errno) from None
    try:
        names = posix.listdir(f"/proc/self/fd/{parent}")
    except OSError as e:
        raise Error("list the containers", call=f"open {root}", errno=e.errno) from None
    finally:
        posix.close(parent)
    return sorted(name for name in names if _ID_CHARACTERS.issuperset(name))


def now() -> str:
    """This moment in RFC 3339 with nanoseconds, which Go's time.Time reads."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"
