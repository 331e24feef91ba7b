"""A container that is there: its status, and what can be done with it (runtime.md "Operations").

with Container.open(root, name).locked() as container:
    container.kill(SIGTERM)
"""

from __future__ import annotations

import posix
from errno import ENXIO

from pyrun.caller import Caller, Interrupt
from pyrun.cgroups.frozen import has_inner, is_frozen, moved_to, thaw
from pyrun.container.state import CONFIGS
from pyrun.container.store import ContainerDir, containers, ids, open_store
from pyrun.errors import DoesNotExistError, Error, ExecutableError, InUseError, NotRunningError
from pyrun.kernel.files import close
from pyrun.kernel.process import has_ended, has_executed, start_time, tracer
from pyrun.kernel.signals import SIGKILL, pidfd_send_signal
from pyrun.spec.faults import Invalid
from pyrun.spec.namespaces import CLONE_NEWPID, CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyrun.cgroups.cgroup import Cgroup
    from pyrun.container.exec import ExecOptions
    from pyrun.container.hooks import Kind
    from pyrun.container.state import State, Status
    from pyrun.spec.config import Config, Process, Resources

_PAUSE = 0.001  # seconds between two looks at what takes the kernel a moment
_SECONDS = 10  # how long the end of a process that was killed may take
OUT_OF_MEMORY = "org.pyrun.out-of-memory"  # an annotation that a stopped container's state may have


