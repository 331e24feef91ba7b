"""Start a hook's program inside a container's namespaces."""

from __future__ import annotations

import posix

from pyrun.container.container import open_init
from pyrun.container.newcomer import Newcomer
from pyrun.container.store import cache_folder
from pyrun.hooks.run import HookError
from pyrun.log import Log
from pyrun.machine.launch import EndedError, Executor, Layout, ProgramError
from pyrun.plan.facts import Facts
from pyrun.plan.hook import NAMES, compile_hook
from pyrun.spec.namespaces import CLONE_NEWPID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.container.store import State
    from pyrun.spec.config import Hook, Process


class Inside:
    """`spawn` for hooks/run.py: in the namespaces of the container in `state`; with `process`, as one of its own."""

    __slots__ = ("pointer", "process", "state")

    def __init__(self, state: State, pointer: str, process: Process | None) -> None:
        self.state = state
        self.pointer = pointer
        self.process = process

    def _facts(self, layout: Layout) -> Facts:
        if self.process is None:
            return Facts(layout, "", self.state["id"])
        from pyrun.container import joining

        profile = self.state.get("seccomp")
        if not profile:
            return joining.facts(self.state, layout)
        from pyrun.host import seccomp

        filter_ = seccomp.program(profile, cache_folder("seccomp"), Log())
        return joining.facts(self.state, layout, seccomp=filter_, seccomp_flags=seccomp.flags(profile))

    def _root(self) -> list[int]:
        if self.process is None:
            return []
        from pyrun.container import joining

        return joining.open_root(self.state)

    def _namespaces(self) -> int:
        """A program of the host's, with the runtime's rights, is not shown to others: it stays out of a pid namespace
        in which there are some."""
        namespaces = self.state.get("namespaces", 0)
        return namespaces if self.process is not None else namespaces & ~(self.state.get("joined", 0) & CLONE_NEWPID)

    def spawn(self, hook: Hook, stdin: int, output: int) -> int:
        """Raises HookError when its program can't be executed."""
        root = self._root()
        profile = self.state.get("seccomp") if self.process is not None else None
        layout = Layout([*NAMES, *("root" for _ in root)])
        try:
            facts = self._facts(layout)
            program = compile_hook(hook, self.pointer, self._namespaces(), facts, self.process)
            pidfd = open_init(self.state)
            try:
                executor = Executor(program, layout, [pidfd, stdin, output, *root])
            finally:
                posix.close(pidfd)
        finally:
            for fd in root:
                posix.close(fd)
        newcomer = Newcomer(executor)
        try:
            newcomer.join(self.state if self.process is not None else {})
            newcomer.be_born(self.state, self.process or {}, profile, facts.seccomp_flags, "created")
            newcomer.execute()
        except EndedError:
            newcomer.end()
            raise HookError(hook["path"], "ended before it was inside") from None
        except ProgramError as e:
            newcomer.end()
            raise HookError(hook["path"], f"{program.instructions[e.index].name}", e.errno) from None
        except BaseException:
            newcomer.end()
            raise
        return newcomer.pid
