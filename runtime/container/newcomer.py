"""One more process on its way into a container that exists: the runtime's half of plan/exec.py and plan/hook.py."""

from __future__ import annotations

import posix

from pyrun.kernel.constants import SECCOMP_FILTER_FLAG_NEW_LISTENER
from pyrun.kernel.signals import pidfd_send_signal
from pyrun.machine.launch import EndedError, Executor, ProgramError, reap
from pyrun.machine.messages import GO, INIT, LIMITS, LISTENER, MIDDLE, READY
from pyrun.plan import limits
from pyrun.spec.namespaces import CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.container.store import State
    from pyrun.spec.config import Process, Seccomp

_SIGKILL = 9


class Newcomer:
    """pid: of the process, a child of ours, once it is born; before that `middle` makes all ready for it.

    Methods raise ProgramError and EndedError."""

    __slots__ = ("executor", "middle", "pid")

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.middle = 0
        self.pid = 0

    def join(self, state: State) -> None:
        """Wait until it joins the container."""
        self.middle, _ = self.executor.expect(self.executor.host, MIDDLE)
        if "resctrl" in state:
            from pyrun.host.resctrl import Group

            Group.from_state(state["resctrl"]).add(self.middle)  # its child is in the same

    def be_born(self, state: State, process: Process, profile: Seccomp | None, flags: int, status: str) -> None:
        """Wait until it waits for execve; with a `profile` whose `flags` ask for it, its agent has the listener."""
        executor = self.executor
        listener = -1
        try:
            if profile and flags & SECCOMP_FILTER_FLAG_NEW_LISTENER:
                from pyrun.container import listener as notify

                listener = notify.take(executor, self.middle)
                executor.tell(executor.init, LISTENER)
            self.pid, _ = executor.expect(executor.init, INIT)
            executor.tell(executor.init, GO)
            reap(self.middle)
            self.middle = 0
            user = bool(state.get("namespaces", 0) & CLONE_NEWUSER)
            if limits.served(process, user, born_last=True):
                executor.tell(executor.host, LIMITS, self.pid)
                executor.expect(executor.host, LIMITS)
            executor.expect(executor.init, READY)
            if profile and listener >= 0:
                notify.send(listener, self.pid, profile, state, status)
        finally:
            if listener >= 0:
                posix.close(listener)

    def execute(self) -> None:
        """Let it go, and wait until it has become its program. Raises ProgramError when execve fails."""
        self.executor.tell(self.executor.init, READY)
        try:
            # Nothing more is said: the end of file is execve's, which closed the socket.
            self.executor.expect(self.executor.init, -1)
        except EndedError:
            self.executor.close()
            return
        raise AssertionError("a program speaks after its end")

    def end(self) -> None:
        """Leave no process behind."""
        if not (self.middle or self.pid):
            # We are to end, and haven't heard of it yet: it is there all the same, or will be in a moment.
            try:
                self.middle, _ = self.executor.expect(self.executor.host, MIDDLE)
            except (EndedError, ProgramError):
                pass
        for pid in (self.middle, self.pid):
            if pid:
                pidfd = posix.pidfd_open(pid)
                pidfd_send_signal(pidfd, _SIGKILL)
                posix.close(pidfd)
                reap(pid)
        self.middle = self.pid = 0
        self.executor.close()