class Container:
    """One container of a store.

    directory  its directory in the store, open
    state      what state.json said when it was last read
    caller     on whose behalf it is acted

    What changes it asks for the lock first (`locked`); `kill` does without, so that a create or start that hangs can be
    ended. Methods raise Error."""

    __slots__ = ("caller", "directory", "state")

    def __init__(self, directory: ContainerDir, state: State, caller: Caller) -> None:
        self.directory = directory
        self.state = state
        self.caller = caller

    @classmethod
    def open(cls, root: str, name: str, caller: Caller | None = None) -> Container:
        """The container `name` of the store `root` (an absolute path). Raises DoesNotExistError, and Error when its
        state can't be read."""
        return cls._of(ContainerDir(root, name), caller or Caller())

    @classmethod
    def _of(cls, directory: ContainerDir, caller: Caller) -> Container:
        try:
            return cls(directory, directory.read(), caller)
        except BaseException:
            directory.close()
            raise

    @classmethod
    def each(cls, root: str, caller: Caller, names: list[str] | None = None) -> Iterator[Container]:
        """The containers of the store by their ids, or those of these names, each open. One that is just being deleted,
        or is broken, does not hide the others: it is warned of. Raises Error when the store can't be read."""
        store = open_store(root)
        if store < 0:
            return
        try:
            for name in ids(store, root) if names is None else names:
                try:
                    found = cls._of(ContainerDir(root, name, store), caller)
                except Error as e:
                    caller.log.warning(str(e))
                else:
                    yield found
        finally:
            close(store)

    def locked(self) -> Container:
        """Wait until nobody else changes it. Raises DoesNotExistError when it is gone by then."""
        self.directory.lock(self.caller)
        self.state = self.directory.read()
        return self

    def unlock(self) -> None:
        """Let others change it; it stays open."""
        self.directory.unlock()

    def close(self) -> None:
        """Let go of it, and of the lock."""
        self.directory.close()

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what it is

    @property
    def id(self) -> str:
        """Its name in the store."""
        return self.directory.container

    @property
    def status(self) -> Status:
        """creating, created, running, paused or stopped, as the kernel has it now. A create that died half-way leaves a
        stopped container."""
        state = self.state
        if state.get("creating"):
            return "stopped" if self.directory.abandoned() else "creating"
        if not self.is_alive:
            return "stopped"
        if is_frozen(state.get("freezer", "")):
            return "paused"
        return "created" if self.directory.waiting() else "running"

    @property
    def is_alive(self) -> bool:
        """init is running, not a zombie, and still the process that create made."""
        return self.state["pid"] > 0 and start_time(self.state["pid"]) == self.state.get("started")

    @property
    def has_own_pids(self) -> bool:
        """It has a pid namespace of its own: all of its processes end with init, by the kernel's hand."""
        return bool(self.state.get("namespaces", 0) & ~self.state.get("joined", 0) & CLONE_NEWPID)

    @property
    def has_userns(self) -> bool:
        """It has a user namespace, new or joined."""
        return bool(self.state.get("namespaces", 0) & CLONE_NEWUSER)

    def describe(self) -> dict[str, Any]:
        """The State that `state` and `list` print (runtime.md "State", with runc's additions)."""
        state, status = self.state, self.status
        shown: dict[str, Any] = {
            "ociVersion": state["ociVersion"],
            "id": state["id"],
            "pid": 0 if status == "stopped" else state["pid"],
            "status": status,
            "bundle": state["bundle"],
            "rootfs": state["rootfs"],
            "created": state["created"],
        }
        annotations = state["annotations"]
        if status == "stopped" and (words := self.out_of_memory()):
            annotations = {**annotations, OUT_OF_MEMORY: words}
        if annotations:
            shown["annotations"] = annotations
        shown["owner"] = state["owner"]
        return shown

    def config(self) -> Config:
        """The bundle's config.json, as it was at create (MUST 10). Raises Error."""
        from pyrun.spec import config as spec_config  # lazy: `state`, `start` and `kill` do without

        try:
            return spec_config.load(self.directory.read_file(CONFIGS[self.state["format"]]))
        except FileNotFoundError:
            if not self.directory.exists():
                raise DoesNotExistError() from None  # deleted a moment ago
            raise self._without_config("it is not there") from None
        except Invalid as e:
            raise self._without_config(str(e.faults[0])) from None

    def _without_config(self, detail: str) -> Error:
        return Error(f"container {self.id}: the copy of config.json is broken", detail=detail, hint="create it anew")

    def cgroup(self) -> Cgroup:
        """Its cgroup, as create recorded it."""
        from pyrun.cgroups import drivers  # lazy: `state` and `start` only ask whether it is frozen

        try:
            return drivers.from_state(self.state["cgroup"], self.caller.environ)
        except (KeyError, TypeError, ValueError) as e:
            raise Error(f"container {self.id}: state.json is broken", detail=f"cgroup: {e!r}") from None

    def out_of_memory(self) -> str:
        """What the OOM killer has done to processes of the container; "" for nothing, or when nobody knows."""
        return self.cgroup().out_of_memory() if "cgroup" in self.state else ""

    def processes(self) -> list[int]:
        """The pids of its processes, as the host sees them. Raises NotRunningError."""
        self.require_running()
        cgroup = self.cgroup()
        pids = cgroup.processes()
        # Without a cgroup of its own the container is known by its init.
        return pids if pids or not cgroup.optional else [self.state["pid"]]

    def statistics(self) -> dict[str, Any]:
        """What it uses, as `events --stats` prints it."""
        from pyrun.cgroups.statistics import statistics  # lazy: cold

        intel_rdt = {}
        if "resctrl" in self.state:
            from pyrun.host.resctrl import Group  # lazy: only with linux.intelRdt

            intel_rdt = Group.from_state(self.state["resctrl"]).statistics()
        cgroup = self.cgroup()
        cgroup.require_own()
        return statistics(cgroup, self.state["pid"], intel_rdt)

    def require_running(self) -> None:
        """Raises NotRunningError for one that has no process, or none yet."""
        if self.status in ("stopped", "creating"):
            raise NotRunningError()

    def open_init(self) -> int:
        """A pidfd of init: opened first, then checked, so that the number can't have been given to another process."""
        try:
            pidfd = posix.pidfd_open(self.state["pid"])
        except ProcessLookupError:
            raise NotRunningError() from None
        if start_time(self.state["pid"]) != self.state["started"]:
            close(pidfd)
            raise NotRunningError()
        return pidfd

    # --- what can be done with it

    def start(self) -> None:
        """Let the program of a `created` container run. Raises Error, when execve fails too."""
        assert self.directory.locked
        status = self.status
        if status != "created":
            if status == "stopped":
                raise Error("cannot start a container that has stopped")
            if status == "running":
                raise Error("cannot start an already running container")
            raise Error(f"cannot start a container in the {status} state")
        directory = self.directory
        pidfd = self.open_init()
        result = directory.open_fifo("exec.status", posix.O_RDONLY | posix.O_NONBLOCK)
        try:
            try:
                self._run_hooks("startContainer", "created")
            except Error:
                # MUST 14: stop it; what remains is for delete.
                _end(pidfd)
                raise
            try:
                fifo = directory.open_fifo("exec.fifo", posix.O_WRONLY | posix.O_NONBLOCK)
            except OSError as e:
                if e.errno != ENXIO:
                    raise
                raise Error("cannot start a container whose init has died", hint="delete it") from None
            posix.write(fifo, b"0")
            close(fifo)
            self._await_execve(result, pidfd)
            self.caller.log.debug("init has executed its program")
            directory.unlink("exec.fifo")
            directory.unlink("exec.status")
            try:
                self._run_hooks("poststart", "running")
            except Error:
                # MUST 16: stop it and go through the rest of its life.
                _end(pidfd)
                self._destroy()
                raise
        finally:
            close(result)
            close(pidfd)

    def execute(self, process: Process, options: ExecOptions) -> tuple[int, int]:
        """Run one more program in it: container/exec.py."""
        from pyrun.container.exec import execute  # lazy: loads the compiler

        return execute(self, process, options)

    def kill(self, signal: int, everything: bool = False) -> None:
        """Send a signal to init, or to all of the container's processes. Raises NotRunningError."""
        status = self.status
        if status not in ("created", "running", "paused"):
            # With --all, hidden in runc, a stopped container is no error.
            if not everything:
                raise NotRunningError()
            if not self.has_own_pids:
                self._kill_cgroup(signal)
            return
        # By its pidfd always: where its cgroup is, and what else is in that, is not for sure.
        pidfd = self.open_init()
        try:
            pidfd_send_signal(pidfd, signal)
        except ProcessLookupError:
            raise NotRunningError() from None
        finally:
            close(pidfd)
        if everything and signal != SIGKILL:
            self._kill_cgroup(signal, self.state["pid"])
        elif signal == SIGKILL and not self.has_own_pids:
            # Its other processes would outlive init.
            self._kill_cgroup(signal)
        if signal == SIGKILL:
            self._thaw(status)

    def pause(self) -> None:
        """Stop all processes of a container that is created or running."""
        assert self.directory.locked
        status = self.status
        if status == "paused":
            raise Error("container is paused already", hint="resume it")
        if status not in ("created", "running"):
            raise NotRunningError()
        self.cgroup().freeze()

    def resume(self) -> None:
        """Let them run again."""
        assert self.directory.locked
        if self.status != "paused":
            raise Error("container not paused")
        self.cgroup().thaw()

    def update(self, wanted: Resources, schemata: list[tuple[str, str]] | None = None) -> None:
        """Other limits, all or none: container/update.py."""
        from pyrun.container.update import update  # lazy: loads the checks

        update(self, wanted, schemata or [])

    def delete(self, force: bool = False) -> None:
        """Remove a stopped container, and what create made (MUST 40). One that is `created` is killed first, as by runc
        and crun, on which callers rely; one that runs only with `force`."""
        assert self.directory.locked
        status = self.status
        if status not in ("stopped", "created") and not force:
            hint = "kill it, or use --force"
            raise Error(f"cannot delete container {self.id} that is not stopped: {status}", hint=hint)
        # What a restore has made outlives one that is killed.
        if status != "stopped" or (self.state.get("creating") and self.is_alive):
            try:
                self._end_init(status)
            except NotRunningError:
                pass  # it has ended meanwhile
        self._destroy()

    # --- how

    def _run_hooks(self, kind: Kind, status: Status) -> None:
        if self.state["hooks"].get(kind):
            from pyrun.container.hooks import run_hooks  # lazy: only with hooks

            run_hooks(kind, self, status)

    def _await_execve(self, result: int, pidfd: int) -> None:
        """Wait until init has become the program. Its end of the fifo closes at execve, or says what failed."""
        try:
            self.caller.wait_for(result, pidfd)
        except Interrupt:
            if not self.caller.keep_for(self.state["pid"]):
                raise
        try:
            record = posix.read(result, 1024)
        except BlockingIOError:
            record = b""  # init was killed before it came to execve; that is not our fault, nor an error
        if record:
            from pyrun.machine.explain import HINTS  # lazy: an error
            from pyrun.machine.launch import parse_message  # lazy: an error

            _, _, value, _ = parse_message(record)
            errno = value & 0xFFFFFFFF
            _await_end(pidfd)
            name = self.state.get("executable", "")
            if not name:
                what = "cannot start a container without a process"
                raise Error(what, pointer="/process", detail="the config has none")
            hint = self._denial() or HINTS.get(("execve", errno), "")
            raise ExecutableError(f'exec "{name}"', pointer="/process/args/0", call="execve", errno=errno, hint=hint)
        self._require_execve(pidfd)

    def _require_execve(self, pidfd: int) -> None:
        """init's end of the fifo is closed: by execve, or by its death on the way there (a seccomp profile kills what
        calls execve, somebody has killed it). The kernel knows which, of a zombie too."""
        while True:
            ended = has_ended(pidfd, 0)  # asked first: what is known after that is final
            if has_executed(self.state["pid"]):
                return
            if ended:
                hint = self._denial() or "has somebody killed it?"
                detail = "init was killed before it became the program"
                raise Error("the program has not run", pointer="/process/args/0", detail=detail, hint=hint)
            self.caller.wait_for(pidfd, seconds=_PAUSE)

    def _denial(self) -> str:
        """What to say of a seccomp profile that denies execve; "": that is not why it failed."""
        from pyrun.spec.seccomp import denial_of_execve  # lazy: an error

        try:
            pointer = denial_of_execve(self.config().get("linux", {}).get("seccomp"))
        except (Error, OSError):
            return ""
        return f"the seccomp profile denies execve: {pointer}" if pointer else ""

    def _kill_cgroup(self, signal: int, but: int = 0) -> None:
        """Send the signal to the processes of the container's cgroup, `but` that one; unless another container of this
        --root lives there too: whose a process is can't be told then."""
        if "cgroup" in self.state and not self._shares_cgroup():
            self.cgroup().kill(signal, but)

    def _shares_cgroup(self) -> bool:
        """Another container of this --root lives in this one's cgroup, or below it."""
        paths = self._cgroup_paths()
        root = self.directory.path.rpartition("/")[0]
        for name in containers(root):
            if name == self.id:
                continue
            try:
                directory = ContainerDir(root, name)
            except Error:
                continue  # not one that can be believed
            try:
                broken = False
                try:
                    state: State | None = directory.read()
                except Error:
                    # Another pyrun's, or damaged: what it names may be lived in.
                    broken, state = True, directory.salvage()
                other = Container(directory, state, self.caller) if state else None
                if other and "cgroup" in other.state and (broken or other.status != "stopped"):
                    theirs = other._cgroup_paths()
                    if any(path.startswith(ours) for path in theirs for ours in paths):
                        return True
            finally:
                directory.close()
        return False

    def _cgroup_paths(self) -> list[str]:
        return [f"{path}/" for _, _, path, *_ in self.state["cgroup"]["directories"]]

    def _thaw(self, status: Status) -> None:
        """On cgroup v1 a frozen process dies only when it is thawed, whoever has frozen it, and wherever it is."""
        if "cgroup" in self.state:
            elsewhere = moved_to(self.state["pid"], self.state["cgroup"]["directories"])
            if is_frozen(elsewhere):
                thaw(elsewhere)
        if status == "paused" or has_inner(self.state.get("freezer", "")):
            self.cgroup().thaw_all()

    def _end_init(self, status: Status) -> None:
        """Kill init and wait for its end. Raises NotRunningError when it came by itself."""
        pidfd = self.open_init()
        try:
            pidfd_send_signal(pidfd, SIGKILL)
            self._thaw(status)
            _await_end(pidfd, self.state["pid"])
        except ProcessLookupError:
            raise NotRunningError() from None
        finally:
            close(pidfd)

    def _destroy(self) -> None:
        """The end of a container whose init is dead: what lingers, its cgroup, mounts, state; then poststop hooks."""
        state = self.state
        if "cgroup" in state:
            self.remove_cgroup()
        if "resctrl" in state:
            from pyrun.host.resctrl import Group  # lazy: only with linux.intelRdt

            Group.from_state(state["resctrl"]).destroy()
        self.unmount()
        self.directory.remove(CONFIGS[state["format"]])
        self.caller.log.debug(f"container {self.id} is removed")
        self.run_poststop()

    def remove_cgroup(self) -> None:
        """What lives in its cgroup, and the cgroup itself. Raises CgroupError."""
        # Of a restore that was given up CRIU may be at work there, and what it has made, whose init nobody knows yet.
        if not self.has_own_pids or (self.state.get("creating") and self.directory.restoring()):
            self._kill_cgroup(SIGKILL)
        cgroup = self.cgroup()
        if "device_filter" in self.state:
            from pyrun.host.device_filter import detach  # lazy: only in a cgroup that was there before

            detach(self.state["device_filter"], cgroup, self.caller)
        try:
            cgroup.destroy()
        except InUseError as e:
            # Not by the container, which is dead.
            self.caller.log.warning(f"the container's cgroup stays, since others use it: {e}")

    def unmount(self) -> None:
        """What one without a mount namespace has left on the host."""
        if "mounted" in self.state:
            from pyrun.host.unmount import unmount  # lazy: only without a mount namespace

            unmount(*self.state["mounted"], self.caller)

    def run_poststop(self) -> None:
        """Run its poststop hooks; one that fails is a warning."""
        if self.state.get("hooks", {}).get("poststop"):
            from pyrun.container.hooks import run_poststop  # lazy: only with hooks

            run_poststop(self)


