"""linux.namespaces: which are new, which are joined, and in what order (namespaces(7), setns(2), clone3(2)).

The process that becomes init is cloned with all new namespaces but cgroup at once. Joined ones are entered before:
with the rights of the host's root while they last, and only then the user namespace. A user namespace, new or joined,
gets a process of its own (the intermediate one) that has it before the other namespaces are made, so that they belong
to it.
"""

from __future__ import annotations

from errno import EACCES, EINVAL, ENODEV

from pyrun.kernel.constants import (
    AF_INET,
    AT_FDCWD,
    CLONE_INTO_CGROUP,
    CLONE_PARENT,
    IFF_UP,
    NS_GET_NSTYPE,
    O_RDONLY,
    O_WRONLY,
    PR_SET_DUMPABLE,
    PR_SET_PDEATHSIG,
    RESOLVE_BENEATH,
    RESOLVE_NO_XDEV,
    SIOCSIFFLAGS,
    SOCK_DGRAM,
)
from pyrun.kernel.signals import SIGKILL
from pyrun.machine.messages import BORN, CLOCKS, GO, INIT, INTERMEDIATE, MADE, MAPS
from pyrun.machine.program import Label, Program, Register
from pyrun.spec.namespaces import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    NAMESPACES,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.plan.facts import Facts
    from pyrun.plan.placement import Placement
    from pyrun.plan.staging import Staging
    from pyrun.spec.config import Config

FLAGS = {kind: flag for kind, (flag, _) in NAMESPACES.items()}


# A cgroup namespace comes later (see enter), a time namespace has its own way.
_AT_CLONE = CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWNS


class Namespaces:
    """new: the flags of the namespaces to make. paths: type -> (path, JSON pointer) of those to join. pids: where the
    process is born last, the pid namespace that it will be in, open."""

    __slots__ = ("_pointers", "new", "paths", "pids")

    def __init__(self, config: Config) -> None:
        self.new = 0
        self._pointers: dict[str, str] = {}
        self.paths: dict[str, tuple[str, str]] = {}
        self.pids: Register | None = None
        for i, namespace in enumerate(config.get("linux", {}).get("namespaces", [])):
            path = namespace.get("path", "")
            self._pointers[namespace["type"]] = f"/linux/namespaces/{i}"
            if path:
                self.paths[namespace["type"]] = (path, f"/linux/namespaces/{i}/path")
            else:
                self.new |= FLAGS[namespace["type"]]

    @property
    def has_userns(self) -> bool:
        """The container has a user namespace of its own."""
        return bool(self.new & CLONE_NEWUSER) or "user" in self.paths

    def pointer(self, kind: str) -> str:
        """Where in the config the namespace is asked for."""
        return self._pointers.get(kind, "/linux/namespaces")

    def own(self, kind: str) -> bool:
        """The container doesn't share this namespace with the runtime."""
        return bool(self.new & FLAGS[kind]) or kind in self.paths


class Clocks:
    """linux.timeOffsets. offsets: the text that timens_offsets takes; proc: a procfs to write it through, if any."""

    __slots__ = ("offsets", "proc")

    def __init__(self, config: Config) -> None:
        offsets = config.get("linux", {}).get("timeOffsets", {})
        self.offsets = "".join(f"{clock} {o.get('secs', 0)} {o.get('nanosecs', 0)}\n" for clock, o in offsets.items())
        self.proc: Register | None = None


def is_born_last(config: Config, facts: Facts) -> bool:
    """The container joins a pid namespace, in which others live: its process comes into it when all else is done.

    A procfs is of the namespace of who mounts it, or of one that it is told (Linux 6.17). Before that there is no other
    way than to be inside early, with all rights and the host's root, as with runc and crun."""
    if "pid" not in Namespaces(config).paths:
        return False
    return facts.procfs_takes_namespace or not any(mount.get("type") == "proc" for mount in config.get("mounts", []))


