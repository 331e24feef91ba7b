"""The lifecycle after create: state, start, kill, delete (runtime.md "Operations")."""

from __future__ import annotations

import posix
import select
from errno import ENXIO

from pyrun.cgroups.frozen import has_inner, is_frozen
from pyrun.container.store import Entry, alive, containers, has_own_pids, start_time
from pyrun.errors import Error, InUseError, NotRunningError
from pyrun.kernel.signals import pidfd_send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cgroups.cgroup import Cgroup
    from pyrun.container.hooks import Kind
    from pyrun.container.store import State, Status
    from pyrun.log import Log

_SIGKILL = 9
OUT_OF_MEMORY = "org.pyrun.out-of-memory"  # an annotation that a stopped container's state may have


def cgroup_of(state: State) -> Cgroup:
    # Imported here: `state` and `start` need no more of cgroups than whether they are frozen.
    from pyrun.cgroups.cgroup import Cgroup

    return Cgroup.from_state(state["cgroup"])


def status_of(entry: Entry, state: State) -> Status:
    """creating, created, running, paused or stopped. A create that died half-way leaves a stopped container."""
    if state.get("creating"):
        return "stopped" if entry.abandoned() else "creating"
    if not alive(state):
        return "stopped"
    if is_frozen(state.get("freezer", "")):
        return "paused"
    return "created" if entry.waiting() else "running"


def describe(entry: Entry, state: State) -> dict[str, Any]:
    """The State that `state` and `list` print (runtime.md "State", with runc's additions)."""
    status = status_of(entry, state)
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
    if status == "stopped" and (words := out_of_memory(state)):
        annotations = {**annotations, OUT_OF_MEMORY: words}
    if annotations:
        shown["annotations"] = annotations
    shown["owner"] = state["owner"]
    return shown


def out_of_memory(state: State) -> str:
    """How the kernel's want of memory has ended processes of the container; "" if it has not, or nobody knows."""
    return cgroup_of(state).out_of_memory() if "cgroup" in state else ""


def start(entry: Entry, state: State, log: Log) -> None:
    """Let the program of a `created` container run; the entry is locked. Raises Error, when execve fails too."""
    status = status_of(entry, state)
    if status != "created":
        if status == "stopped":
            raise Error("cannot start a container that has stopped")
        if status == "running":
            raise Error("cannot start an already running container")
        raise Error(f"cannot start a container in the {status} state")
    pidfd = open_init(state)
    result = entry.open_fifo("exec.status", posix.O_RDONLY | posix.O_NONBLOCK)
    try:
        try:
            _hooks("startContainer", state, "created")
        except Error:
            # MUST 14: stop it; what remains is for delete.
            pidfd_send_signal(pidfd, _SIGKILL)
            _wait(pidfd)
            raise
        try:
            fifo = entry.open_fifo("exec.fifo", posix.O_WRONLY | posix.O_NONBLOCK)
        except OSError as e:
            if e.errno != ENXIO:
                raise
            raise Error("cannot start a container whose init has died", hint="delete it") from None
        posix.write(fifo, b"0")
        posix.close(fifo)
        _executed(state, result, pidfd)
        entry.unlink("exec.fifo")
        entry.unlink("exec.status")
        try:
            _hooks("poststart", state, "running")
        except Error:
            # MUST 16: stop it and go through the rest of its life.
            pidfd_send_signal(pidfd, _SIGKILL)
            _wait(pidfd)
            destroy(entry, state, log)
            raise
    finally:
        posix.close(result)
        posix.close(pidfd)


def _hooks(kind: Kind, state: State, status: Status) -> None:
    if state["hooks"].get(kind):
        from pyrun.container.hooks import run_hooks

        run_hooks(kind, state, status)


def _executed(state: State, result: int, pidfd: int) -> None:
    """Wait until init has become the program. Its end of the fifo closes at execve, or says what failed."""
    poll = select.poll()
    poll.register(result, select.POLLIN)
    poll.register(pidfd, select.POLLIN)
    poll.poll()
    try:
        record = posix.read(result, 1024)
    except BlockingIOError:
        record = b""  # init was killed before it came to execve; that is not our fault, nor an error
    if record:
        from pyrun.machine.explain import HINTS
        from pyrun.machine.launch import parse_message

        _, _, error, _ = parse_message(record)
        _wait(pidfd)
        executable = state.get("executable", "")
        if not executable:
            raise Error("cannot start a container without a process", pointer="/process", detail="the config has none")
        hint = HINTS.get(("execve", error), "")
        raise Error(f'exec "{executable}"', pointer="/process/args/0", call="execve", errno=error, hint=hint)