def delete(root: str, name: str, caller: Caller, force: bool = False) -> None:
    """Delete a container by its name; with `force` also one that runs, or of which nothing is known but its directory.
    Then it is no error that there is none: managers delete what may be gone already, and call it done. Raises Error."""
    try:
        directory = ContainerDir(root, name)
        try:
            if force:
                _kill_first(directory, caller)
                directory.lock_by_force(caller)
            else:
                directory.lock(caller)
            try:
                state: State | None = directory.read()
            except Error as e:
                if not force:
                    raise
                state = directory.salvage()
                if not state:
                    caller.log.warning(f"{e.what}: what it may have left running, or mounted, is not known any more")
            if state:
                Container(directory, state, caller).delete(force)
            else:
                directory.remove()
        finally:
            directory.close()
    except DoesNotExistError:
        if not force:
            raise


def _kill_first(directory: ContainerDir, caller: Caller) -> None:
    """End init before the lock is asked for: a `start` may hold it, whose program waits for somebody's answer for ever
    (a seccomp agent's, a hook's)."""
    try:
        Container(directory, directory.read(), caller).kill(SIGKILL)
    except Error:
        return  # not running, or broken: told later, where it matters


def _end(pidfd: int) -> None:
    pidfd_send_signal(pidfd, SIGKILL)
    _await_end(pidfd)


def _await_end(pidfd: int, pid: int = 0) -> None:
    """Raises Error when the process doesn't end after a SIGKILL: uninterruptible sleep, or it waits for the end of
    others of its pid namespace, which is kept back by who traces them (ptrace(2)), as CRIU does that serves memory."""
    if not has_ended(pidfd, _SECONDS):
        by = tracer(pid)
        detail = f"process {by} traces it" if by else ""
        raise Error(
            "container init still running", detail=detail, hint=f"it did not end within {_SECONDS} s of SIGKILL"
        )