def open_joined(p: Program, namespaces: Namespaces) -> dict[str, Register]:
    """Open the namespaces to join; one of another type than the config says is an error (MUST 83)."""
    opened = {}
    for kind, (path, pointer) in namespaces.paths.items():
        with p.at(pointer):
            fd = p.openat(AT_FDCWD, path, O_RDONLY)
            actual = p.call("ioctl", fd, NS_GET_NSTYPE, result=True, note="not a file of a namespace")
            with p.held(actual), p.unless(actual, FLAGS[kind]):
                p.fail(EINVAL, f"the file is not a {kind} namespace")
            opened[kind] = fd
    return opened


def enter(
    p: Program,
    namespaces: Namespaces,
    joined: dict[str, Register],
    placement: Placement,
    clocks: Clocks,
    facts: Facts,
    host: Label,
    born_last: bool,
    staging: Staging | None = None,
) -> None:
    """Leave the host: what follows runs in init, or with `born_last` in what will be its parent. `host` is where the
    half that stays behind goes on."""
    pid = joined.pop("pid", None)
    if born_last:
        namespaces.pids = pid
    mount = joined.pop("mount", None)
    user = joined.pop("user", None)
    # Not before the clone: seen from another cgroup namespace, the container's cgroup may not exist.
    cgroup = joined.pop("cgroup", None)
    if namespaces.new & CLONE_NEWTIME and not namespaces.has_userns:
        _clocks(p, namespaces, clocks)
    if facts.privileged:
        for kind, fd in joined.items():
            _set(p, namespaces, kind, fd)
    if not namespaces.has_userns and pid and not born_last:
        _set(p, namespaces, "pid", pid)
    clone(
        p,
        0 if namespaces.has_userns else namespaces.new & _AT_CLONE,
        INTERMEDIATE if namespaces.has_userns or born_last else INIT,
        host,
        placement,
    )
    p.channel(facts.layout.init)
    # With the host's socket open here too, the end of the half on the host would not be seen.
    p.call("close", facts.layout.host)
    p.prctl(PR_SET_PDEATHSIG, SIGKILL)
    placement.enter(p)
    if cgroup and facts.privileged:
        _set(p, namespaces, "cgroup", cgroup)
    if pid and (namespaces.has_userns or born_last):
        _set(p, namespaces, "pid", pid, close=not born_last)
    if namespaces.has_userns:
        if staging:
            staging.put(p)
        _intermediate(p, namespaces, user, clocks, facts, born_last)
    if not facts.privileged:
        for kind, fd in joined.items():
            _set(p, namespaces, kind, fd)
        if cgroup:
            _set(p, namespaces, "cgroup", cgroup)
    if mount:
        _set(p, namespaces, "mount", mount)
    if namespaces.new & CLONE_NEWCGROUP:
        # Only now: the new namespace's root is the cgroup that init is in.
        with p.at(namespaces.pointer("cgroup")):
            p.call("unshare", CLONE_NEWCGROUP)
    placement.enter_leaf(p)


def _clocks(p: Program, namespaces: Namespaces, clocks: Clocks) -> None:
    """Make a time namespace for the process cloned next. Its offsets can be written until that enters it, so not after
    clone3(CLONE_NEWTIME) (time_namespaces(7))."""
    with p.at(namespaces.pointer("time")):
        p.call("unshare", CLONE_NEWTIME)
    if clocks.proc and clocks.offsets:
        with p.at("/linux/timeOffsets"):
            resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV
            with p.opened(p.openat2(clocks.proc, "self/timens_offsets", O_WRONLY, resolve)) as file:
                p.write(file, clocks.offsets)


