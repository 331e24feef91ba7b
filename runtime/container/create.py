"""create: from a bundle to a container that waits for start. Any failure at any step undoes all of it."""

from __future__ import annotations

import posix

from pyrun.cgroups.cgroup import Cgroup
from pyrun.cgroups.host import host
from pyrun.container.bundle import Options, check_terminal, read_config
from pyrun.container.gather import facts, mapped, own_cgroup, resources
from pyrun.container.home import answer
from pyrun.container.pid_file import write_pid_file
from pyrun.container.store import Entry, cache_folder, has_own_pids, now, read_path, start_time
from pyrun.errors import ConfigError, Error
from pyrun.kernel.constants import SECCOMP_FILTER_FLAG_NEW_LISTENER
from pyrun.kernel.signals import pidfd_send_signal
from pyrun.machine.launch import EndedError, Executor, ProgramError, reap, reap_init
from pyrun.machine.messages import (
    CLOCKS,
    CONSOLE,
    COPY_FROM,
    COPY_UP,
    GO,
    HOME,
    INIT,
    LIMITS,
    LISTENER,
    MAPS,
    MIDDLE,
    PLACED,
    READY,
    ROOT,
    RUNTIME_HOOKS,
)
from pyrun.plan import identity, limits, rootfs
from pyrun.plan.create import compile_container, is_born_last
from pyrun.plan.facts import Facts
from pyrun.plan.namespaces import FLAGS, Clocks, Namespaces
from pyrun.plan.process import asks_home
from pyrun.spec import checks
from pyrun.spec.faults import Invalid
from pyrun.spec.version import SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cgroups.controller import Write
    from pyrun.container.store import State
    from pyrun.host.net_devices import NetDevices
    from pyrun.host.resctrl import Group
    from pyrun.log import Log
    from pyrun.machine.program import Program
    from pyrun.spec.config import Config
    from pyrun.spec.faults import Fault

_SIGKILL = 9


class Created:
    """A container in state `created`. console: the pty's master when the caller relays it, else -1."""

    __slots__ = ("console", "entry", "executor", "state")

    def __init__(self, entry: Entry, state: State, console: int, executor: Executor) -> None:
        self.entry = entry
        self.state = state
        self.console = console
        self.executor = executor


def create(root: str, container: str, options: Options, log: Log) -> Created:
    """Make the container; its entry is returned locked. Raises Error."""
    raw, config = read_config(options)
    for fault in checks.config_warnings(config):
        log.warning(str(fault))
    check_terminal(config, options)
    entry = Entry.new(root, container)
    try:
        return _Creation(entry, raw, config, options, log).run()
    except BaseException:
        entry.close()
        raise


