"""linux.namespaces: which are new, which are joined, and in what order (namespaces(7), setns(2), clone3(2)).

The process that becomes init is cloned with all new namespaces but cgroup at once. Joined ones are entered before:
with the rights of the host's root while they last, and only then the user namespace. A user namespace, new or joined,
gets a process of its own (the middle) that has it before the other namespaces are made, so that they belong to it.
"""

from __future__ import annotations

from _struct import Struct
from errno import EINVAL, ENODEV

from pyrun.runtime.executor.messages import GO, INIT, MAPS, MIDDLE
from pyrun.runtime.linux import (
    AF_INET,
    AT_FDCWD,
    CLONE_PARENT,
    IFF_UP,
    NS_GET_NSTYPE,
    O_RDONLY,
    PR_SET_DUMPABLE,
    PR_SET_PDEATHSIG,
    SIGKILL,
    SIOCSIFFLAGS,
    SOCK_DGRAM,
)
from pyrun.runtime.program import Label, Program, Register
from pyrun.spec.namespaces import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    NAMESPACES,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.runtime.executor.launch import Layout
    from pyrun.runtime.plan.facts import Facts
    from pyrun.spec.config import Config

FLAGS = {kind: flag for kind, (flag, _) in NAMESPACES.items()}


# A cgroup namespace comes later (see enter), a time namespace has its own way.
_AT_CLONE = CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWNS
_CLONE_ARGS = Struct("<8Q")


class Namespaces:
    """new: the flags of the namespaces to make. paths: type -> (path, JSON pointer) of those to join."""

    __slots__ = ("_pointers", "new", "paths")

    def __init__(self, config: Config) -> None:
        self.new = 0
        self._pointers: dict[str, str] = {}
        self.paths: dict[str, tuple[str, str]] = {}
        for i, namespace in enumerate(config.get("linux", {}).get("namespaces", [])):
            path = namespace.get("path", "")
            self._pointers[namespace["type"]] = f"/linux/namespaces/{i}"
            if path:
                self.paths[namespace["type"]] = (path, f"/linux/namespaces/{i}/path")
            else:
                self.new |= FLAGS[namespace["type"]]

    @property
    def user(self) -> bool:
        """The container has a user namespace of its own."""
        return bool(self.new & CLONE_NEWUSER) or "user" in self.paths

    def pointer(self, kind: str) -> str:
        """Where in the config the namespace is asked for."""
        return self._pointers.get(kind, "/linux/namespaces")

    def own(self, kind: str) -> bool:
        """The container doesn't share this namespace with the runtime."""
        return bool(self.new & FLAGS[kind]) or kind in self.paths


def open_joined(p: Program, namespaces: Namespaces) -> dict[str, Register]:
    """Open the namespaces to join; one of another type than the config says is an error (MUST 83)."""
    opened = {}
    for kind, (path, pointer) in namespaces.paths.items():
        with p.source(pointer):
            fd = p.openat(AT_FDCWD, path, O_RDONLY)
            right = p.label()
            actual = p.call("ioctl", fd, NS_GET_NSTYPE, result=True, note="not a file of a namespace")
            p.branch(actual, FLAGS[kind], right)
            p.fail(EINVAL, f"the file is not a {kind} namespace")
            p.place(right)
            p.free(actual)
            opened[kind] = fd
    return opened


