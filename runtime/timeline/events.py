"""From a Trace to events: one for each step of Python's, each instruction that did something, and each hook."""

from __future__ import annotations

import posix
import time
from errno import errorcode
from typing import TYPE_CHECKING, NamedTuple

from pyrun.machine import steps
from pyrun.machine.listing import describe
from pyrun.machine.program import AWAIT, FAIL, SAY, SYSCALL
from pyrun.plan.summary import becomes, part

if TYPE_CHECKING:
    from pyrun.machine.program import Program
    from pyrun.machine.steps import Step
    from pyrun.spec.config import Config
    from pyrun.trace import Trace

# Instructions that anybody would call one: the others move values about, in no time.
_SHOWN = (SYSCALL, SAY, AWAIT, FAIL)
UNTIMED = "not timed: behind the seccomp filter"


class Event(NamedTuple):
    """lane: who does it, an index of Timeline.lanes. name: what, as a listing or a log has it. about: the part of the
    config that it belongs to, in words; pointer: which, "": none. began, ended: ns since the command began. result: of
    a system call, a number or an errno's name. detail: what else there is to say."""

    lane: int
    name: str
    about: str
    pointer: str
    began: int
    ended: int
    result: str
    detail: str


class Timeline(NamedTuple):
    """began: ns since the epoch. lanes: the processes, by name. events: in the order in which they began. failure: the
    error that it ended with, "": none."""

    began: int
    ended: int
    lanes: list[str]
    events: list[Event]
    failure: str


def timeline(trace: Trace) -> Timeline:
    """All that there is in a trace. Closes what the trace has open."""
    ended = time.time_ns()
    lanes = ["pyrun"]
    events = []
    before = trace.began
    for when, what in trace.marks:
        events.append(Event(0, what, "", "", before - trace.began, when - trace.began, "", ""))
        before = when
    moments = [when for when, _ in trace.marks] + [ended]
    for what, program, fd in trace.runs:
        for process, taken in enumerate(found := steps.read(program, fd)):
            lanes.append(_lane(what, process, len(found)))
            events += _of_process(len(lanes) - 1, taken, program, trace.config or {}, trace.began, moments)
        posix.close(fd)
    trace.runs.clear()
    if trace.hooks:
        lanes.append("hooks")
    for began, end, pointer, argv, outcome, output in trace.hooks:
        moment = began - trace.began, end - trace.began
        events.append(Event(len(lanes) - 1, " ".join(argv), pointer[1:], pointer, *moment, outcome or "0", output))
    events.sort(key=lambda event: (event.began, event.lane))
    return Timeline(trace.began, ended - trace.began, lanes, events, trace.failure)


def _lane(what: str, process: int, count: int) -> str:
    if process == 0:
        return f"{what}: executor on the host"
    return f"{what}: {'intermediate process' if process < count - 1 else 'init' if what == 'container' else 'process'}"


def _of_process(
    lane: int, taken: list[Step], program: Program, config: Config, origin: int, moments: list[int]
) -> list[Event]:
    events = []
    last = origin
    for step, following in zip(taken, [*taken[1:], None], strict=True):
        began = step.began or last
        if following:
            ended = following.began or began
        else:
            ended = began
            if program.instructions[step.at].name == "execve" and step.began:
                # The process can't tell any more: Python has heard of it.
                ended = next((moment for moment in moments if moment >= began), began)
        last = max(began, ended)
        instruction = program.resolve(step.at, step.caller)
        if instruction.op not in _SHOWN:
            continue
        failed = instruction.op in (SYSCALL, FAIL) and -4096 < step.result < 0
        result = errorcode.get(-step.result, str(step.result)) if failed else str(step.result)
        about = becomes(config, part(instruction.pointer)) if config else ""
        detail = "" if step.began else UNTIMED
        events.append(
            Event(
                lane,
                describe(instruction),
                about,
                instruction.pointer,
                began - origin,
                max(began, ended) - origin,
                result if instruction.op == SYSCALL or failed else "",
                detail,
            )
        )
    return events
