"""process.rlimits, scheduler and ioPriority: what may take the host's rights (getrlimit(2), sched(7), ioprio_set(2)).

Without a user namespace init sets its own, as the last thing that it does as root: a low limit (NOFILE, AS, FSIZE)
would hit the set-up. In a user namespace none could be raised (EPERM): there the half that stays on the host sets them
from outside, when init is ready. It does so with a scheduler too where the process is still to be born (plan/last.py):
a child need not inherit it, and a deadline task can have none.
"""

from __future__ import annotations

from _struct import Struct
from errno import EPERM

from pyrun.machine.messages import LIMITS
from pyrun.machine.program import PASS
from pyrun.spec.execution import IO_CLASSES, POLICIES, SCHED_FLAGS
from pyrun.spec.rlimits import RLIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.machine.program import Buffer, Operand, Program
    from pyrun.spec.config import Process, Rlimit

_RLIMIT64 = Struct("<QQ")
_INFINITY = 0xFFFFFFFFFFFFFFFF
_NPROC = "RLIMIT_NPROC"
# struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period
_SCHED_ATTR = Struct("<IIQiIQQQ")

# linux/ioprio.h
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_CLASS_SHIFT = 13


def wanted(process: Process) -> bool:
    """The config asks for any of these."""
    return bool(process.get("rlimits") or process.get("scheduler") or process.get("ioPriority"))


def served(process: Process, has_userns: bool, born_last: bool) -> bool:
    """Something is left for the half on the host to set: `serve`."""
    return (has_userns and wanted(process)) or (born_last and "scheduler" in process)


def raise_open_files(p: Program) -> Buffer:
    """The soft limit of open files up to the hard one: for a bundle with more mounts than it allows. Returns what it
    was, for `restore_open_files`."""
    before, raised = p.buffer(_RLIMIT64.size), p.buffer(_RLIMIT64.size)
    p.call("prlimit64", 0, RLIMITS["RLIMIT_NOFILE"], 0, before)
    with p.held(p.load(before, 8, 8)) as hard:
        p.store(raised, 0, 8, hard)
        p.store(raised, 8, 8, hard)
    p.call("prlimit64", 0, RLIMITS["RLIMIT_NOFILE"], raised, 0)
    return before


def restore_open_files(p: Program, before: Buffer) -> None:
    """The limit as it was, before the container's own is set."""
    p.call("prlimit64", 0, RLIMITS["RLIMIT_NOFILE"], before, 0)


def set_own(p: Program, process: Process, born_last: bool = False) -> None:
    """Set those of the process that runs this; with `born_last`, for the child that it will have."""
    _set_rlimits(p, process, 0, spare=born_last)
    _set_priorities(p, process, 0, scheduler=not born_last)


def set_number_of_processes(p: Program, process: Process) -> None:
    """The child's own, after `set_own` has left room for its parent."""
    for i, rlimit in enumerate(process.get("rlimits", [])):
        if rlimit["type"] == _NPROC:
            with p.at(f"/process/rlimits/{i}"):
                p.call("prlimit64", 0, RLIMITS[_NPROC], _rlimit(rlimit), 0, 0, PASS, note=_HARD)


def serve(p: Program, process: Process, has_userns: bool, born_last: bool = False) -> None:
    """The host half: where something is left to set, wait to be told the pid, and set it."""
    if served(process, has_userns, born_last):
        pid = p.await_(LIMITS)
        if has_userns:
            _set_rlimits(p, process, pid)
        _set_priorities(p, process, pid, scheduler=True)
        p.say(LIMITS)
    p.call("exit_group", 0)


def _rlimit(rlimit: Rlimit, more: int = 0) -> bytes:
    return _RLIMIT64.pack(*(min((rlimit[side] & _INFINITY) + more, _INFINITY) for side in ("soft", "hard")))


def _set_rlimits(p: Program, process: Process, pid: Operand, spare: bool = False) -> None:
    """`spare`: room for one process more, if there may be: who makes the last one counts until it has ended."""
    for i, rlimit in enumerate(process.get("rlimits", [])):
        with p.at(f"/process/rlimits/{i}"):
            number = RLIMITS[rlimit["type"]]
            exact, done = p.label(), p.label()
            if spare and rlimit["type"] == _NPROC:
                p.call("prlimit64", pid, number, _rlimit(rlimit, 1), 0, errors={EPERM: exact})
                p.jump(done)
            p.place(exact)
            p.call("prlimit64", pid, number, _rlimit(rlimit), 0, note=_HARD)
            p.place(done)


def _set_priorities(p: Program, process: Process, pid: Operand, scheduler: bool) -> None:
    if scheduler:
        _set_scheduler(p, process, pid)
    io_priority = process.get("ioPriority")
    if io_priority:
        with p.at("/process/ioPriority"):
            ioprio = IO_CLASSES[io_priority["class"]] << _IOPRIO_CLASS_SHIFT | io_priority.get("priority", 0)
            p.call("ioprio_set", _IOPRIO_WHO_PROCESS, pid, ioprio)


def _set_scheduler(p: Program, process: Process, pid: Operand) -> None:
    scheduler = process.get("scheduler")
    if scheduler:
        with p.at("/process/scheduler"):
            # What isn't set counts as 0 (MUST 62).
            attributes = _SCHED_ATTR.pack(
                _SCHED_ATTR.size,
                POLICIES[scheduler["policy"]],
                sum({SCHED_FLAGS[flag] for flag in scheduler.get("flags", [])}),
                scheduler.get("nice", 0),
                scheduler.get("priority", 0),
                scheduler.get("runtime", 0),
                scheduler.get("deadline", 0),
                scheduler.get("period", 0),
            )
            p.call("sched_setattr", pid, attributes, 0, note=_REAL_TIME)


_HARD = "raising a hard limit takes CAP_SYS_RESOURCE"
_REAL_TIME = "a real-time policy takes CAP_SYS_NICE, and a real-time budget of the cgroup where those have one"
