"""exec: run one more program in a container."""

from __future__ import annotations

from errno import EPERM

from pyrun.container import joining
from pyrun.container.home import answer
from pyrun.container.newcomer import Newcomer
from pyrun.container.pid_file import write_pid_file
from pyrun.errors import Error
from pyrun.kernel.files import close
from pyrun.machine.launch import EndedError, Executor, Layout, ProgramError
from pyrun.machine.messages import CONSOLE, HOME, PLACED, READY
from pyrun.plan.exec import compile_exec
from pyrun.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyrun.container.container import Container
    from pyrun.container.session import Answer
    from pyrun.machine.messages import Message
    from pyrun.plan.facts import Facts
    from pyrun.spec.config import Linux, Process, Seccomp


class ExecOptions(Record):
    """What the command line of exec says, but for what makes the process; each with its flag's name."""

    console_socket: str = ""
    pid_file: str = ""
    pidfd_socket: str = ""
    cgroup: Sequence[str] = ()
    preserve_fds: int = 0
    ignore_paused: bool = False
    keyring: bool = True
    # What the process gets for 0, 1 and 2, in place of the caller's
    stdio: Sequence[int] = ()
    # The container's filter and its flags, compiled from `profile`
    seccomp: tuple[bytes, int] = (b"", 0)
    profile: Seccomp | None = None
    # What the config says of each of the container's processes
    linux: Linux | None = None


def execute(container: Container, process: Process, options: ExecOptions) -> tuple[int, int]:
    """Run `process`, which has been checked. Returns its pid, a child of ours, and the terminal's master (-1: none, or
    sent). Raises Error, and leaves no process behind."""
    status = container.status
    if status in ("stopped", "creating"):
        raise Error(f"cannot exec in a {status} container")
    if status == "paused" and not options.ignore_paused:
        raise Error("cannot exec in a paused container (use --ignore-paused to override)")
    executor, facts = _launch(container, process, options)
    execution = _Execution(container, executor, process, options, facts)
    newcomer = execution.newcomer
    try:
        newcomer.converse(status, execution.answers())
        newcomer.session.execute()
        return newcomer.session.pid, execution.console
    except BaseException as e:
        newcomer.session.end()
        if execution.console >= 0:
            close(execution.console)
        if isinstance(e, EndedError):
            raise Error("the process ended before it was inside") from None
        if isinstance(e, ProgramError):
            from pyrun.machine.explain import explain  # lazy: an error

            error = explain(executor.program, e, {"process": process})
            if status == "created" and error.call.startswith("setns") and error.errno == EPERM:
                error.hint = "without root it can't be reached before its program has started: start it first"
            if error.call.startswith("execve"):
                from pyrun.spec.seccomp import denial_of_execve  # lazy: an error

                if pointer := denial_of_execve(options.profile):
                    error.hint = f"the seccomp profile denies execve: {pointer}"
            raise error from None
        raise


def _launch(container: Container, process: Process, options: ExecOptions) -> tuple[Executor, Facts]:
    root = joining.open_root(container)
    try:
        names = ["pidfd", *(f"preserved-{i}" for i in range(options.preserve_fds)), *("root" for _ in root)]
        layout = Layout(names, options.preserve_fds)
        facts = joining.facts(
            container,
            layout,
            options.cgroup,
            seccomp=options.seccomp[0],
            seccomp_flags=options.seccomp[1],
            preserve=options.preserve_fds,
            keyring=options.keyring,
        )
        facts.held = container.cgroup().attaches
        program = compile_exec(process, container.state.get("namespaces", 0), facts, options.linux)
        pidfd = container.open_init()
        try:
            fds = [pidfd, *range(3, 3 + options.preserve_fds), *root]
            return Executor(program, layout, fds, container.caller, "process", options.stdio), facts
        finally:
            close(pidfd)
    finally:
        for fd in root:
            close(fd)


class _Execution:
    """console: the terminal's master, while it is ours."""

    def __init__(
        self, container: Container, executor: Executor, process: Process, options: ExecOptions, facts: Facts
    ) -> None:
        self.container = container
        self.executor = executor
        self.process = process
        self.options = options
        self.console = -1
        self.newcomer = Newcomer(container, executor, process, facts, options.profile)

    def answers(self) -> Mapping[Message, Answer]:
        return {
            PLACED: lambda value, fd: self.container.cgroup().attach(self.executor.pid),
            CONSOLE: self._take_console,
            HOME: lambda value, fd: answer(fd, self.process),
            READY: self._ready,
        }

    def _take_console(self, value: int, master: int) -> None:
        from pyrun.container.handover import keep_terminal, send_terminal  # lazy: only with a terminal

        if self.options.console_socket:
            send_terminal(master, self.options.console_socket)  # which closes it, whatever happens
        else:
            self.console = master
            keep_terminal(master)

    def _ready(self, value: int, fd: int) -> None:
        pid = self.newcomer.session.pid
        if self.options.pidfd_socket:
            from pyrun.container.handover import send_pidfd  # lazy: only with --pidfd-socket

            send_pidfd(pid, self.options.pidfd_socket, b"setns")
        if self.options.pid_file:
            write_pid_file(self.options.pid_file, pid)
