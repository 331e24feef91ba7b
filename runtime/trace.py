"""What one command does, as it happens: only kept when somebody asks for it (--trace). timeline/ makes events of it."""

from __future__ import annotations

import posix
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from pyrun.machine.program import Program
    from pyrun.spec.config import Config

    # All times are ns since the epoch (CLOCK_REALTIME): the one clock that a time namespace doesn't shift.
    # What Python has just done: (when, what)
    Mark: TypeAlias = "tuple[int, str]"
    # A hook: (began, ended, its pointer, argv, how it ended, the tail of what it said)
    Hook: TypeAlias = "tuple[int, int, str, Sequence[str], str, str]"
    # A program of the executor's: (what it makes, itself, descriptor of what it did: machine/steps.py)
    Run: TypeAlias = "tuple[str, Program, int]"

_MFD_CLOEXEC = 1


class Trace:
    """began: when. marks, hooks, runs: see above, in the order in which they ended or, of runs, began. config: what is
    made, once it is read. failure: the error that ended it, "": none."""

    __slots__ = ("began", "config", "failure", "hooks", "marks", "runs")

    def __init__(self) -> None:
        self.began = time.time_ns()
        self.marks: list[Mark] = []
        self.hooks: list[Hook] = []
        self.runs: list[Run] = []
        self.config: Config | None = None
        self.failure = ""

    def mark(self, what: str) -> None:
        """Python has done this."""
        self.marks.append((time.time_ns(), what))

    def program(self, what: str, program: Program, size: int) -> int:
        """The executor is about to run a program, whose trace takes so many bytes. Returns the descriptor for it, which
        stays ours. Raises OSError."""
        fd = posix.memfd_create("trace", _MFD_CLOEXEC)
        posix.ftruncate(fd, size)
        self.runs.append((what, program, fd))
        return fd
