"""The whole program of a container, in the order in which it happens: read this first."""

from __future__ import annotations

from errno import EINVAL

from pyrun.kernel.constants import (
    AT_FDCWD,
    BPF_CGROUP_DEVICE,
    BPF_F_ALLOW_MULTI,
    BPF_OBJ_GET_INFO_BY_FD,
    BPF_PROG_ATTACH,
    BPF_PROG_LOAD,
    BPF_PROG_TYPE_CGROUP_DEVICE,
    O_DIRECTORY,
    O_RDONLY,
)
from pyrun.kernel.signals import SIGHUP, SIGINT, SIGQUIT, SIGTERM
from pyrun.machine.messages import FILTER, RUNTIME_HOOKS
from pyrun.machine.program import Program
from pyrun.plan import (
    devices,
    first,
    identity,
    keyring,
    labels,
    last,
    limits,
    masks,
    mounts,
    process,
    rootfs,
)
from pyrun.plan.dialogue import RUNTIME_HOOK_KINDS
from pyrun.plan.namespaces import Clocks, Namespaces, enter, is_born_last, loopback, open_joined
from pyrun.plan.placement import Placement
from pyrun.spec.namespaces import CLONE_NEWNET, CLONE_NEWNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.machine.program import Buffer
    from pyrun.plan.facts import Facts
    from pyrun.plan.staging import Staging
    from pyrun.spec.config import Config

_MANY_MOUNTS = 200  # whose trees are open at once
FIFOS = 2  # the first descriptors of the layout, which `start` is waited for at


def compile_container(config: Config, facts: Facts) -> Program:
    """Compile `config`, which has been checked, to the program that makes its container.

    Raises Error, with the JSON pointer, for what can't be done; OverflowError when it would be too large."""
    making = _Making(config, facts)
    making.on_the_host()
    making.its_root()
    making.in_its_root()
    making.its_process()
    making.started()
    return making.p


class _Making:
    """The steps, and what one of them leaves for those after it."""

    def __init__(self, config: Config, facts: Facts) -> None:
        self.p, self.config, self.facts = Program(), config, facts
        self.namespaces = Namespaces(config)
        self.own_mounts = self.namespaces.own("mount")
        self.entries = mounts.entries(config, facts)
        self.bound_dev = any(entry.options.bind and entry.destination == "/dev" for entry in self.entries)
        self.nodes = [] if self.bound_dev else devices.nodes(config)
        self.wanted = config.get("process")
        self.linux = config.get("linux", {})
        self.born_last = is_born_last(config, facts)
        self.host = self.p.label()
        self.open_files: Buffer | None = None
        self.cwd: process.WorkingDirectory | None = None
        self.command: process.Command | None = None

    def on_the_host(self) -> None:
        """With the runtime's rights: whatever is the host's is opened here and only used later."""
        p, facts = self.p, self.facts
        p.call("umask", 0)
        clocks = Clocks(self.config)
        needed = bool(clocks.offsets or self.linux.get("sysctl")) or labels.wanted(self.wanted)
        self.proc = clocks.proc = first.begin(p, facts, proc=needed)
        if facts.device_filter:
            _filter_devices(p, facts)
        if len(self.entries) > _MANY_MOUNTS:
            self.open_files = limits.raise_open_files(p)
        placement = Placement(p, facts)
        joined = open_joined(p, self.namespaces)
        staging = self._open_sources() if facts.privileged else None
        enter(p, self.namespaces, joined, placement, clocks, facts, self.host, self.born_last, staging)
        if staging:
            staging.take(p)

    def _open_sources(self) -> Staging | None:
        """Of the root, the mounts and the devices. What is returned hands them to a user namespace."""
        p, config, facts, namespaces = self.p, self.config, self.facts, self.namespaces
        self.root = rootfs.open_tree(p, config, facts)
        mounts.open_sources(p, self.entries, config, facts, namespaces.has_userns)
        if not facts.privileged:
            devices.open_sources(p, self.nodes)
            return None
        if namespaces.has_userns or facts.nested:
            place = facts.layout.numbers.get(devices.PLACE, -1) if not facts.nested else -1
            devices.open_sources(p, self.nodes, place, config)
        if not (namespaces.has_userns and namespaces.new & CLONE_NEWNS):
            return None
        from pyrun.plan.staging import Staging  # lazy: only with a user namespace

        binds = [(entry.tree, f"{entry.pointer}/source") for entry in self.entries if entry.tree]
        return Staging(self.root.tree, binds, config, facts)

    def its_root(self) -> None:
        """In init, inside the namespaces: the root with all mounts and devices becomes the root directory."""
        p, config, facts = self.p, self.config, self.facts
        if not facts.privileged:
            self._open_sources()
        p.call("setsid")
        if facts.keyring:
            keyring.join(p, facts.container, self.proc, self.wanted)
        if self.namespaces.new & CLONE_NEWNET:
            with p.at(self.namespaces.pointer("network")):
                loopback(p)
        rootfs.attach(p, self.root, config, self.own_mounts, facts)
        mounts.make(p, self.entries, self.root.tree, config, self.namespaces, facts)
        if not self.bound_dev:
            fresh = {
                entry.destination for entry in self.entries if entry.destination != "/dev" or entry.type == "tmpfs"
            }
            devices.make(p, self.nodes, self.root.tree, fresh)
        if any(config.get("hooks", {}).get(kind) for kind in RUNTIME_HOOK_KINDS):
            with p.at("/hooks"):
                p.ask(RUNTIME_HOOKS)
        rootfs.pivot(p, self.root, self.own_mounts, facts)

    def in_its_root(self) -> None:
        """What takes the whole tree, before parts of it are masked, and that."""
        p, config, facts, wanted = self.p, self.config, self.facts, self.wanted
        if wanted is not None:
            self.cwd = process.WorkingDirectory(p, wanted, self.root.tree)
            if wanted.get("terminal"):
                from pyrun.plan import console  # lazy: only with a terminal

                console.set_up(p, self.root.tree, wanted, facts, controlling=not self.born_last)
            else:
                process.hand_over_stdio(p, wanted, self.root.tree)
        mounts.finish(p, self.entries)
        _names(p, config)
        if self.proc and self.linux.get("sysctl"):
            from pyrun.plan import sysctl  # lazy: only with sysctls

            sysctl.write(p, self.proc, config)
        masks.read_only(p, self.root.tree, config)
        masks.masked(p, self.root.tree, config, facts.mount_label)
        rootfs.finish(p, self.root, config)
        if self.open_files:
            limits.restore_open_files(p, self.open_files)

    def its_process(self) -> None:
        """Who the process is and what it may: from here on it is the container's, and waits."""
        p, facts, wanted, has_userns = self.p, self.facts, self.wanted, self.namespaces.has_userns
        if wanted is not None and self.cwd is not None:
            if not has_userns:
                limits.set_own(p, wanted, self.born_last)  # these first: raising one may take a capability
            if "personality" in self.linux or "memoryPolicy" in self.linux:
                from pyrun.plan import execution  # lazy: hardly ever

                execution.set_up(p, self.linux)
            labels.at_execve(p, self.proc, wanted)
            identity.become(p, wanted, facts, has_userns)
            self.cwd.enter(p)
            path = process.find_executable(p, wanted)
            home = process.ask_home(p, wanted, facts)
            self.command = process.Command(p, wanted, path, home)
        p.leave_on(SIGHUP, SIGINT, SIGQUIT, SIGTERM)  # as a program that waits does, in a pid namespace of its own too
        last.finish(p, wanted, facts, has_userns, born_last=self.born_last, kept=FIFOS, give_up=wanted is None)

    def started(self) -> None:
        """`created` until `start` comes; then execve(2)."""
        p = self.p
        process.await_start(p, self.facts)
        if self.command:
            self.command.execute(p)
        else:
            p.fail(EINVAL, "the config has no process")
        last.stay(p, self.wanted, self.facts, self.host, self.namespaces.has_userns, born_last=self.born_last)


