"""Start a hook's program, inside a container's namespaces or outside: the runtime's half of plan/hook.py."""

from __future__ import annotations

from pyrun.container.newcomer import Newcomer
from pyrun.hooks.run import HookError
from pyrun.kernel.files import close
from pyrun.kernel.process import end_child
from pyrun.machine.launch import EndedError, Executor, Layout, ProgramError
from pyrun.plan.facts import Facts
from pyrun.plan.hook import NAMES, STDIO, compile_hook, compile_outside
from pyrun.spec.namespaces import CLONE_NEWPID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.container.container import Container
    from pyrun.machine.program import Program
    from pyrun.spec.config import Hook, Process


class Outside:
    """`spawn` for hooks/run.py: in the runtime's namespaces, with the bundle as working directory."""

    __slots__ = ("container", "pointer")

    def __init__(self, container: Container, pointer: str) -> None:
        self.container = container
        self.pointer = pointer

    def spawn(self, hook: Hook, *stdio: int) -> int:
        """Raises HookError when its program can't be executed."""
        caller, layout = self.container.caller, Layout(STDIO)
        environ = [_text(name) + "=" + _text(value) for name, value in caller.environ.items()]
        program = compile_outside(hook, self.pointer, layout, self.container.state["bundle"], environ)
        executor = Executor(program, layout, [*stdio], caller, f"hook {self.pointer}")
        try:
            executor.expect(executor.host, -1)
        except EndedError:
            executor.let_go()  # by execve
            return executor.pid
        except ProgramError as e:
            executor.close()
            raise _refused(hook, program, e) from None
        except BaseException:
            # It may be about to become the hook: nobody would wait for that one's end.
            end_child(executor.pid)
            executor.let_go()
            raise
        raise AssertionError("a program speaks after its end")


class Inside:
    """`spawn` for hooks/run.py: in the container's namespaces; with `process`, as one of its own."""

    __slots__ = ("container", "pointer", "process")

    def __init__(self, container: Container, pointer: str, process: Process | None) -> None:
        self.container = container
        self.pointer = pointer
        self.process = process

    def spawn(self, hook: Hook, *stdio: int) -> int:
        """Raises HookError when its program can't be executed."""
        container, process = self.container, self.process
        root = self._root()
        layout = Layout([*NAMES, *("root" for _ in root)])
        try:
            facts = self._facts(layout)
            program = compile_hook(hook, self.pointer, self._namespaces(), facts, process, self._directory())
            pidfd = container.open_init()
            try:
                executor = Executor(program, layout, [pidfd, *stdio, *root], container.caller, f"hook {self.pointer}")
            finally:
                close(pidfd)
        finally:
            for fd in root:
                close(fd)
        profile = container.state.get("seccomp") if process is not None else None
        newcomer = Newcomer(container, executor, process, facts, profile, hook=True)
        try:
            newcomer.converse("created", {})
            newcomer.session.execute(keeps_signals=False)
        except BaseException as e:
            newcomer.session.end()
            if isinstance(e, EndedError):
                raise HookError(hook["path"], "ended before it was inside") from None
            if isinstance(e, ProgramError):
                raise _refused(hook, program, e) from None
            raise
        return newcomer.session.pid

    def _directory(self) -> str:
        """A program of the host's begins where the container's root file system lies."""
        return self.container.state["rootfs"] if self.process is None else "/"

    def _facts(self, layout: Layout) -> Facts:
        if self.process is None:
            return Facts(layout=layout, bundle="", container=self.container.id)
        from pyrun.container import joining  # lazy: only startContainer hooks are the container's own

        profile = self.container.state.get("seccomp")
        if not profile:
            return joining.facts(self.container, layout)
        from pyrun.host import seccomp  # lazy: only with a profile

        caller = self.container.caller
        filter_ = seccomp.program(profile, caller.cache("seccomp"), caller.log)
        return joining.facts(self.container, layout, seccomp=filter_, seccomp_flags=seccomp.flags(profile))

    def _root(self) -> list[int]:
        if self.process is None:
            return []
        from pyrun.container import joining  # lazy: only startContainer hooks are the container's own

        return joining.open_root(self.container)

    def _namespaces(self) -> int:
        """A program of the host's, with the runtime's rights, is not shown to others: it stays out of a pid namespace
        in which there are some."""
        state = self.container.state
        namespaces = state.get("namespaces", 0)
        return namespaces if self.process is not None else namespaces & ~(state.get("joined", 0) & CLONE_NEWPID)


def _refused(hook: Hook, program: Program, error: ProgramError) -> HookError:
    call = str(program.resolve(error.index, error.caller).name)
    return HookError(hook["path"], call=call, errno=error.errno)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
