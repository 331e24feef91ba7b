"""The runtime's half of the dialogue with a running program (plan/dialogue.py), for create, exec and hooks alike."""

from __future__ import annotations

import posix

from pyrun.caller import Interrupt
from pyrun.errors import Error
from pyrun.kernel.files import close
from pyrun.kernel.process import end_child, is_child, reap
from pyrun.machine.launch import EndedError, ProgramError
from pyrun.machine.messages import ASKED, BORN, GO, HOST, INIT, INTERMEDIATE, NAMES, SAID, TOLD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from pyrun.machine.launch import Executor
    from pyrun.machine.messages import Message

    # Given the value and the descriptor (-1: none) that came with a message; returns what the answer to it carries.
    Answer: TypeAlias = Callable[[int, int], "int | bytes | None"]


class Session:
    """One dialogue, and the processes that it makes.

    intermediate  pid of the intermediate process, a child of ours, while there is one; else 0
    pid           pid of the process that the program is about, a child of ours, once it is born; before that 0

    Methods raise ProgramError when an instruction failed, EndedError when the program ended in silence, Interrupt when
    the executor's caller asks to end."""

    __slots__ = ("_ended", "dialogue", "executor", "intermediate", "pid")

    def __init__(self, executor: Executor, dialogue: list[Message]) -> None:
        self.executor = executor
        self.dialogue = dialogue
        self.intermediate = 0
        self.pid = 0
        self._ended = False

    def converse(self, answers: Mapping[Message, Answer]) -> None:
        """Go through the dialogue. What the program says or asks is handed to its row in `answers`, if there is one;
        what it is told comes from there."""
        log = self.executor.caller.log
        for message in self.dialogue:
            value, fd = self._hear(message) if message.kind in (SAID, ASKED) else (0, -1)
            if log.says_all:
                log.debug(f"the program: {NAMES[message]}{f' {value}' if value else ''}")
            if message in answers:
                answer = answers[message](value, fd)
            else:
                answer = None
            if message.kind != SAID:
                self._tell(message, answer)
            if message == GO:
                self._let_intermediate_go()
            elif message.kind not in (SAID, ASKED, TOLD):
                self._hear(message)

    def execute(self, *, keeps_signals: bool = True) -> None:
        """Wait until the process has become its program. Raises ProgramError when execve fails. keeps_signals: what
        comes once the program runs is for it; so it is not with a hook."""
        executor = self.executor
        while True:
            try:
                # Nothing more is said: the end of file is execve's, which closed the socket.
                executor.expect(executor.init, -1)
            except EndedError:
                executor.close()
                return
            except Interrupt:
                if not (keeps_signals and executor.caller.keep_for(self.pid)):
                    raise
            else:
                raise AssertionError("a program speaks after its end")

    def end(self) -> int | None:
        """Leave no process behind. Returns the wait status of `pid`, or of the program when it came to none, and None
        the next time."""
        if self._ended:
            return None
        self._ended = True
        if not (self.intermediate or self.pid):
            # We are to end, and haven't heard of it yet: it is there all the same, or will be in a moment. Whoever
            # waits for us now hears the end of file instead.
            self.executor.hang_up()
            for message in self.dialogue:
                if message in (INTERMEDIATE, INIT):
                    try:
                        self._hear(message)
                    except (EndedError, ProgramError, Error):
                        pass
        try:
            end_child(self.intermediate)
            status = end_child(self.pid)
            self.intermediate = self.pid = 0
        finally:
            ended = self.executor.close()
        return ended if status is None and ended and posix.WIFSIGNALED(ended) else status

    def _hear(self, message: Message) -> tuple[int, int]:
        executor = self.executor
        if message == BORN:
            self._await_intermediate()
        value, fd = executor.expect(executor.host if message.socket == HOST else executor.init, message)
        if message == INTERMEDIATE:
            self.intermediate = _child(value)
        elif message in (INIT, BORN):
            self.pid = _child(value)
        return value, fd

    def _tell(self, message: Message, answer: int | bytes | None) -> None:
        executor = self.executor
        value, text = (0, answer) if isinstance(answer, bytes) else (answer or 0, b"")
        executor.tell(executor.host if message.socket == HOST else executor.init, message, value, text)

    def _await_intermediate(self) -> None:
        """Until the intermediate process has spoken. Its child has the same socket: if it dies before it speaks (by the
        OOM killer's hand), there is no end of file. Raises EndedError."""
        pidfd = posix.pidfd_open(self.intermediate)
        wait_for, socket = self.executor.caller.wait_for, self.executor.init.fileno()
        try:
            # When both are ready, or it has ended: what it said before it did is there by now.
            if socket not in wait_for(socket, pidfd) and socket not in wait_for(socket, seconds=0):
                raise EndedError
        finally:
            close(pidfd)

    def _let_intermediate_go(self) -> None:
        pid, self.intermediate = self.intermediate, 0
        reap(pid)


def _child(pid: int) -> int:
    """`pid`, which a message gave, if it is a child of ours: one of another's that a stranger inside might have named
    must be neither believed nor killed. Raises Error."""
    if not is_child(pid):
        raise Error("start the container", detail=f"the program names process {pid}, which is not its own")
    return pid
