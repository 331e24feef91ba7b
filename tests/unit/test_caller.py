"""A signal that comes just after execve is the program's."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pyrun.caller import Caller, Interrupt
from pyrun.container.session import Session
from pyrun.machine.launch import EndedError


class Executor:
    """One whose wait is interrupted once, and then ends as execve ends it."""

    init = None

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.answers: list[BaseException] = [Interrupt(signal.SIGTERM), EndedError()]
        self.closed = False

    def expect(self, whom: Any, code: int) -> Any:
        raise self.answers.pop(0)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def caller() -> Caller:
    return Caller(signals=SimpleNamespace(interruptible=False))  # type: ignore[arg-type]


@pytest.fixture
def session(caller: Caller) -> Session:
    made: Session = object.__new__(Session)
    made.executor = Executor(caller)  # type: ignore[assignment]
    made.pid = 0
    return made


@pytest.fixture
def forked() -> Iterator[int]:
    """A process that has not called execve."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_after_execve_it_is_kept(session: Session, caller: Caller) -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        session.pid = process.pid
        session.execute()
        process.kill()
    assert session.executor.closed  # type: ignore[attr-defined]
    assert caller.signals is not None and caller.signals.interruptible


def test_before_execve_it_is_ours(session: Session, caller: Caller, forked: int) -> None:
    session.pid = forked
    with pytest.raises(Interrupt):
        session.execute()
    assert caller.signals is not None and not caller.signals.interruptible


def test_before_there_is_a_process_it_is_ours(session: Session) -> None:
    with pytest.raises(Interrupt):
        session.execute()


def test_a_hook_is_no_program_that_signals_are_kept_for(session: Session) -> None:
    """Who waits for it is interrupted, whatever it has executed."""
    with subprocess.Popen(["sleep", "1000"]) as executed:
        session.pid = executed.pid
        with pytest.raises(Interrupt):
            session.execute(keeps_signals=False)
        executed.kill()
