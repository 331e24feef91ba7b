"""Start a hook's program inside a container's namespaces."""

from __future__ import annotations

import posix

from pyrun.hooks.run import HookError
from pyrun.runtime.container import open_init
from pyrun.runtime.executor.launch import EndedError, Executor, Layout, ProgramError
from pyrun.runtime.executor.messages import INIT, LISTENER
from pyrun.runtime.linux import SECCOMP_FILTER_FLAG_NEW_LISTENER
from pyrun.runtime.log import Log
from pyrun.runtime.plan.facts import Facts
from pyrun.runtime.plan.hook import NAMES, compile_hook
from pyrun.runtime.state import cache_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.runtime.state import State
    from pyrun.spec.config import Hook, Process

_SIGKILL = 9


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
        from pyrun.runtime import joining

        profile = self.state.get("seccomp")
        if not profile:
            return joining.facts(self.state, layout)
        from pyrun.runtime import seccomp

        filter_ = seccomp.program(profile, cache_folder("seccomp"), Log())
        return joining.facts(self.state, layout, seccomp=filter_, seccomp_flags=seccomp.flags(profile))

    def _root(self) -> list[int]:
        if self.process is None:
            return []
        from pyrun.runtime import joining

        return joining.open_root(self.state)

    def spawn(self, hook: Hook, stdin: int, output: int) -> int:
        """Raises HookError when its program can't be executed."""
        root = self._root()
        layout = Layout([*NAMES, *("root" for _ in root)])
        try:
            facts = self._facts(layout)
            program = compile_hook(hook, self.pointer, self.state.get("namespaces", 0), facts, self.process)
            pidfd = open_init(self.state)
            try:
                executor = Executor(program, layout, [pidfd, stdin, output, *root])
            finally:
                posix.close(pidfd)
        finally:
            for fd in root:
                posix.close(fd)
        pid = 0
        try:
            pid, _ = executor.expect(executor.host, INIT)
            if self.process is not None and "resctrl" in self.state:
                from pyrun.runtime.resctrl import Group

                Group.from_state(self.state["resctrl"]).add(pid)
            if facts.seccomp_flags & SECCOMP_FILTER_FLAG_NEW_LISTENER:
                from pyrun.runtime import listener

                listener.serve(executor, pid, self.state["seccomp"], self.state, "created")
                executor.tell(executor.init, LISTENER)
            # Nothing more is said: the end of file is execve's, which closed the socket.
            executor.expect(executor.init, -1)
        except ProgramError as e:
            instruction = program.instructions[e.index]
            executor.close()
            if pid:
                posix.waitpid(pid, 0)
            raise HookError(hook["path"], f"{instruction.name}", e.error) from None
        except EndedError:
            pass
        except BaseException:
            if not pid:
                # We are to end, and haven't heard of it yet: it is there all the same, or will be in a moment.
                try:
                    pid, _ = executor.expect(executor.host, INIT)
                except (EndedError, ProgramError):
                    pass
            executor.close()
            if pid:
                posix.kill(pid, _SIGKILL)
                posix.waitpid(pid, 0)
            raise
        executor.close()
        if not pid:
            raise HookError(hook["path"], "ended before it was inside")
        return pid