def enter(p: Program, namespaces: Namespaces, joined: dict[str, Register], facts: Facts, host: Label) -> None:
    """Leave the host: what follows runs in init, which has been told to GO. `host` is where the half that stays
    behind goes on."""
    layout = facts.layout
    pid = joined.pop("pid", None)
    mount = joined.pop("mount", None)
    user = joined.pop("user", None)
    if facts.privileged:
        for kind, fd in joined.items():
            _set(p, namespaces, kind, fd)
    if namespaces.user:
        clone(p, 0, MIDDLE, host)
        _inside(p, layout)
        if pid:
            _set(p, namespaces, "pid", pid)
        if user:
            _set(p, namespaces, "user", user)
        else:
            if not facts.privileged:
                # Files in /proc of a process that isn't dumpable belong to root: an unprivileged runtime could not
                # write our id maps.
                p.prctl(PR_SET_DUMPABLE, 1)
            with p.source(namespaces.pointer("user")):
                p.call("unshare", CLONE_NEWUSER)
            p.say(MAPS)
            p.free(p.await_(MAPS))
        become_root(p)
        ended = p.label()
        clone(p, namespaces.new & _AT_CLONE, INIT, ended)
        after = p.label()
        p.jump(after)
        p.place(ended)
        p.call("exit_group", 0)
        p.place(after)
        p.prctl(PR_SET_PDEATHSIG, SIGKILL)
    else:
        if pid:
            _set(p, namespaces, "pid", pid)
        clone(p, namespaces.new & _AT_CLONE, INIT, host)
        _inside(p, layout)
    p.free(p.await_(GO))
    if not facts.privileged:
        for kind, fd in joined.items():
            _set(p, namespaces, kind, fd)
    if mount:
        _set(p, namespaces, "mount", mount)
    if namespaces.new & CLONE_NEWCGROUP:
        # Only now: the new namespace's root is the cgroup that init is in, and the runtime has just put it there.
        with p.source(namespaces.pointer("cgroup")):
            p.call("unshare", CLONE_NEWCGROUP)


def become_root(p: Program) -> None:
    """Take id 0 of the user namespace just entered. Where 0 isn't mapped we stay who we are."""
    unmapped = p.label()
    p.call("setresgid", 0, 0, 0, errors={EINVAL: unmapped})
    p.call("setresuid", 0, 0, 0, errors={EINVAL: unmapped})
    p.place(unmapped)
    # setresuid made the process dumpable again and cleared the signal for the parent's death.
    p.prctl(PR_SET_DUMPABLE, 0)
    p.prctl(PR_SET_PDEATHSIG, SIGKILL)


def _set(p: Program, namespaces: Namespaces, kind: str, fd: Register) -> None:
    with p.source(namespaces.paths[kind][1]):
        p.call("setns", fd, FLAGS[kind])
    p.close(fd)


def _inside(p: Program, layout: Layout) -> None:
    """Talk on init's socket; with the host's open here too, the end of the host half would not be seen."""
    p.channel(layout.init)
    p.call("close", layout.host)
    p.prctl(PR_SET_PDEATHSIG, SIGKILL)


def clone(p: Program, flags: int, code: int, parent: Label) -> None:
    """Clone: the parent says the child's pid and goes on at `parent`, the child goes on here.

    CLONE_PARENT makes the child the runtime's own, so that init is inherited by whoever called the runtime, as
    conmon and containerd's shim expect; it needs exit_signal 0 in clone_args."""
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls
    arguments = _CLONE_ARGS.pack(flags | CLONE_PARENT, 0, 0, 0, 0, 0, 0, 0)
    child = p.label()
    with p.source("/linux/namespaces"):
        pid = p.call("clone3", arguments, len(arguments), result=True)
    p.branch(pid, 0, child)
    p.say(code, pid)
    p.jump(parent)
    p.place(child)
    p.free(pid)


def loopback(p: Program) -> None:
    """Set `lo` up in a new network namespace."""
    # struct ifreq: 16 bytes of name, then the flags
    request = b"lo".ljust(16, b"\0") + IFF_UP.to_bytes(2, "little") + bytes(22)
    fd = p.call("socket", AF_INET, SOCK_DGRAM, 0, result=True)
    # A kernel without the interface has nothing to set up.
    absent = p.label()
    p.call("ioctl", fd, SIOCSIFFLAGS, request, errors={ENODEV: absent})
    p.place(absent)
    p.close(fd)
