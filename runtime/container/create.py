"""create: from a bundle to a container that waits for start. Any failure at any step undoes all of it."""

from __future__ import annotations

import posix

from pyrun.cgroups.host import host
from pyrun.container import gather
from pyrun.container.bundle import CreateOptions, check_terminal, read_config
from pyrun.container.container import Container
from pyrun.container.home import answer
from pyrun.container.pid_file import write_pid_file
from pyrun.container.session import Session
from pyrun.container.state import CONFIGS, FORMAT
from pyrun.container.store import ContainerDir, now
from pyrun.container.undo import Undo
from pyrun.errors import ConfigError, Error
from pyrun.kernel.files import close, write
from pyrun.kernel.process import start_time
from pyrun.machine.launch import EndedError, Executor, ProgramError
from pyrun.machine.messages import (
    BORN,
    CLOCKS,
    CONSOLE,
    COPY_FROM,
    COPY_UP,
    FILTER,
    HOME,
    INIT,
    INTERMEDIATE,
    LIMITS,
    LISTENER,
    MADE,
    MAPS,
    READY,
    ROOT,
    RUNTIME_HOOKS,
)
from pyrun.plan import devices, dialogue, identity, rootfs
from pyrun.plan.create import compile_container
from pyrun.plan.namespaces import FLAGS, Clocks, Namespaces, is_born_last
from pyrun.spec import checks, peers
from pyrun.spec.faults import Invalid
from pyrun.spec.version import SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyrun.caller import Caller
    from pyrun.cgroups.controller import Write
    from pyrun.container.session import Answer
    from pyrun.container.state import State
    from pyrun.log import Log
    from pyrun.machine.messages import Message
    from pyrun.spec.config import Config
    from pyrun.spec.faults import Fault


class Created:
    """A container in state `created`, locked. console: the terminal's master when the caller relays it, else -1.
    executor: what ran the program."""

    __slots__ = ("console", "container", "executor")

    def __init__(self, container: Container, console: int, executor: Executor) -> None:
        self.container = container
        self.console = console
        self.executor = executor


def create(root: str, name: str, options: CreateOptions, caller: Caller) -> Created:
    """Make the container `name` in the store `root`. Raises Error."""
    raw, config = read_config(options)
    for fault in checks.config_warnings(config):
        caller.log.warning(str(fault))
    check_terminal(config, options)
    if options.seccomp:
        if config.get("linux", {}).get("seccomp"):
            caller.log.warning("the config's own profile, /linux/seccomp, is not in force: its calls are recorded")
        config.setdefault("linux", {})["seccomp"] = options.seccomp
    if caller.log.says_all:
        _tell(caller.log, config, options)
    undo = Undo()
    try:
        directory = ContainerDir.new(root, name, caller)
        undo.push(directory.remove)
        try:
            return _Creation(directory, raw, config, options, caller, undo).run()
        except BaseException:
            directory.close()
            raise
    finally:
        undo.close()


def first_state(name: str, config: Config, options: CreateOptions) -> State:
    """Of a container of which nothing is there yet."""
    hooks, namespaces = config.get("hooks", {}), Namespaces(config)
    state: State = {
        "format": FORMAT,
        "ociVersion": SPEC_VERSION,
        "id": name,
        "bundle": options.bundle,
        "rootfs": rootfs.path(config, options.bundle),
        "created": now(),
        "owner": _owner(),
        "annotations": config.get("annotations", {}),
        "creating": True,
        "pid": 0,
        "started": 0,
        "namespaces": sum(flag for kind, flag in FLAGS.items() if namespaces.own(kind)),
        "joined": sum(FLAGS[kind] for kind in namespaces.paths),
        "hooks": hooks,
        "executable": next(iter(config.get("process", {}).get("args", [])), ""),
    }
    if hooks.get("startContainer"):
        state["process"] = config.get("process", {})
        if "seccomp" in config.get("linux", {}):
            state["seccomp"] = config["linux"]["seccomp"]
    return state


