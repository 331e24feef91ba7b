"""One more process on its way into a container that exists: what exec and hooks inside answer alike."""

from __future__ import annotations

from pyrun.container.session import Session
from pyrun.kernel.files import close
from pyrun.machine.messages import INTERMEDIATE, LIMITS, LISTENER, READY
from pyrun.plan import dialogue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrun.container.container import Container
    from pyrun.container.session import Answer
    from pyrun.machine.launch import Executor
    from pyrun.machine.messages import Message
    from pyrun.plan.facts import Facts
    from pyrun.spec.config import Process, Seccomp


class Newcomer:
    """process: None for a hook of the host's. profile: the seccomp profile that facts.seccomp was made from, if any."""

    __slots__ = ("container", "listener", "process", "profile", "session")

    def __init__(
        self,
        container: Container,
        executor: Executor,
        process: Process | None,
        facts: Facts,
        profile: Seccomp | None,
        *,
        hook: bool = False,
    ) -> None:
        self.container = container
        self.process = process
        self.profile = profile
        self.listener = -1
        exchanges = dialogue.of_newcomer(process, facts, has_userns=container.has_userns, hook=hook)
        self.session = Session(executor, exchanges)

    def converse(self, status: str, answers: Mapping[Message, Answer]) -> None:
        """Until it waits for execve. status: of the container, for a seccomp agent. answers: besides those here;
        one for READY comes after the agent's."""

        def ready(value: int, fd: int) -> None:
            if self.listener >= 0 and self.profile:
                from pyrun.container import listener  # lazy: only with a seccomp agent

                listener.send(self.listener, self.session.pid, self.profile, self.container.state, status)
            if READY in answers:
                answers[READY](value, fd)

        own: dict[Message, Answer] = {
            INTERMEDIATE: self._joined,
            LISTENER: self._take_listener,
            LIMITS: lambda value, fd: self.session.pid,
        }
        try:
            self.session.converse({**own, **answers, READY: ready})
        finally:
            if self.listener >= 0:
                close(self.listener)

    def _joined(self, pid: int, fd: int) -> None:
        if self.process is not None and "resctrl" in self.container.state:
            from pyrun.host.resctrl import Group  # lazy: only with linux.intelRdt

            Group.from_state(self.container.state["resctrl"]).add(pid)  # its child is in the same

    def _take_listener(self, number: int, fd: int) -> None:
        from pyrun.container import listener  # lazy: only with a seccomp agent

        self.listener = listener.take(number, fd, self.session.intermediate)
