"""What a program did, as the executor wrote it down (struct step of executor.c). Cold."""

from __future__ import annotations

import posix
from _struct import Struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pyrun.machine.program import Program

_STEP = Struct("<IIqQ")
# The one on the host, the intermediate one, and init.
_PROCESSES = 3


class Step(NamedTuple):
    """at: the instruction's index; caller: of the call that it belongs to when it is a routine's, else -1; result: what
    it returned, or -errno; began: ns since the epoch, 0 when it could not be known (behind a seccomp filter)."""

    at: int
    caller: int
    result: int
    began: int


def size(program: Program) -> int:
    """Bytes that the trace of the program takes at most."""
    return _PROCESSES * program.steps() * _STEP.size


def read(program: Program, fd: int) -> list[list[Step]]:
    """The steps of each process that there was, the one on the host first."""
    part = program.steps() * _STEP.size
    found = []
    for process in range(_PROCESSES):
        steps = [
            Step(at, caller - 1, result, began)
            for at, caller, result, began in _STEP.iter_unpack(posix.pread(fd, part, process * part))
        ]
        # What was never written is all zeros; so is the first step behind a filter, of a process that has none before.
        while steps and not any((steps[-1].at, steps[-1].began)):
            steps.pop()
        if steps:
            found.append(steps)
    return found