def kill(entry: Entry, state: State, signal: int, everything: bool = False) -> None:
    """Send a signal to init, or to all of the container's processes. Raises NotRunningError."""
    status = status_of(entry, state)
    if status not in ("created", "running", "paused"):
        # With --all, hidden in runc, a stopped container is no error.
        if not everything:
            raise NotRunningError()
        if not has_own_pids(state):
            _kill_cgroup(entry, state, signal)
        return
    # By its pidfd always: where its cgroup is, and what else is in that, is not for sure.
    pidfd = open_init(state)
    try:
        pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        raise NotRunningError() from None
    finally:
        posix.close(pidfd)
    if everything and signal != _SIGKILL:
        _kill_cgroup(entry, state, signal, state["pid"])
    elif signal == _SIGKILL and not has_own_pids(state):
        # Its other processes would outlive init.
        _kill_cgroup(entry, state, signal)
    if signal == _SIGKILL:
        _thaw(state, status)


def _kill_cgroup(entry: Entry, state: State, signal: int, but: int = 0) -> None:
    """Send the signal to the processes of the container's cgroup, `but` that one; unless another container of this
    --root lives there too: whose a process is can't be told then."""
    if "cgroup" not in state:
        return
    cgroup = cgroup_of(state)
    if not shares_cgroup(entry, state):
        cgroup.kill(signal, but)


def shares_cgroup(entry: Entry, state: State) -> bool:
    """Another container of this --root lives in this one's cgroup, or below it."""
    paths = [f"{path}/" for _, _, path, *_ in state["cgroup"]["directories"]]
    root = entry.path.rpartition("/")[0]
    for name in containers(root):
        if name == entry.container:
            continue
        try:
            other = Entry(root, name)
        except Error:
            continue
        try:
            theirs = other.read()
            if status_of(other, theirs) != "stopped" and "cgroup" in theirs:
                rows = theirs["cgroup"]["directories"]
                if any(f"{path}/".startswith(ours) for _, _, path, *_ in rows for ours in paths):
                    return True
        except Error:
            continue  # a broken one: nothing is known to live there
        finally:
            other.close()
    return False


def _thaw(state: State, status: Status) -> None:
    """On cgroup v1 a frozen process dies only when it is thawed, whoever has frozen it."""
    if status == "paused" or has_inner(state.get("freezer", "")):
        cgroup_of(state).thaw_all()


def pause(entry: Entry, state: State) -> None:
    """Stop all processes of a container that is created or running; the entry is locked. Raises Error."""
    status = status_of(entry, state)
    if status == "paused":
        raise Error("container is paused already", hint="resume it")
    if status not in ("created", "running"):
        raise NotRunningError()
    cgroup_of(state).freeze()


def resume(entry: Entry, state: State) -> None:
    """Let them run again. Raises Error."""
    if status_of(entry, state) != "paused":
        raise Error("container not paused")
    cgroup_of(state).thaw()


def delete(entry: Entry, state: State, log: Log, force: bool = False) -> None:
    """Remove a stopped container, and what create made (MUST 40). One that is `created` is killed first, as by runc and
    crun, on which callers rely; one that runs only with `force`. The entry is locked."""
    status = status_of(entry, state)
    if status not in ("stopped", "created") and not force:
        raise Error(
            f"cannot delete container {entry.container} that is not stopped: {status}", hint="kill it, or use --force"
        )
    if status != "stopped":
        try:
            _end_init(state, status)
        except NotRunningError:
            pass  # it has ended meanwhile
    destroy(entry, state, log)


def _end_init(state: State, status: Status) -> None:
    """Kill init and wait for its end. Raises NotRunningError when it came by itself."""
    pidfd = open_init(state)
    try:
        pidfd_send_signal(pidfd, _SIGKILL)
        _thaw(state, status)
        _wait(pidfd)
    except ProcessLookupError:
        raise NotRunningError() from None
    finally:
        posix.close(pidfd)


def destroy(entry: Entry, state: State, log: Log) -> None:
    """The end of a container whose init is dead: what lingers, its cgroup, mounts, state; then poststop hooks."""
    if "cgroup" in state:
        if not has_own_pids(state):
            _kill_cgroup(entry, state, _SIGKILL)
        try:
            cgroup_of(state).destroy()
        except InUseError as e:
            # Not by the container, which is dead.
            log.warning(f"the container's cgroup stays, since others use it: {e}")
    if "resctrl" in state:
        from pyrun.host.resctrl import Group

        Group.from_state(state["resctrl"]).destroy()
    if "mounted" in state:
        from pyrun.host.unmount import unmount

        unmount(*state["mounted"])
    entry.remove()
    if state.get("hooks", {}).get("poststop"):
        from pyrun.container.hooks import run_poststop

        run_poststop(state, log)


def open_init(state: State) -> int:
    """A pidfd of init: opened first, then checked, so that the number can't have been given to another process."""
    try:
        pidfd = posix.pidfd_open(state["pid"])
    except ProcessLookupError:
        raise NotRunningError() from None
    if start_time(state["pid"]) != state["started"]:
        posix.close(pidfd)
        raise NotRunningError()
    return pidfd


def _wait(pidfd: int, seconds: float = 10) -> None:
    """Until the process has ended. Raises Error when it doesn't, after a SIGKILL (uninterruptible sleep)."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(seconds * 1000):
        raise Error("container init still running", hint=f"it did not end within {seconds:g} s of SIGKILL")