def _names(p: Program, config: Config) -> None:
    for name, call in (("hostname", "sethostname"), ("domainname", "setdomainname")):
        value = config.get(name)
        if isinstance(value, str) and value:
            with p.at(f"/{name}"):
                p.call(call, value, len(value.encode()))


def compile_device_filter(facts: Facts) -> Program:
    """The device rules of a container that is made by others, on a cgroup of its own."""
    p = Program()
    _filter_devices(p, facts)
    return p


def _filter_devices(p: Program, facts: Facts) -> None:
    """cgroup v2 has no devices files: the rules are an eBPF program on the container's cgroup (bpf(2))."""
    with p.at("/linux/resources/devices"):
        cgroup = p.openat(AT_FDCWD, facts.unified_cgroup, O_RDONLY | O_DIRECTORY)
        # union bpf_attr for BPF_PROG_LOAD: type, count, instructions, license, then nothing of ours
        load = p.buffer(128)
        p.store(load, 0, 4, BPF_PROG_TYPE_CGROUP_DEVICE)
        p.store(load, 4, 4, len(facts.device_filter) // 8)
        p.store(load, 8, 8, facts.device_filter)
        p.store(load, 16, 8, "Apache-2.0")
        fd = p.call("bpf", BPF_PROG_LOAD, load, 128, result=True)
        if facts.cgroup_stays:
            # for BPF_OBJ_GET_INFO_BY_FD: object, length and address of struct bpf_prog_info, which begins: u32 type, id
            info, found = p.buffer(128), p.buffer(8)
            p.store(info, 0, 4, fd)
            p.store(info, 4, 4, found.size)
            p.store(info, 8, 8, found)
            p.call("bpf", BPF_OBJ_GET_INFO_BY_FD, info, 128)
            with p.held(p.load(found, 4, 4)) as number:
                p.ask(FILTER, number)
        # for BPF_PROG_ATTACH: target, program, type, flags
        attach = p.buffer(128)
        p.store(attach, 0, 4, cgroup)
        p.store(attach, 4, 4, fd)
        p.store(attach, 8, 4, BPF_CGROUP_DEVICE)
        p.store(attach, 12, 4, BPF_F_ALLOW_MULTI)
        p.call("bpf", BPF_PROG_ATTACH, attach, 128)
        p.close(fd)
        p.close(cgroup)
