"""The store on disk: ROOT/ID/, one directory a container.

    state.json         what later commands need; written to a temporary and renamed
    pyrun-config.json  the bundle's config.json, as it was at create: later edits have no effect (MUST 10). By a name of
                       ours, so that nobody else's directory is ever taken for a container's; what an older release
                       has made has another (CONFIGS of state.py)
    exec.fifo          init waits at it for `start`; that it does is what makes a container `created`
    exec.status        tells `start` whether execve worked

The directory itself is the lock (flock(2)): a command that changes a container holds it. A directory whose creator has
died half-way is not locked, and that is how its `creating` is known to be over.
"""

from __future__ import annotations

import fcntl
import posix
import time
from errno import EEXIST, EFBIG, EISDIR, ELOOP, ENOENT, ENXIO

from pyrun.container.state import CONFIGS, FORMAT, newer, problem, salvage
from pyrun.errors import DoesNotExistError, Error
from pyrun.kernel.constants import S_IFIFO, S_IFMT
from pyrun.kernel.files import DOCUMENT_MOST, close, read, read_bounded, write_all
from pyrun.kernel.ownership import open_directory, open_file, open_owned
from pyrun.kernel.process import children, has_ended
from pyrun.kernel.signals import SIGKILL, SIGTERM, pidfd_send_signal
from pyrun.spec import strictjson
from pyrun.spec.faults import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.caller import Caller
    from pyrun.container.state import State


_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-")
# How long a command that is asked to end may take to undo what it has done, in seconds.
_PATIENCE = 5
# Between two tries to have the lock, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05

MADE = ".device-"  # how the names of devices begin that a program makes there to bind them (plan/devices.py)
_CONFIG = CONFIGS[FORMAT]
CRIU_ROOT = "criu-root"  # an empty directory, while a restore is under way (runtime/criu/stage.py)
_FILES = ("exec.fifo", "exec.status", ".state.json", "state.json")


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
            close(fd)
            raise Error(
                "use the state directory", call=f"chmod {root}", errno=e.errno, hint="choose a --root"
            ) from None
    return fd