class _Creation:
    """One create under way, and how to undo it."""

    def __init__(
        self,
        directory: ContainerDir,
        raw: bytes,
        config: Config,
        options: CreateOptions,
        caller: Caller,
        undo: Undo,
    ) -> None:
        self.raw = raw
        self.config = config
        self.options = options
        self.caller = caller
        self.linux = config.get("linux", {})
        self.namespaces = Namespaces(config)
        self.undo = undo
        self.closing: list[Callable[[], None]] = []
        self.console = -1
        self.listener = -1
        self.copied_from = -1
        self.copies = iter([f"/mounts/{i}" for i, m in enumerate(config.get("mounts", [])) if _copies_up(m)])
        self.session: Session | None = None
        self.state = first_state(directory.container, config, options)
        self.container = Container(directory, self.state, caller)

    def run(self) -> Created:
        try:
            return self._run()
        except BaseException as error:
            cause = error
            try:
                cause = self._explained(error)
            except (Error, OSError) as e:
                self.caller.log.warning(f"the reason can't be told in full: {e}")
            try:
                self.undo.run()
                self.caller.log.debug("what was made is undone")
            except (Error, OSError) as e:
                self.caller.log.warning(f"clean-up incomplete, run `delete --force`: {e}")
            if cause is error:
                raise
            raise cause from None
        finally:
            for close in self.closing:
                close()

    def _run(self) -> Created:
        config, options, state = self.config, self.options, self.state
        directory = self.container.directory
        if options.expect_plan:
            from pyrun.container.planned import expect  # lazy: only with --expect-plan

            # Before a service manager's directory and variables are added.
            expect(options.expect_plan, state["id"], config, options, self.caller)
        # The state comes first: whatever is made from here on can be found and removed by `delete --force`, even if
        # we are killed in the middle of it.
        hierarchies = host()
        if options.notify or options.environment:
            from pyrun.container import notify  # lazy: only under a service manager

            notify.prepare(directory, config, options)
        self.cgroup = cgroup = gather.own_cgroup(options, hierarchies, state["id"], config, self.caller)
        cgroup.foresee()
        state["cgroup"] = cgroup.to_state()
        if "intelRdt" in self.linux:
            from pyrun.host.resctrl import Group  # lazy: only with linux.intelRdt

            group = Group.of(self.linux["intelRdt"], state["id"])
            state["resctrl"] = group.to_state()
        directory.write_file(CONFIGS[FORMAT], self.raw)
        directory.write(state)
        warnings: list[Fault] = []
        writes = cgroup.writes(gather.resources(config, cgroup), warnings=warnings)  # type: ignore[arg-type]
        if not cgroup.needs_process:
            warnings += self._limit(writes)
        if "intelRdt" in self.linux:
            self.undo.push(group.destroy)
            group.create(self.linux["intelRdt"])
        found = gather.facts(state["id"], config, options, hierarchies, cgroup, self.caller)
        if "process" in config:
            available = identity.available(found, self.namespaces.has_userns)
            warnings += identity.warnings(config["process"], available)
        program = compile_container(config, found)
        self.caller.log.debug(f"compiled: {len(program.instructions)} instructions")
        fifos = [directory.make_fifo("exec.fifo"), directory.make_fifo("exec.status", write_only=True)]
        maps = gather.open_id_maps(config, self.caller)
        self.closing += [_closing(fd) for fd in (*fifos, *maps)]
        executor = Executor(
            program,
            found.layout,
            [*fifos, *range(3, 3 + options.preserve_fds), *maps, *[directory.fd] * devices.wants_place(config)],
            self.caller,
            "container",
            options.stdio,
        )
        self.session = session = Session(executor, dialogue.of_container(config, found))
        self.undo.push(session.end)
        if cgroup.needs_process:
            warnings += self._limit(writes, executor.pid)
            self.undo.push(session.end)  # before the scope is stopped, which may fail
        for fault in warnings:
            self.caller.log.warning(str(fault))
        session.converse(self._answers(born_last=is_born_last(config, found)))
        if devices.wants_place(config):
            directory.forget_devices()
        return Created(self.container, self.console, executor)

    def _limit(self, writes: list[Write], pid: int = 0) -> list[Fault]:
        """Make the cgroup and set its limits; returns warnings."""
        cgroup = self.cgroup
        cgroup.create(pid)
        # Now it is known what is ours, and not before: what is in a cgroup that was refused is not ours to kill.
        self.state["cgroup"] = cgroup.to_state()
        self.state["freezer"] = cgroup.freezer
        self.undo.push(self.container.remove_cgroup)
        self.caller.log.debug(f"cgroup {', '.join(d.path for d in cgroup.directories) or 'none'}: made")
        self.container.directory.write(self.state)
        warnings = cgroup.apply(writes)
        owner = gather.cgroup_owner(self.config)
        if owner:
            cgroup.delegate(owner)
        path = ""
        for name in (gather.subgroup(self.config, cgroup), gather.leaf(self.config, cgroup)):
            if name:
                path += f"/{name}"
                cgroup.make_leaf(path, owner)
        return warnings

    # --- what the program says and asks: the answers, in the order of plan/dialogue.py

    def _answers(self, born_last: bool) -> Mapping[Message, Answer]:
        return {
            FILTER: self._record_filter,
            # All is done by init's parent, which has its namespaces, but isn't seen in that of pids.
            INTERMEDIATE: self._at_init if born_last else _nothing,
            MADE: self._namespaces_made,
            MAPS: self._write_maps,
            CLOCKS: self._write_clocks,
            INIT: self._at_init,
            BORN: self._is_init if born_last else self._at_init,
            ROOT: self._record_mount,
            COPY_FROM: self._copy_from,
            COPY_UP: self._copy_up,
            RUNTIME_HOOKS: self._run_hooks,
            CONSOLE: self._take_console,
            HOME: self._find_home,
            LISTENER: self._take_listener,
            LIMITS: lambda value, fd: self.state["pid"],
            READY: self._created,
        }

    def _write_maps(self, value: int, fd: int) -> None:
        from pyrun.host import idmap  # lazy: only with a user namespace

        idmap.write(self._intermediate, self.linux, self.caller)

    def _write_clocks(self, value: int, fd: int) -> None:
        try:
            write(f"/proc/{self._intermediate}/timens_offsets", Clocks(self.config).offsets)
        except OSError as e:
            raise Error("set the clocks", pointer="/linux/timeOffsets", errno=e.errno) from None

    @property
    def _intermediate(self) -> int:
        assert self.session
        return self.session.intermediate

    def _is_init(self, pid: int, fd: int) -> None:
        self.state["pid"] = pid
        self.state["started"] = start_time(pid)

    def _at_init(self, pid: int, fd: int) -> None:
        """What is done to init, or to who does all for it, from outside."""
        self._is_init(pid, fd)
        process = self.config.get("process", {})
        if "intelRdt" in self.linux:
            from pyrun.host.resctrl import Group  # lazy: only with linux.intelRdt

            Group.from_state(self.state["resctrl"]).add(pid)
        if "oomScoreAdj" in process:
            try:
                write(f"/proc/{pid}/oom_score_adj", str(process["oomScoreAdj"]))
            except OSError as e:
                hint = "lowering it takes CAP_SYS_RESOURCE"
                raise Error("set the OOM score", pointer="/process/oomScoreAdj", errno=e.errno, hint=hint) from None
        # With a user namespace, who does all for init has not made the network namespace yet.
        if not (self.namespaces.has_userns and pid == self._intermediate):
            self._move_net_devices(pid)

    def _namespaces_made(self, value: int, fd: int) -> None:
        self._move_net_devices(self._intermediate)

    def _move_net_devices(self, pid: int) -> None:
        if "netDevices" not in self.linux:
            return
        from pyrun.host.net_devices import NetDevices  # lazy: only with linux.netDevices

        if posix.geteuid() != 0:
            detail = "moving the host's interfaces takes root"
            raise Error("move network devices", pointer="/linux/netDevices", detail=detail)
        devices = NetDevices(pid)
        self.closing.append(devices.close)
        # While there is an init: its end may be the end of a namespace, and of what is in it.
        self.undo.push(lambda: devices.bring_back(self.caller.log))
        devices.move(self.linux["netDevices"])

    def _record_mount(self, mount: int, fd: int) -> None:
        assert self.session
        self.state["mounted"] = self.state["rootfs"], mount
        self.container.directory.write(self.state)
        self.undo.push(self.container.unmount)
        self.undo.push(self.session.end)  # first, since it may be about to attach it

    def _record_filter(self, number: int, fd: int) -> None:
        self.state["device_filter"] = number
        self.container.directory.write(self.state)

    def _copy_from(self, value: int, source: int) -> None:
        self.copied_from = source

    def _copy_up(self, value: int, target: int) -> None:
        from pyrun.host.copyup import copy_up  # lazy: only with tmpcopyup
        from pyrun.host.idmap import root_ids  # lazy: only with tmpcopyup

        owner, pointer = root_ids(self.state["pid"]), next(self.copies)
        copy_up(self.copied_from, target, self.cgroup, owner, pointer, self.caller)

    def _run_hooks(self, value: int, fd: int) -> None:
        from pyrun.container.hooks import run_hooks  # lazy: only with hooks

        self.undo.push_last(self.container.run_poststop)
        self.container.directory.write(self.state)
        for kind in dialogue.RUNTIME_HOOK_KINDS:
            run_hooks(kind, self.container, "created")

    def _take_console(self, value: int, master: int) -> None:
        from pyrun.container.handover import keep_terminal, send_terminal  # lazy: only with a terminal

        if self.options.console_socket:
            send_terminal(master, self.options.console_socket)  # which closes it, whatever happens
        else:
            self.console = master
            self.undo.push(_closing(master))
            keep_terminal(master)

    def _find_home(self, value: int, passwd: int) -> bytes:
        return answer(passwd, self.config["process"])

    def _take_listener(self, number: int, fd: int) -> None:
        from pyrun.container import listener  # lazy: only with a seccomp agent

        self.listener = listener.take(number, fd, self.state["pid"])
        self.closing.append(_closing(self.listener))

    def _created(self, value: int, fd: int) -> None:
        options, state, pid = self.options, self.state, self.state["pid"]
        if self.listener >= 0:
            from pyrun.container import listener  # lazy: only with a seccomp agent

            listener.send(self.listener, pid, self.linux["seccomp"], state, "creating")
        if receiver := options.pidfd_socket or state["annotations"].get(peers.PIDFD_RECEIVER):
            from pyrun.container.handover import send_pidfd  # lazy: only with --pidfd-socket

            send_pidfd(pid, receiver, b"standard")
        del state["creating"]
        self.container.directory.write(state)
        if options.pid_file:
            write_pid_file(options.pid_file, pid)

    def _explained(self, error: BaseException) -> BaseException:
        """The Error that an exception is for a user."""
        if isinstance(error, Invalid):
            return ConfigError(error.faults)
        if isinstance(error, OverflowError):
            return Error(str(error))
        if isinstance(error, ProgramError | EndedError):
            from pyrun.machine.explain import died, explain  # lazy: an error

            assert self.session
            if isinstance(error, ProgramError):
                return explain(self.session.executor.program, error, self.config)
            return died(self.session.end(), self.cgroup, self.config)
        return error


