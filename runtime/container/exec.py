"""exec: run one more program in a container."""

from __future__ import annotations

import posix

from pyrun.container import joining
from pyrun.container.container import cgroup_of, open_init, status_of
from pyrun.container.home import answer
from pyrun.container.newcomer import Newcomer
from pyrun.container.pid_file import write_pid_file
from pyrun.errors import Error
from pyrun.machine.launch import EndedError, Executor, Layout, ProgramError
from pyrun.machine.messages import CONSOLE, HOME, PLACED
from pyrun.plan.exec import compile_exec
from pyrun.plan.process import asks_home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.container.store import Entry, State
    from pyrun.spec.config import Process, Seccomp


class Options:
    """What the command line of exec says, but for what makes the process."""

    __slots__ = ("cgroup", "console_socket", "ignore_paused", "keyring", "pid_file", "pidfd_socket", "preserve_fds")

    def __init__(
        self,
        *,
        console_socket: str = "",
        pid_file: str = "",
        pidfd_socket: str = "",
        cgroup: list[str] | None = None,
        preserve_fds: int = 0,
        ignore_paused: bool = False,
        keyring: bool = True,
    ) -> None:
        self.console_socket = console_socket
        self.pid_file = pid_file
        self.pidfd_socket = pidfd_socket
        self.cgroup = cgroup or []
        self.preserve_fds = preserve_fds
        self.ignore_paused = ignore_paused
        self.keyring = keyring


def execute(
    entry: Entry,
    state: State,
    process: Process,
    options: Options,
    filtered: tuple[bytes, int],
    profile: Seccomp | None = None,
) -> tuple[int, int]:
    """Run `process`, which has been checked; `filtered`: its seccomp program and flags, compiled from
    `profile`. Returns its pid, a child of
    ours, and the terminal's master (-1: none, or sent). Raises Error, and leaves no process behind."""
    status = status_of(entry, state)
    if status in ("stopped", "creating"):
        raise Error(f"cannot exec in a {status} container")
    if status == "paused" and not options.ignore_paused:
        raise Error("cannot exec in a paused container (use --ignore-paused to override)")
    root = joining.open_root(state)
    names = ["pidfd", *(f"preserved-{i}" for i in range(options.preserve_fds)), *("root" for _ in root)]
    layout = Layout(names, options.preserve_fds)
    namespaces = state.get("namespaces", 0)
    found = joining.facts(
        state,
        layout,
        options.cgroup,
        seccomp=filtered[0],
        seccomp_flags=filtered[1],
        preserve=options.preserve_fds,
        keyring=options.keyring,
    )
    cgroup = cgroup_of(state)
    found.held = cgroup.attaches
    program = compile_exec(process, namespaces, found)
    pidfd = open_init(state)
    try:
        executor = Executor(program, layout, [pidfd, *range(3, 3 + options.preserve_fds), *root])
    finally:
        for fd in (pidfd, *root):
            posix.close(fd)
    newcomer, console = Newcomer(executor), -1
    try:
        if found.held:
            cgroup.attach(executor.pid)
            executor.tell(executor.host, PLACED)
        newcomer.join(state)
        if process.get("terminal"):
            _, console = executor.expect(executor.init, CONSOLE)
            if options.console_socket:
                from pyrun.container.console import send

                master, console = console, -1
                send(master, options.console_socket)  # which closes it, whatever happens
        if asks_home(process):
            _, passwd = executor.expect(executor.init, HOME)
            executor.tell(executor.init, HOME, text=answer(passwd, process))
        newcomer.be_born(state, process, profile, found.seccomp_flags, status)
        if options.pidfd_socket:
            from pyrun.container.console import send_pidfd

            own = posix.pidfd_open(newcomer.pid)
            try:
                send_pidfd(own, options.pidfd_socket, b"setns")
            finally:
                posix.close(own)
        if options.pid_file:
            write_pid_file(options.pid_file, newcomer.pid)
        newcomer.execute()
        return newcomer.pid, console
    except BaseException as e:
        newcomer.end()
        if console >= 0:
            posix.close(console)
        if isinstance(e, EndedError):
            raise Error("the process ended before it was inside") from None
        if isinstance(e, ProgramError):
            from pyrun.machine.explain import explain

            raise explain(program, e, {"process": process}) from None
        raise