class ContainerDir:
    """One container's directory, held open. With `locked`, nobody else changes it until `close`."""

    __slots__ = ("container", "fd", "locked", "path")

    def __init__(self, root: str, container: str, store: int = -1) -> None:
        """store: the root, if open_owned has opened it. Raises DoesNotExistError; Error when what is there can't be
        believed (runtime/kernel/ownership.py)."""
        check_id(container)
        self.container = container
        self.path = f"{root}/{container}"
        self.locked = False
        try:
            parent = open_owned(root) if store < 0 else store
            try:
                self.fd = open_directory(container, parent, self.path)
            finally:
                if store < 0:
                    close(parent)
        except OSError as e:
            if e.errno == ENOENT:
                raise DoesNotExistError() from None
            raise Error(f"open container {container}", call=f"open {self.path}", errno=e.errno) from None

    @classmethod
    def new(cls, root: str, container: str, caller: Caller) -> ContainerDir:
        """Make a directory for a new container, locked. Raises Error when the id is taken."""
        check_id(container)
        sticky = posix.geteuid() != 0 and root == caller.default_root()
        parent = make_root(root, sticky)
        try:
            posix.mkdir(container, 0o711, dir_fd=parent)
            try:
                entry = cls(root, container, parent)
            except Error:
                posix.rmdir(container, dir_fd=parent)  # which takes an empty one only
                raise
        except OSError as e:
            if e.errno == EEXIST:
                raise Error("container with given ID already exists", detail=container) from None
            raise Error("make the state directory", call=f"mkdir {root}/{container}", errno=e.errno) from None
        finally:
            close(parent)
        try:
            entry.lock(caller)
        except BaseException:
            # Who holds it removes it, or only looks at it; nothing is in it yet.
            if entry.exists():
                posix.rmdir(entry.path)
            entry.close()
            raise
        return entry

    def lock(self, caller: Caller) -> None:
        """Wait for the lock. Raises DoesNotExistError when the container is gone by then."""
        self._lock_within(None, caller)
        self._has_lock()

    def lock_by_force(self, caller: Caller, seconds: float = 10) -> None:
        """The same; but a command that holds the lock for longer than that is ended, and said to be: it waits for what
        may never come (a hook, a seccomp agent, a file system). Raises Error when it holds on even so."""
        if not self._lock_within(seconds, caller):
            try:
                holder = self._holder()
                words = f"process {holder} has held container {self.container} for {seconds:g} s: it is ended"
                caller.log.warning(words)
                self._end_holder(holder)
            except Error:
                if not self._lock_within(0, caller):
                    raise
            else:
                if not self._lock_within(seconds, caller):
                    detail = f"by process {holder}, which does not end"
                    raise Error(f"container {self.container} is held", detail=detail)
        self._has_lock()

    def _lock_within(self, seconds: float | None, caller: Caller) -> bool:
        # By asking again: a flock(2) that waits can't be interrupted without a race.
        end = None if seconds is None else time.monotonic() + seconds
        pause = _FIRST_PAUSE
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if pause == _FIRST_PAUSE:
                    caller.log.debug(f"another command holds container {self.container}: it is waited for")
                if end is not None and time.monotonic() > end:
                    return False
                caller.wait_for(seconds=pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                return True

    def _holder(self) -> int:
        """Who holds the lock, by the kernel's list of locks (proc(5)). Raises Error when that can't be seen."""
        mine = posix.fstat(self.fd)
        key = f"{posix.major(mine.st_dev):02x}:{posix.minor(mine.st_dev):02x}:{mine.st_ino}"
        for line in read("/proc/locks").splitlines():
            fields = line.split()
            if fields[1:2] == ["FLOCK"] and fields[-3:-2] == [key] and fields[-4].isdigit() and int(fields[-4]):
                return int(fields[-4])
        raise Error(f"container {self.container} is held", detail="by a process that can't be seen from here")

    def _end_holder(self, holder: int) -> None:
        """By a pidfd, opened before it is known that the process still is the holder."""
        try:
            pidfd = posix.pidfd_open(holder)
        except ProcessLookupError:
            return
        try:
            if self._holder() != holder:
                return
            # Its children are what it has made, a hook among them that would outlive it.
            made = children(holder)
            try:
                # It undoes what it has done, if it can; if not, there is the state.
                for signal in (SIGTERM, SIGKILL):
                    pidfd_send_signal(pidfd, signal)
                    if has_ended(pidfd, _PATIENCE):
                        break
            finally:
                for child in made:
                    try:
                        pidfd_send_signal(child, SIGKILL)
                    except ProcessLookupError:
                        pass
                    close(child)
        except ProcessLookupError:
            return  # it has ended meanwhile
        except PermissionError as e:
            raise Error(f"container {self.container} is held", call=f"kill {holder}", errno=e.errno) from None
        finally:
            close(pidfd)

    def _has_lock(self) -> None:
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
        close(self.fd)

    def read(self) -> State:
        """Raises Error when state.json isn't there or isn't one: `delete --force` takes such a container."""
        name = self.container
        try:
            raw = self.read_file("state.json")
        except FileNotFoundError:
            if not self.abandoned():
                raise Error(f"container {name} is being created", hint="try again") from None
            strange = self._strangers()
            hint = f"is {self.path} a container's directory?" if strange else "delete --force removes it"
            raise Error(f"container {name} has no state", hint=hint) from None
        found = _parsed(raw)
        if written := newer(found):
            detail = f"its state has format {written}, and this one reads 1 to {FORMAT}"
            raise Error(f"container {name} is a newer pyrun's", detail=detail, hint="use that, or delete --force")
        if what := problem(found):
            raise Error(f"container {name}: state.json is broken", detail=what, hint="delete --force removes it")
        return found  # type: ignore[return-value]

    def salvage(self) -> State | None:
        """What can be believed of a state that `read` refuses (container/state.py); None when that is nothing."""
        try:
            return salvage(_parsed(self.read_file("state.json")), self.container)
        except (OSError, Error):
            return None

    def write(self, state: State) -> None:
        """Replace state.json, all at once (rename(2))."""
        content = strictjson.dumps(state).encode()
        if len(content) > DOCUMENT_MOST:
            raise Error("write the state", errno=EFBIG, hint="the config's annotations and hooks are too large")
        self.replace_file("state.json", content)

    def rename(self, old: str, new: str) -> None:
        """rename(2) within the directory."""
        posix.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def read_file(self, name: str) -> bytes:
        """The content of a file in it. Raises OSError; Error for one that can't be believed."""
        fd = open_file(name, self.fd, self.path)
        try:
            return read_bounded(fd, f"{self.path}/{name}")
        finally:
            close(fd)

    def replace_file(self, name: str, content: bytes) -> None:
        """Replace a file in it, all at once. Raises OSError."""
        self.write_file(f".{name}", content)
        self.rename(f".{name}", name)

    def write_file(self, name: str, content: bytes) -> None:
        """Make or replace a file in it, mode 0600. Raises OSError."""
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC | posix.O_NOFOLLOW
        fd = posix.open(name, flags, 0o600, dir_fd=self.fd)
        try:
            write_all(fd, content)
        finally:
            posix.close(fd)

    def waiting(self) -> bool:
        """init waits at exec.fifo. The fifo's existence is not enough: a killed `start` may have left it behind."""
        try:
            close(self.open_fifo("exec.fifo", posix.O_WRONLY | posix.O_NONBLOCK))
        except Error:
            return False  # where there is no fifo nobody waits
        except OSError as e:
            if e.errno not in (ENOENT, ENXIO):  # nobody reads
                raise
            return False
        return True

    def restoring(self) -> bool:
        """A restore is under way, or has died half-way."""
        return CRIU_ROOT in self._names()

    def open_fifo(self, name: str, flags: int) -> int:
        """open(2) of a fifo in it, with O_CLOEXEC and by no symlink. Raises OSError when it is not there, or has no
        reader (ENXIO); Error for what is no fifo."""
        try:
            fd = posix.open(name, flags | posix.O_CLOEXEC | posix.O_NOFOLLOW, dir_fd=self.fd)
        except OSError as e:
            if e.errno not in (EISDIR, ELOOP):
                raise
        else:
            if posix.fstat(fd).st_mode & S_IFMT == S_IFIFO:
                return fd
            close(fd)
        raise Error(f"use {self.path}/{name}", detail="it is not a fifo", hint="delete --force removes the container")

    def make_fifo(self, name: str, *, write_only: bool = False) -> int:
        """Make a fifo and open it for reading and writing: so no open of it ever waits. With `write_only` the
        descriptor can't read back what it wrote itself."""
        posix.mkfifo(name, 0o600, dir_fd=self.fd)
        fd = self.open_fifo(name, posix.O_RDWR)
        if write_only:
            both, fd = fd, self.open_fifo(name, posix.O_WRONLY)
            close(both)
        return fd

    def unlink(self, name: str) -> None:
        """Remove a file in it, if it is there; or an empty directory, which somebody has put in its place."""
        try:
            posix.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            try:
                posix.rmdir(name, dir_fd=self.fd)
            except OSError as e:
                what, call = f"remove container {self.container}", f"rmdir {self.path}/{name}"
                raise Error(what, call=call, errno=e.errno, hint="look what lies there") from None

    def remove(self, config: str = _CONFIG) -> None:
        """Remove the directory and what is in it, state.json last; only while locked. config: the name of the config's
        copy. Raises Error, and has removed nothing, when it holds what no container's directory does."""
        if strange := self._strangers(config):
            what, hint = f"remove container {self.container}", f"is {self.path} a container's directory?"
            raise Error(what, detail=f"it holds {strange[0]}, which is not a container's", hint=hint)
        if posix.fstat(self.fd).st_nlink > 2:
            from pyrun.container.notify import remove  # lazy: only with a directory in it

            remove(self)
            if self.restoring():
                posix.rmdir(CRIU_ROOT, dir_fd=self.fd)
        self.forget_devices()
        for name in (config, f".{config}", *_FILES):
            self.unlink(name)
        try:
            posix.rmdir(self.path)
        except FileNotFoundError:
            return
        except OSError as e:
            raise Error(f"remove container {self.container}", call=f"rmdir {self.path}", errno=e.errno) from None

    def forget_devices(self) -> None:
        """Take away the names of devices that were made to be bound (plan/devices.py)."""
        for name in self._names():
            if name.startswith(MADE):
                self.unlink(name)

    def _strangers(self, config: str = _CONFIG) -> list[str]:
        """Names in it that are none of ours."""
        ours = {config, f".{config}", "notify", CRIU_ROOT, *_FILES}
        return sorted(name for name in self._names() if name not in ours and not name.startswith(MADE))

    def _names(self) -> list[str]:
        return posix.listdir(f"/proc/self/fd/{self.fd}")


def open_store(root: str) -> int:
    """The directory of all containers, opened with O_PATH; -1 when there is none. Raises Error."""
    try:
        return open_owned(root)
    except FileNotFoundError:
        return -1
    except OSError as e:
        raise Error("list the containers", call=f"open {root}", errno=e.errno) from None


def ids(store: int, root: str) -> list[str]:
    """What is in an open store, sorted. root: its path, for messages. Raises Error."""
    try:
        names = posix.listdir(f"/proc/self/fd/{store}")
    except OSError as e:
        raise Error("list the containers", call=f"open {root}", errno=e.errno) from None
    return sorted(name for name in names if _ID_CHARACTERS.issuperset(name))


def containers(root: str) -> list[str]:
    """The ids in `root`, sorted; [] when there is no such directory. Raises Error."""
    store = open_store(root)
    if store < 0:
        return []
    try:
        return ids(store, root)
    finally:
        close(store)


def _parsed(raw: bytes) -> dict[str, Any]:
    """{} for what is no JSON object."""
    try:
        found = strictjson.trusted(raw)
    except (Invalid, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def now() -> str:
    """This moment in RFC 3339 with nanoseconds, which Go's time.Time reads."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    # Without strftime, which reads /etc/localtime first.
    year, month, day, hour, minute, second, *_ = time.gmtime(seconds)
    return f"{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z"