def _tell(log: Log, config: Config, options: CreateOptions) -> None:
    """What the config asks for, at level debug; a trace takes all of it."""
    if log.trace:
        log.trace.config = config
    log.debug(f"bundle {options.bundle}, root {rootfs.path(config, options.bundle)}")
    namespaces = Namespaces(config)
    joined = [f"{kind} of {path}" for kind, (path, _) in namespaces.paths.items()]
    log.debug(
        f"namespaces: {', '.join([kind for kind, flag in FLAGS.items() if namespaces.new & flag] + joined) or 'none'}"
    )
    for i, mount in enumerate(config.get("mounts", [])):
        kind, source = mount.get("type", ""), mount.get("source", "")
        shown = f"{mount['destination']}: {kind or 'bind'} {source} {','.join(mount.get('options', []))}"
        log.debug(f"mount {i}: {shown.rstrip()}")


def _owner() -> str:
    """Whose the container is, by name; "" for a user without one."""
    uid = posix.geteuid()
    if not uid:
        return "root"
    from pwd import getpwuid  # lazy: not for root

    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return ""


def _copies_up(mount: Mapping[str, object]) -> bool:
    return "tmpcopyup" in mount.get("options", ())  # type: ignore[operator]


def _closing(fd: int) -> Callable[[], None]:
    return lambda: close(fd)


def _nothing(value: int, fd: int) -> None:
    pass