def _intermediate(
    p: Program, namespaces: Namespaces, user: Register | None, clocks: Clocks, facts: Facts, born_last: bool
) -> None:
    """Enter the user namespace and clone init in it, with the namespaces that are to belong to it; with `born_last`
    make them for ourselves."""
    if user:
        _set(p, namespaces, "user", user)
    else:
        if not facts.privileged:
            # Files in /proc of a process that isn't dumpable belong to root: an unprivileged runtime could not write
            # our id maps.
            p.prctl(PR_SET_DUMPABLE, 1)
        with p.at(namespaces.pointer("user")):
            p.call("unshare", CLONE_NEWUSER)
        p.ask(MAPS)
    become_root(p)
    if namespaces.new & CLONE_NEWTIME:
        with p.at(namespaces.pointer("time")):
            p.call("unshare", CLONE_NEWTIME)
        if clocks.offsets:
            # The file belongs to the host's root here: the runtime writes it.
            p.ask(CLOCKS)
    if born_last:
        with p.at("/linux/namespaces"):
            p.call("unshare", namespaces.new & _AT_CLONE)
        p.ask(MADE)
        return
    parent, child = p.label(), p.label()
    clone(p, namespaces.new & _AT_CLONE, BORN, parent)
    p.jump(child)
    p.place(parent)
    p.call("exit_group", 0)
    p.place(child)
    p.prctl(PR_SET_PDEATHSIG, SIGKILL)
    p.heed(GO)


def become_root(p: Program) -> None:
    """Take id 0 of the user namespace just entered. Where 0 isn't mapped we stay who we are."""
    p.call("setresgid", 0, 0, 0, ignore=(EINVAL,))
    p.call("setresuid", 0, 0, 0, ignore=(EINVAL,))
    # setresuid made the process dumpable again and cleared the signal for the parent's death.
    p.prctl(PR_SET_DUMPABLE, 0)
    p.prctl(PR_SET_PDEATHSIG, SIGKILL)


def _set(p: Program, namespaces: Namespaces, kind: str, fd: Register, close: bool = True) -> None:
    with p.at(namespaces.paths[kind][1]):
        p.call("setns", fd, FLAGS[kind])
    if close:
        p.close(fd)


def clone(p: Program, flags: int, code: int, parent: Label, placement: Placement | None = None) -> None:
    """Clone: the parent says the child's pid and goes on at `parent`, the child goes on here.

    CLONE_PARENT makes the child the runtime's own, so that init is inherited by whoever called the runtime, as
    conmon and containerd's shim expect; it needs exit_signal 0 in clone_args."""
    child, cloned = p.label(), p.label()
    with p.at("/linux/namespaces"):
        # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
        # set_tid_size, cgroup
        size = 8 * 11
        pid = p.register()
        if placement and placement.unified:
            arguments = p.buffer(size)
            p.store(arguments, 0, 8, flags | CLONE_PARENT | CLONE_INTO_CGROUP)
            p.store(arguments, 80, 8, placement.unified)
            denied = p.label()
            p.call("clone3", arguments, size, errors={EACCES: denied} if placement.optional else None, into=pid)
            if placement.optional:
                p.jump(cloned)
                p.place(denied)
        if not placement or not placement.unified or placement.optional:
            p.call("clone3", (flags | CLONE_PARENT).to_bytes(size, "little"), size, into=pid)
        p.place(cloned)
    p.branch(pid, 0, child)
    p.say(code, pid)
    p.jump(parent)
    p.place(child)
    p.free(pid)


def loopback(p: Program) -> None:
    """Set `lo` up in a new network namespace."""
    # struct ifreq: 16 bytes of name, then the flags
    request = b"lo".ljust(16, b"\0") + IFF_UP.to_bytes(2, "little") + bytes(22)
    with p.opened(p.call("socket", AF_INET, SOCK_DGRAM, 0, result=True)) as fd:
        # A kernel without the interface has nothing to set up.
        p.call("ioctl", fd, SIOCSIFFLAGS, request, ignore=(ENODEV,))


def compile_loopback(pid: int) -> Program:
    """The same for the network namespace of a process that others have made."""
    p = Program()
    with p.opened(p.openat(AT_FDCWD, f"/proc/{pid}/ns/net", O_RDONLY)) as fd:
        p.call("setns", fd, CLONE_NEWNET)
    loopback(p)
    return p
