"""A container's cgroup by the cgroupfs driver: plain mkdir, write and rmdir below /sys/fs/cgroup.

The systemd driver is another class with these methods (`systemd`). A container has one directory in each hierarchy of
version 1, one in all on version 2; only what `create` made is removed by `destroy` (MUST 40, 41).
"""

from __future__ import annotations

import errno
import posix
from time import sleep

from pyrun.cgroups import directories
from pyrun.cgroups.directories import Directory
from pyrun.cgroups.errors import refused
from pyrun.cgroups.frozen import is_frozen
from pyrun.cgroups.paths import POINTER, locate
from pyrun.errors import CgroupError, InUseError
from pyrun.kernel import files
from pyrun.spec.faults import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cgroups.controller import Resources, Write
    from pyrun.cgroups.host import Hierarchies, Mode

_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_SIGKILL = 9
_NO_LIMIT_ASKED = ("-1", "max", "0")
_NO_LIMIT = 1 << 62  # version 1 shows "no limit" as the largest multiple of a page


class Cgroup:
    """A container's cgroup. Methods raise CgroupError.

    hierarchies: of the host; container: its id; cgroups_path: linux.cgroupsPath or None (Invalid if it is unusable);
    rootless: a host that denies the cgroup is no error until a limit is asked for.
    """

    needs_process = False  # `create` takes the pid of a process that the cgroup is to begin with

    __slots__ = ("_fd", "_file", "_limited", "_unavailable", "directories", "mode", "rootless")

    def __init__(
        self, hierarchies: Hierarchies, container: str, cgroups_path: str | None = None, *, rootless: bool = False
    ) -> None:
        self.mode: Mode = hierarchies.mode
        self.rootless = rootless
        self.directories = [
            Directory(tree.controllers, tree.mountpoint, path)
            for tree, path in locate(hierarchies, container, cgroups_path)
        ]
        self._reset()

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Cgroup:
        """The cgroup that `to_state` told of."""
        self = cls.__new__(cls)
        self.mode = state["mode"]
        self.rootless = state["rootless"]
        self.directories = [Directory(tuple(c), *rest) for c, *rest in state["directories"]]
        self._reset()
        return self

    @classmethod
    def disabled(cls, hierarchies: Hierarchies) -> Cgroup:
        """No cgroup: the container stays where its caller is. A limit is an error."""
        self = cls.__new__(cls)
        self.mode = hierarchies.mode
        self.rootless = True
        self.directories = []
        self._reset()
        hint = "leave the limit out, or take another --cgroup-manager"
        self._unavailable["*"] = CgroupError("the container has no cgroup", errno=errno.ENOENT, hint=hint)
        return self

    def _reset(self) -> None:
        self._limited = False  # a limit has been set: being outside the cgroup is an error then
        self._unavailable: dict[str, CgroupError] = {}  # controller → why it can't be had; "*": why none can
        self._file = ""  # the file that `_fd` has open for writing
        self._fd = -1

    def to_state(self) -> dict[str, Any]:
        """What a later command needs, fit for JSON."""
        return {
            "driver": "cgroupfs",
            "mode": self.mode,
            "rootless": self.rootless,
            "directories": [[list(d.controllers), d.top, d.path, d.made, d.inodes] for d in self.directories],
        }

    # Making and limiting ----------------------------------------------------------------------------------------------

    def create(self, pid: int = 0) -> None:
        """Makes the directories, with their parents. On an error nothing stays.

        An existing cgroup is taken if it is empty and not frozen (MUST 96).
        """
        for directory in self.directories:
            directory.made = 0
        try:
            for directory in list(self.directories):
                self._create(directory)
            self.identify()
        except BaseException:
            for directory in self.directories:
                directories.remove(directory)
            raise

    def identify(self) -> None:
        """Note what `create` has made, so that it is known again."""
        for directory in self.directories:
            try:
                directory.identify()
            except OSError as error:
                raise refused(POINTER, "look at", directory.path, error) from None

    def steps(self) -> list[tuple[str, str]]:
        """What `create` will do, and the JSON pointer of what asks for it."""
        return [(f"mkdir {directory.path}", POINTER) for directory in self.directories]

    def foresee(self) -> None:
        """Note which directories `create` will make, so that a state written before it knows what to remove after a
        death half-way."""
        for directory in self.directories:
            path = directory.path
            directory.made = 0
            while len(path) > len(directory.top) and not files.exists(path):
                directory.made += 1
                path = path.rpartition("/")[0]

    def _create(self, directory: Directory) -> None:
        try:
            directory.made = directories.make(directory.path, directory.top)
        except OSError as error:
            if self.rootless and error.errno in _DENIED:
                self.directories.remove(directory)
                for controller in directory.controllers or ("",):
                    self._unavailable[controller] = refused("", "mkdir", directory.path, error)
                return
            raise refused(POINTER, "mkdir", directory.path, error) from None
        if not directory.made:
            if pids := directories.processes(directory.path):
                message = f"container's cgroup is not empty: {len(pids)} process(es) found"
                raise CgroupError(
                    message, pointer=POINTER, hint=f"{directory.path} is in use: choose another cgroupsPath"
                )
            if (not directory.controllers or "freezer" in directory.controllers) and is_frozen(directory.path):
                raise CgroupError(
                    "container's cgroup unexpectedly frozen", pointer=POINTER, hint=f"thaw {directory.path}"
                )
        try:
            if "cpuset" in directory.controllers:
                directories.inherit_cpuset(directory)
            elif self.mode == "v2":
                self._enable_controllers(directory)
        except OSError as error:
            raise refused(POINTER, "set up", error.filename or directory.path, error) from None

    def _enable_controllers(self, directory: Directory) -> None:
        """Gives the cgroup all controllers that its mount has, so that statistics are there without limits too.

        A controller that can't be enabled is an error only when a write needs it.
        """
        wanted = set(files.read(directory.top + "/cgroup.controllers").split())
        if wanted <= set(files.read(directory.path + "/cgroup.controllers").split()):
            return
        parent = directory.top
        for name in directory.path[len(directory.top) + 1 :].split("/"):
            file = parent + "/cgroup.subtree_control"
            missing = sorted(wanted - set(files.read(file).split()))
            try:
                if missing:
                    files.write(file, " ".join(["+" + controller for controller in missing]))
            except OSError:
                for controller in missing:
                    try:
                        files.write(file, "+" + controller)
                    except OSError as error:
                        wanted.discard(controller)
                        self._unavailable[controller] = _not_enabled(controller, parent, error)
            parent = f"{parent}/{name}"

    def writes(self, resources: Resources, *, devices: bool = True, warnings: list[Fault] | None = None) -> list[Write]:
        """linux.resources compiled for this host; devices: with the device rules of version 1 (`update` leaves them).

        On version 2 device rules are a program (controllers/devices.py). Raises Invalid.
        """
        # Imported here: of all commands only create and update compile, and kill or delete need not load it.
        from pyrun.cgroups.resources import compile_writes  # lazy: only create and update set limits

        if not devices:
            resources = {section: members for section, members in resources.items() if section != "devices"}
        return compile_writes(resources, v2=self.mode == "v2", warnings=warnings)

    def apply(self, writes: list[Write]) -> list[Fault]:
        """Executes the writes in order. Returns a warning for each limit that this kernel has retired."""
        warnings: list[Fault] = []
        i = 0
        try:
            while i < len(writes):
                i = self._put(writes, i, warnings)
        finally:
            if self._fd >= 0:
                files.close(self._fd)
                self._file, self._fd = "", -1
        return warnings

    def change(self, writes: list[Write]) -> list[Fault]:
        """As `apply`; when one of the writes fails, the files have what they had before."""
        before = self._contents(writes)
        try:
            return self.apply(writes)
        except CgroupError:
            self._put_back(before)
            raise

    @staticmethod
    def _put_back(contents: list[tuple[str, str]]) -> None:
        for _ in range(2):  # of two files that the kernel checks together the second may have to go first
            for path, text in reversed(contents):
                try:
                    files.write(path, text)
                except OSError:
                    continue

    def _contents(self, writes: list[Write]) -> list[tuple[str, str]]:
        """(path, content) of the files that have one value, in the order in which they would be written."""
        found: dict[str, str] = {}
        for write in writes:
            try:
                path = directories.file(self._directory(write.controller, write.pointer), write.file)
                text = files.read(path).strip()
            except (CgroupError, OSError):
                continue
            if "\n" not in text and path not in found:
                found[path] = text.removeprefix("default ")
        return list(found.items())

    def _put(self, writes: list[Write], i: int, warnings: list[Fault]) -> int:
        """Executes writes[i], its pair first where the kernel wants it so. Returns the index to go on with."""
        write, after = writes[i], i + 1
        try:
            self._execute(write)
        except CgroupError as error:
            number = error.errno
            if number == errno.EINVAL and after < len(writes) and writes[after].file == write.pair:
                after = self._put(writes, after, warnings)
                self._execute(write)
            elif write.optional and number in (errno.ENOENT, errno.EOPNOTSUPP):
                if write.value not in _NO_LIMIT_ASKED:
                    warnings.append(Fault(write.pointer, f"has no effect: this kernel has no {write.file}"))
            # Without root a user namespace keeps devices from being made or opened; the rules only say so again.
            elif not (self.rootless and write.controller == "devices" and number in (*_DENIED, errno.ENOENT)):
                raise
        return after

    def _execute(self, write: Write) -> None:
        path = self._directory(write.controller, write.pointer)
        file = directories.file(path, write.file)
        try:
            if write.ceiling and (files.number(f"{path}/{write.ceiling}") or 0) > int(write.value):
                message = f"{write.value} is below what the cgroup uses now"
                raise CgroupError(
                    message,
                    pointer=write.pointer,
                    errno=errno.EBUSY,
                    hint="memory.checkBeforeUpdate asks for this check",
                )
            if file != self._file:  # several lines for one file (device rules) share an open
                if self._fd >= 0:
                    files.close(self._fd)
                    self._file, self._fd = "", -1
                self._fd = posix.open(file, posix.O_WRONLY | posix.O_CLOEXEC)
                self._file = file
            posix.write(self._fd, write.value.encode("utf-8", "surrogateescape"))
        except OSError as error:
            if error.errno == errno.ENOENT and write.otherwise:
                self._execute(write.otherwise)
                return
            if error.errno == errno.ENOENT and self.mode == "v2" and write.controller:
                self._check_controller(write, path)
            raise refused(write.pointer, f"write {write.value!r} to", file, error) from None
        if write.controller != "devices":
            self._limited = True

    def _check_controller(self, write: Write, path: str) -> None:
        """Raises when a version 2 file is missing because its controller is (MUST 110)."""
        try:
            controllers = files.read(path + "/cgroup.controllers").split()
        except OSError:
            return
        if write.controller not in controllers:
            message = f"the controller {write.controller} is not available in {path}"
            raise CgroupError(
                message, pointer=write.pointer, errno=errno.ENOENT, hint=self._lacking(write.controller, path)
            )

    def _lacking(self, controller: str, path: str) -> str:
        """What would give the cgroup the controller."""
        top = self.directories[0].top
        if controller not in files.read(top + "/cgroup.controllers").split():
            return f"this kernel has none, or a hierarchy of version 1 has it: see {top}/cgroup.controllers"
        while controller not in files.read(path + "/cgroup.controllers").split():
            path = path.rpartition("/")[0]
        return _delegating(controller, path)

    def _directory(self, controller: str, pointer: str) -> str:
        """The container's directory which has the controller's files."""
        # "": all of version 2, where there is one directory and it could not be made.
        none = self._unavailable.get("*") or (self._unavailable.get("") if self.mode == "v2" else None)
        error = self._unavailable.get(controller) or none
        if error:
            raise CgroupError(error.what, pointer=pointer, errno=error.errno, hint=error.hint)
        for directory in self.directories:
            if self.mode == "v2" or controller in directory.controllers:
                return directory.path
        self.require_own(pointer)
        message = f"this host has no cgroup hierarchy for {controller}" if controller else "this host has no cgroup2"
        raise CgroupError(message, pointer=pointer, errno=errno.ENOENT, hint="mount it, or leave the limit out")

    def delegate(self, uid: int) -> None:
        """Gives the cgroup to a user of the host's (version 2 only: version 1 is not safe to delegate).

        The files are those that the kernel lists; one that is missing is no failure (MUST 101, 102).
        """
        if self.mode != "v2" or not self.directories:
            return
        self._give(self.directories[0].path, uid)

    def make_leaf(self, below: str, uid: int) -> None:
        """Makes a cgroup below it, version 2 only, and gives it to a user of the host's too. below: its path, from this
        one on: `/name`."""
        path = self.directories[0].path + below
        try:
            posix.mkdir(path, 0o755)
        except OSError as error:
            raise refused(POINTER, "mkdir", path, error) from None
        if uid:
            self._give(path, uid)

    def _give(self, path: str, uid: int) -> None:
        try:
            names = files.read("/sys/kernel/cgroup/delegate").split()
        except FileNotFoundError:
            names = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]
        for file in (path, *(f"{path}/{name}" for name in names)):
            try:
                posix.chown(file, uid, -1, follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                if self.rootless and error.errno in _DENIED:
                    return  # a SHOULD of the spec's, which takes root
                raise refused(POINTER, f"chown {uid}", file, error) from None

    # Processes --------------------------------------------------------------------------------------------------------

    @property
    def path(self) -> str | None:
        """The version 2 directory, for clone3's CLONE_INTO_CGROUP; None where a process must be added by its pid."""
        return self.directories[0].path if self.mode == "v2" and self.directories else None

    @property
    def attaches(self) -> bool:
        """A process can't enter by itself: `attach` is to do it."""
        return False

    def attach(self, pid: int) -> None:
        """For drivers that say so, have a process moved into the cgroup."""
        raise NotImplementedError

    def add(self, pid: int) -> None:
        """Moves a process into the cgroup of every hierarchy."""
        line = b"%d\n" % pid
        for directory in self.directories:
            file = directory.path + "/cgroup.procs"
            try:
                files.write(file, line)
            except OSError as error:
                if self.optional and error.errno in _DENIED:
                    continue
                raise refused(POINTER, f"move process {pid} to", file, error) from None

    @property
    def optional(self) -> bool:
        """Not to be allowed into the cgroup is no error: rootless, and no limit has been set."""
        return self.rootless and not self._limited

    def processes(self, recursive: bool = True) -> list[int]:
        """Pids of the cgroup's processes, with those of the cgroups below it if recursive; none if it is gone.

        A process of a foreign pid namespace, which has no pid here, is left out.
        """
        directory = self._main()
        return [pid for pid in directories.processes(directory.path, recursive) if pid] if directory else []

    def kill(self, signal: int, but: int = 0) -> None:
        """Sends a signal to all processes `but` that one, of sub-cgroups too. SIGKILL leaves none that could fork.

        Only in a cgroup that `create` made: in one that was there before, or has the name by now, are others'.
        """
        directory = self._main()
        if not directory or not directory.is_own():
            return
        if signal != _SIGKILL:
            self._signal(signal, but)
            return
        if self.mode == "v2":
            try:
                files.write(directory.path + "/cgroup.kill", "1")
                return
            except OSError as error:
                if error.errno in directories.GONE and not files.exists(directory.path):
                    return
                if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP):  # an old kernel, a threaded cgroup
                    raise refused("", "write 1 to", directory.path + "/cgroup.kill", error) from None
        frozen = True
        try:
            self.freeze()
        except CgroupError:  # no freezer, or a process that can't be stopped now: race it instead
            frozen = False
        if frozen:
            try:
                self._signal(signal)
            finally:
                self.thaw()
            return
        for _ in range(100):
            if not self._signal(signal):
                return
            sleep(0.001)
        raise CgroupError(f"processes of {directory.path} do not end", errno=errno.EBUSY)

    def _signal(self, signal: int, but: int = 0) -> bool:
        """Sends the signal to each process once; whether there was one."""
        pids = [pid for pid in self.processes() if pid != but]
        for pid in pids:
            try:
                posix.kill(pid, signal)
            except ProcessLookupError:
                continue
            except OSError as error:
                raise CgroupError(f"kill process {pid}", errno=error.errno or 0) from None
        return bool(pids)

    def freeze(self) -> None:
        """Stops all processes; returns when they have stopped. On an error they run again."""
        path = self._freezer()
        try:
            if self.mode == "v2":
                files.write(path + "/cgroup.freeze", "1")
                stopped = directories.wait_frozen(path)
            else:
                # FREEZING until the last has stopped. Asked again, since a process forked meanwhile is not asked.
                for attempt in range(1000):
                    if attempt % 50 == 0:
                        files.write(path + "/freezer.state", "FROZEN")
                    if stopped := files.read(path + "/freezer.state") == "FROZEN\n":
                        break
                    if attempt > 10:
                        sleep(0.001)
        except OSError as error:
            raise refused("", "freeze", error.filename or path, error) from None
        if not stopped:
            self.thaw()
            raise CgroupError(f"processes of {path} can't be frozen", errno=errno.EBUSY)

    def thaw(self) -> None:
        """Lets frozen processes run."""
        path = self._freezer()
        file, value = ("/cgroup.freeze", "0") if self.mode == "v2" else ("/freezer.state", "THAWED")
        try:
            files.write(path + file, value)
        except OSError as error:
            if error.errno in directories.GONE and not files.exists(path):
                return  # with it all that was frozen in it
            raise refused("", f"write {value} to", path + file, error) from None

    def thaw_all(self) -> None:
        """Lets all run that is frozen on version 1, by cgroups of the container's own making too: no frozen process
        takes a signal there, SIGKILL among them. On version 2 it does."""
        if self.mode == "v2" or not self.freezer:
            return
        try:
            files.write(f"{self.freezer}/freezer.state", "THAWED")
            for cgroup, _, _ in directories.below(self.freezer):
                fd = posix.open("freezer.state", posix.O_WRONLY | posix.O_CLOEXEC, dir_fd=cgroup)
                try:
                    posix.write(fd, b"THAWED")
                finally:
                    files.close(fd)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, *_DENIED):
                raise refused("", "thaw", self.freezer, error) from None

    def exists(self) -> bool:
        """Whether it has not been taken away."""
        return any(files.exists(directory.path) for directory in self.directories)

    def is_frozen(self) -> bool:
        """Whether the processes are stopped, by a cgroup above too. False without a freezer or a cgroup."""
        return is_frozen(self.freezer)

    def has(self, controller: str) -> bool:
        """Whether there is a directory with the controller's files (version 2: at all, device rules need no files)."""
        return any(self.mode == "v2" or controller in directory.controllers for directory in self.directories)

    @property
    def freezer(self) -> str:
        """The directory that freezes; "" where there is none."""
        for directory in self.directories:
            if self.mode == "v2" or "freezer" in directory.controllers:
                return directory.path
        return ""

    def require_own(self, pointer: str = "") -> None:
        """Raises CgroupError when the container has no cgroup of its own."""
        if self.rootless and not self.directories:
            hint = "a cgroup delegated to this user gives it one: --systemd-cgroup, or systemd-run --user --scope"
            raise CgroupError("cgroups not configured for container", pointer=pointer, hint=hint)

    def _freezer(self) -> str:
        self.require_own()
        if not self.freezer:
            raise CgroupError("this host has no freezer cgroup", errno=errno.ENOENT)
        return self.freezer

    def _main(self) -> Directory | None:
        """The directory that is asked for processes: with version 1 the freezer's, which `kill` needs to agree with."""
        for controller in ("freezer", "devices"):
            for directory in self.directories:
                if controller in directory.controllers:
                    return directory
        return self.directories[0] if self.directories else None

    # Taking away ------------------------------------------------------------------------------------------------------

    def destroy(self) -> None:
        """Removes what `create` made, and the cgroups made below it since; the processes must have ended.

        A killed process leaves its cgroup a moment after its death: EBUSY is waited out for half a
        second, and for some seconds where no process is to be seen any more: a busy kernel takes its time.
        """
        pending = [directory for directory in self.directories if directory.made]
        wait = 0.001
        while pending := [directory for directory in pending if not directories.remove(directory)]:
            path = pending[0].path
            if wait > 0.3 and ((count := len(directories.processes(path))) or wait > 3):
                raise InUseError(f"rmdir {path}: {count} process(es) still in it", errno=errno.EBUSY)
            sleep(wait)
            wait *= 2

    # Figures for error texts ------------------------------------------------------------------------------------------

    def oom_kills(self) -> int:
        """How many processes of the cgroup the OOM killer has killed; 0 if that can't be known."""
        file = "memory.events" if self.mode == "v2" else "memory.oom_control"
        return self._figure(file, "oom_kill") or 0

    def out_of_memory(self) -> str:
        """What the OOM killer did to the cgroup, in words; "" if it has killed nothing, and for a cgroup that is gone
        (systemd takes a scope away with its last process, and the counters with it)."""
        kills = self.oom_kills()
        if not kills:
            return ""
        limit, peak = self.memory_limit(), self.memory_peak()
        why = (
            f"memory limit {limit} bytes" if limit else "no memory limit of its own: a cgroup above or the host ran out"
        )
        most = f", peak {peak}" if peak else ""
        return f"OOM killer: {kills} process{'es' if kills > 1 else ''} killed ({why}{most})"

    def memory_limit(self) -> int | None:
        """The memory limit in bytes; None without one, or if it can't be known."""
        limit = self._figure("memory.max" if self.mode == "v2" else "memory.limit_in_bytes")
        return None if limit is None or limit >= _NO_LIMIT else limit

    def memory_peak(self) -> int | None:
        """The most memory used so far in bytes; None if it can't be known (version 2 before Linux 5.19)."""
        return self._figure("memory.peak" if self.mode == "v2" else "memory.max_usage_in_bytes")

    def _figure(self, file: str, key: str = "") -> int | None:
        for directory in self.directories:
            if self.mode == "v2" or "memory" in directory.controllers:
                try:
                    return files.number(f"{directory.path}/{file}", key)
                except OSError:
                    return None
        return None


def _not_enabled(controller: str, parent: str, error: OSError) -> CgroupError:
    file = parent + "/cgroup.subtree_control"
    if directories.processes(parent, recursive=False):
        hint = f"{parent} has processes of its own: move them to a cgroup below it, then echo +{controller} > {file}"
    else:
        hint = _delegating(controller, parent)
    return CgroupError(f"the controller {controller} is not enabled in {parent}", errno=error.errno or 0, hint=hint)


def _delegating(controller: str, parent: str) -> str:
    """The line that gives a controller to the cgroups below `parent`."""
    hint = f"as root: echo +{controller} > {parent}/cgroup.subtree_control"
    if "/user.slice/" in f"{parent}/":
        hint += f"; or under systemd Delegate={controller} in user@.service"
    return hint
