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
    from pyrun.plan.facts import Facts
    from pyrun.spec.config import Config

_MANY_MOUNTS = 200  # whose trees are open at once
FIFOS = 2  # the first descriptors of the layout, which `start` is waited for at


def compile_container(config: Config, facts: Facts) -> Program:
    """Compile `config`, which has been checked, to the program that makes its container.

    Raises Error, with the JSON pointer, for what can't be done; OverflowError when it would be too large."""
    p = Program()
    namespaces = Namespaces(config)
    own_mounts = namespaces.own("mount")
    entries = mounts.entries(config, facts)
    bound_dev = any(entry.options.bind and entry.destination == "/dev" for entry in entries)
    nodes = [] if bound_dev else devices.nodes(config)
    wanted = config.get("process")
    linux = config.get("linux", {})
    born_last = is_born_last(config, facts)

    # On the host, with the runtime's rights: whatever is the host's is opened here and only used later.
    host = p.label()
    p.call("umask", 0)
    clocks = Clocks(config)
    proc = first.begin(p, facts, proc=bool(clocks.offsets or linux.get("sysctl")) or labels.wanted(wanted))
    clocks.proc = proc
    if facts.device_filter:
        _filter_devices(p, facts)
    open_files = limits.raise_open_files(p) if len(entries) > _MANY_MOUNTS else None
    placement = Placement(p, facts)
    joined = open_joined(p, namespaces)
    staging = None
    if facts.privileged:
        root = rootfs.open_tree(p, config, facts)
        mounts.open_sources(p, entries, config, facts, namespaces.has_userns)
        if namespaces.has_userns or facts.nested:
            place = facts.layout.numbers.get(devices.PLACE, -1) if not facts.nested else -1
            devices.open_sources(p, nodes, place, config)
        if namespaces.has_userns and namespaces.new & CLONE_NEWNS:
            from pyrun.plan.staging import Staging  # lazy: only with a user namespace

            binds = [(entry.tree, f"{entry.pointer}/source") for entry in entries if entry.tree]
            staging = Staging(root.tree, binds, config, facts)
    enter(p, namespaces, joined, placement, clocks, facts, host, born_last, staging)

    # In init, inside the namespaces.
    if staging:
        staging.take(p)
    if not facts.privileged:
        root = rootfs.open_tree(p, config, facts)
        mounts.open_sources(p, entries, config, facts, namespaces.has_userns)
        devices.open_sources(p, nodes)
    p.call("setsid")
    if facts.keyring:
        keyring.join(p, facts.container, proc, wanted)
    if namespaces.new & CLONE_NEWNET:
        with p.at(namespaces.pointer("network")):
            loopback(p)
    rootfs.attach(p, root, config, own_mounts, facts)
    mounts.make(p, entries, root.tree, config, namespaces, facts)
    if not bound_dev:
        fresh = {entry.destination for entry in entries if entry.destination != "/dev" or entry.type == "tmpfs"}
        devices.make(p, nodes, root.tree, fresh)
    if any(config.get("hooks", {}).get(kind) for kind in RUNTIME_HOOK_KINDS):
        with p.at("/hooks"):
            p.ask(RUNTIME_HOOKS)
    rootfs.pivot(p, root, own_mounts, facts)
    cwd = None
    if wanted is not None:
        cwd = process.WorkingDirectory(p, wanted, root.tree)
        if wanted.get("terminal"):
            from pyrun.plan import console  # lazy: only with a terminal

            console.set_up(p, root.tree, wanted, facts, controlling=not born_last)
        else:
            process.hand_over_stdio(p, wanted, root.tree)
    mounts.finish(p, entries)
    _names(p, config)
    if proc and linux.get("sysctl"):
        from pyrun.plan import sysctl  # lazy: only with sysctls

        sysctl.write(p, proc, config)
    masks.read_only(p, root.tree, config)
    masks.masked(p, root.tree, config, facts.mount_label)
    rootfs.finish(p, root, config)
    if open_files:
        limits.restore_open_files(p, open_files)
    command = None
    if wanted is not None and cwd is not None:
        if not namespaces.has_userns:
            limits.set_own(p, wanted, born_last)  # these first: raising one may take a capability
        if "personality" in linux or "memoryPolicy" in linux:
            from pyrun.plan import execution  # lazy: hardly ever

            execution.set_up(p, linux)
        labels.at_execve(p, proc, wanted)
        identity.become(p, wanted, facts, namespaces.has_userns)
        cwd.enter(p)
        path = process.find_executable(p, wanted)
        home = process.ask_home(p, wanted, facts)
        command = process.Command(p, wanted, path, home)
    p.leave_on(SIGHUP, SIGINT, SIGQUIT, SIGTERM)  # as a program that waits does, in a pid namespace of its own too
    last.finish(p, wanted, facts, namespaces.has_userns, born_last=born_last, kept=FIFOS, give_up=wanted is None)

    # `created`: wait for start.
    process.await_start(p, facts)
    if command:
        command.execute(p)
    else:
        p.fail(EINVAL, "the config has no process")

    last.stay(p, wanted, facts, host, namespaces.has_userns, born_last=born_last)
    return p


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
