"""Start a hook's program inside a container's namespaces."""

from __future__ import annotations

import posix

from pyrun.hooks.run import HookError
from pyrun.runtime.executor.launch import EndedError, Executor, Layout, ProgramError
from pyrun.runtime.executor.messages import INIT
from pyrun.runtime.plan.hook import NAMES, compile_hook

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.runtime.state import State
    from pyrun.spec.config import Hook


class Inside:
    """`spawn` for hooks/run.py: in the namespaces of the container in `state`."""

    __slots__ = ("pointer", "state")

    def __init__(self, state: State, pointer: str) -> None:
        self.state = state
        self.pointer = pointer

    def spawn(self, hook: Hook, stdin: int, output: int) -> int:
        """Raises HookError when its program can't be executed."""
        layout = Layout(NAMES)
        program = compile_hook(hook, self.pointer, self.state.get("namespaces", 0), layout)
        pidfd = posix.pidfd_open(self.state["pid"])
        try:
            executor = Executor(program, layout, [pidfd, stdin, output])
        finally:
            posix.close(pidfd)
        pid = 0
        try:
            pid, _ = executor.expect(executor.host, INIT)
            # Nothing more is said: the end of file is execve's, which closed the socket.
            executor.expect(executor.init, -1)
        except ProgramError as e:
            instruction = program.instructions[e.index]
            if pid:
                executor.close()
                posix.waitpid(pid, 0)
            raise HookError(hook["path"], f"{instruction.name}", e.error) from None
        except EndedError:
            pass
        executor.close()
        return pid