class _Creation:
    """One create under way, and how to undo it."""

    def __init__(self, entry: Entry, raw: bytes, config: Config, options: Options, log: Log) -> None:
        self.entry = entry
        self.raw = raw
        self.config = config
        self.options = options
        self.log = log
        self.linux = config.get("linux", {})
        self.executor: Executor | None = None
        self.cgroup: Cgroup | None = None
        self.fds: list[int] = []
        self.pidfd = -1
        self.console = -1
        self.listener = -1
        self.hooks_ran = False
        self.resctrl: Group | None = None
        self.net_devices: NetDevices | None = None
        self.cgroup_made = False
        hooks = config.get("hooks", {})
        self.state: State = {
            "ociVersion": SPEC_VERSION,
            "id": entry.container,
            "bundle": options.bundle,
            "rootfs": rootfs.path(config, options.bundle),
            "created": now(),
            "owner": "",
            "annotations": config.get("annotations", {}),
            "creating": True,
            "pid": 0,
            "started": 0,
            "hooks": hooks,
            "executable": next(iter(config.get("process", {}).get("args", [])), ""),
        }
        if hooks.get("startContainer"):
            self.state["process"] = config.get("process", {})
            if "seccomp" in self.linux:
                self.state["seccomp"] = self.linux["seccomp"]

    def run(self) -> Created:
        try:
            created = self._run()
            if self.net_devices:
                self.net_devices.close()
            return created
        except BaseException as error:
            worded = self._worded(error)
            try:
                self._undo()
            except (Error, OSError) as e:
                self.log.warning(f"clean-up incomplete, run `delete --force`: {e}")
            if worded is error:
                raise
            raise worded from None
        finally:
            for fd in self.fds:
                posix.close(fd)
            for fd in (self.pidfd, self.listener):
                if fd >= 0:
                    posix.close(fd)

    def _run(self) -> Created:
        config, options, entry, state = self.config, self.options, self.entry, self.state
        # The state comes first: whatever is made from here on can be found and removed by `delete --force`, even if
        # we are killed in the middle of it.
        hierarchies = host()
        if b"NOTIFY_SOCKET" in posix.environ or options.sockets:
            from pyrun.container import notify

            if notify.wanted():
                notify.prepare(entry, config)
            if options.sockets:
                notify.pass_sockets(config, options.sockets)
        self.cgroup = cgroup = own_cgroup(options, hierarchies, entry.container, config)
        cgroup.foresee()
        state["cgroup"] = cgroup.to_state()
        namespaces = Namespaces(config)
        state["namespaces"] = sum(flag for kind, flag in FLAGS.items() if namespaces.own(kind))
        state["joined"] = sum(FLAGS[kind] for kind in namespaces.paths)
        if "intelRdt" in self.linux:
            from pyrun.host.resctrl import Group

            self.resctrl = Group.of(self.linux["intelRdt"], entry.container)
            state["resctrl"] = self.resctrl.to_state()
        # What has a state has all of its config.
        entry.write_file("config.json", self.raw)
        entry.write(state)
        warnings: list[Fault] = []
        writes = cgroup.writes(resources(config, cgroup), warnings=warnings)  # type: ignore[arg-type]
        if not cgroup.needs_process:
            warnings += self._limit(cgroup, writes)
        if self.resctrl:
            self.resctrl.create(self.linux["intelRdt"])
        found = facts(entry.container, config, options, hierarchies, cgroup, cache_folder("seccomp"), self.log)
        if "process" in config:
            warnings += identity.warnings(config["process"], identity.available(found, namespaces.user))
        program = compile_container(config, found)
        self.fds = [entry.make_fifo("exec.fifo"), entry.make_fifo("exec.status", write_only=True)]
        self.fds += self._id_maps()
        self.executor = executor = Executor(
            program,
            found.layout,
            [*self.fds[:2], *range(3, 3 + options.preserve_fds), *self.fds[2:]],
            trace=options.trace,
        )
        if cgroup.needs_process:
            warnings += self._limit(cgroup, writes, executor.pid)
            executor.tell(executor.host, PLACED)
        for fault in warnings:
            self.log.warning(str(fault))
        self._talk(executor, program, namespaces, found)
        return Created(entry, state, self.console, executor)

    def _limit(self, cgroup: Cgroup, writes: list[Write], pid: int = 0) -> list[Fault]:
        """Make the cgroup and set its limits; returns warnings."""
        cgroup.create(pid)
        self.cgroup_made = True  # not before: what is in a cgroup that was refused is not ours to kill
        owner = self._cgroup_owner()
        if owner:
            cgroup.delegate(owner)
        self.state["cgroup"] = cgroup.to_state()
        self.state["freezer"] = cgroup.freezer
        self.entry.write(self.state)  # now it is known what is ours
        return cgroup.apply(writes)

    def _cgroup_owner(self) -> int:
        """Whom the container's cgroup is to belong to, as an id of the host's: its user, if it has a view of its own
        and a file system to write to (config-linux.md, "Cgroup ownership"). 0: it stays root's."""
        new = any(n["type"] == "cgroup" and not n.get("path") for n in self.linux.get("namespaces", []))
        writable = any(
            mount.get("type") in ("cgroup", "cgroup2") and "ro" not in mount.get("options", ())
            for mount in self.config.get("mounts", [])
        )
        if not (new and writable):
            return 0
        uid: int = self.config.get("process", {}).get("user", {}).get("uid", 0)
        maps = self.linux.get("uidMappings")
        if not maps:
            return uid
        for row in maps:
            if 0 <= uid - row["containerID"] < row["size"]:
                return row["hostID"] + uid - row["containerID"]
        return 0

    def _id_maps(self) -> list[int]:
        """A user namespace for each mount whose ids are to be mapped: with its own mappings, or the container's."""
        opened = []
        for entry in mapped(self.config):
            from pyrun.host.userns import open_mapped

            uids, gids = entry.mount.get("uidMappings"), entry.mount.get("gidMappings")
            if entry.options.mappings:
                uids, gids = entry.options.mappings
            joined = Namespaces(self.config).paths.get("user")
            if uids is None and joined:
                opened.append(posix.open(joined[0], posix.O_RDONLY | posix.O_CLOEXEC))
            elif uids is None:
                linux = self.linux
                opened.append(open_mapped(linux.get("uidMappings", []), linux.get("gidMappings", []), "/linux"))
            else:
                opened.append(open_mapped(uids, gids or [], entry.pointer))
        return opened

    def _talk(self, executor: Executor, program: Program, namespaces: Namespaces, found: Facts) -> None:
        """The conversation with the program, in the order of plan/create.py."""
        config, state, cgroup = self.config, self.state, self.cgroup
        assert cgroup
        process = config.get("process", {})
        middle = 0
        born_last = is_born_last(config, found)
        if namespaces.user or born_last:
            middle, _ = executor.expect(executor.host, MIDDLE)
        if namespaces.user:
            if "user" not in namespaces.paths:
                executor.expect(executor.init, MAPS)

                from pyrun.host import idmap

                idmap.write(middle, self.linux)
                executor.tell(executor.init, MAPS)
            offsets = Clocks(config).offsets
            if offsets:
                executor.expect(executor.init, CLOCKS)
                _write_offsets(middle, offsets)
                executor.tell(executor.init, CLOCKS)
        if born_last:
            # All is done by init's parent, which has its namespaces, but isn't seen in that of pids.
            pid = middle
        else:
            pid, _ = executor.expect(executor.init if middle else executor.host, INIT)
        self._is(pid)
        if middle and not born_last:
            executor.tell(executor.init, GO)
            reap(middle)
        if self.resctrl:
            self.resctrl.add(pid)
        if "oomScoreAdj" in process:
            _write_oom_score(pid, process["oomScoreAdj"])
        if "netDevices" in self.linux:
            self._net_devices(pid)
        if not namespaces.own("mount"):
            mount, _ = executor.expect(executor.init, ROOT)
            state["mounted"] = state["rootfs"], mount
            self.entry.write(state)
            executor.tell(executor.init, ROOT)
        self._copy_up(executor)
        hooks = config.get("hooks", {})
        if hooks.get("prestart") or hooks.get("createRuntime") or hooks.get("createContainer"):
            executor.expect(executor.init, RUNTIME_HOOKS)
            self._hooks()
            executor.tell(executor.init, RUNTIME_HOOKS)
        if process.get("terminal"):
            _, self.console = executor.expect(executor.init, CONSOLE)
            if self.options.console_socket:
                from pyrun.container.console import send

                console, self.console = self.console, -1
                send(console, self.options.console_socket)  # which closes it, whatever happens
        if process and asks_home(process):
            _, passwd = executor.expect(executor.init, HOME)
            executor.tell(executor.init, HOME, text=answer(passwd, process))
        if found.seccomp_flags & SECCOMP_FILTER_FLAG_NEW_LISTENER:
            from pyrun.container import listener

            self.listener = listener.take(executor, pid)
            executor.tell(executor.init, LISTENER)
        if born_last:
            pid, _ = executor.expect(executor.init, INIT)
            executor.tell(executor.init, GO)
            self._is(pid)
            reap(middle)
        if limits.served(process, namespaces.user, born_last):
            executor.tell(executor.host, LIMITS, pid)
            executor.expect(executor.host, LIMITS)
        executor.expect(executor.init, READY)
        if self.listener >= 0:
            listener.send(self.listener, pid, self.linux["seccomp"], state, "creating")
        self._created()
        executor.tell(executor.init, READY)

    def _is(self, pid: int) -> None:
        """`pid` is init."""
        if self.pidfd >= 0:
            posix.close(self.pidfd)
        self.pidfd = posix.pidfd_open(pid)
        self.state["pid"] = pid
        self.state["started"] = start_time(pid)

    def _created(self) -> None:
        if self.options.pidfd_socket:
            from pyrun.container.console import send_pidfd

            send_pidfd(self.pidfd, self.options.pidfd_socket, b"standard")
        del self.state["creating"]
        self.entry.write(self.state)
        if self.options.pid_file:
            write_pid_file(self.options.pid_file, self.state["pid"])

    def _net_devices(self, pid: int) -> None:
        from pyrun.host.net_devices import NetDevices

        if posix.geteuid() != 0:
            words = "moving interfaces of the host's takes root"
            raise Error("move network devices", pointer="/linux/netDevices", detail=words)
        self.net_devices = NetDevices(pid)
        self.net_devices.move(self.linux["netDevices"])

    def _copy_up(self, executor: Executor) -> None:
        for i, mount in enumerate(self.config.get("mounts", [])):
            if "tmpcopyup" in mount.get("options", ()):
                from pyrun.host.copyup import copy_up

                assert self.cgroup
                _, source = executor.expect(executor.init, COPY_FROM)
                _, target = executor.expect(executor.init, COPY_UP)
                copy_up(source, target, self.cgroup, self._root_ids(), f"/mounts/{i}")
                executor.tell(executor.init, COPY_UP)

    def _root_ids(self) -> tuple[int, int]:
        """The container's root, as ids of the host (proc_pid_uid_map(5))."""
        found = []
        for name in ("uid_map", "gid_map"):
            rows = [line.split() for line in read_path(f"/proc/{self.state['pid']}/{name}").splitlines()]
            found.append(next((int(outside) for inside, outside, _ in rows if inside == b"0"), 0))
        return found[0], found[1]

    def _hooks(self) -> None:
        from pyrun.container.hooks import run_hooks

        self.hooks_ran = True
        self.entry.write(self.state)
        for kind in ("prestart", "createRuntime", "createContainer"):
            run_hooks(kind, self.state, "created")

    def _worded(self, error: BaseException) -> BaseException:
        if isinstance(error, Invalid):
            return ConfigError(error.faults)
        if isinstance(error, OverflowError):
            return Error(str(error))
        if isinstance(error, ProgramError | EndedError):
            from pyrun.machine.explain import died, explain

            assert self.executor and self.cgroup
            if isinstance(error, ProgramError):
                return explain(self.executor.program, error, self.config)
            return died(self._end(), self.cgroup, self.config)
        return error

    def _end(self) -> int | None:
        """Kill and reap init and whoever of the program is left; returns init's wait status."""
        status = None
        if self.pidfd >= 0:
            pidfd_send_signal(self.pidfd, _SIGKILL)
            status = reap_init(self.state["pid"])
            posix.close(self.pidfd)
            self.pidfd = -1
        if self.executor:
            ended = self.executor.close()
            self.executor = None
            if status is None and ended and posix.WIFSIGNALED(ended):
                status = ended  # it never came to an init
        return status

    def _undo(self) -> None:
        """Leave the world as if nothing had been tried (MUST 19)."""
        if self.net_devices:
            # While there is an init: its end may be the end of a namespace, and of what is in it.
            self.net_devices.bring_back(self.log)
        self._end()
        if self.console >= 0:
            posix.close(self.console)
        if self.cgroup_made and self.cgroup:
            if not has_own_pids(self.state):
                self.cgroup.kill(_SIGKILL)
            self.cgroup.destroy()
        if self.resctrl:
            self.resctrl.destroy()
        if "mounted" in self.state:
            from pyrun.host.unmount import unmount

            unmount(*self.state["mounted"])
        self.entry.remove()
        if self.hooks_ran:
            from pyrun.container.hooks import run_poststop

            run_poststop(self.state, self.log)


def _write_oom_score(pid: int, score: int) -> None:
    try:
        fd = posix.open(f"/proc/{pid}/oom_score_adj", posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            posix.write(fd, str(score).encode())
        finally:
            posix.close(fd)
    except OSError as e:
        hint = "lowering it takes CAP_SYS_RESOURCE"
        raise Error("set the OOM score", pointer="/process/oomScoreAdj", errno=e.errno, hint=hint) from None


def _write_offsets(pid: int, offsets: str) -> None:
    try:
        fd = posix.open(f"/proc/{pid}/timens_offsets", posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            posix.write(fd, offsets.encode())
        finally:
            posix.close(fd)
    except OSError as e:
        raise Error("set the clocks", pointer="/linux/timeOffsets", errno=e.errno) from None
