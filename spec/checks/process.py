"""/process: of a config.json, or by itself as `exec --process` takes it (config.md "Process")."""

from __future__ import annotations

from pyrun.spec.checks.common import ABSOLUTE, env_faults, range_faults
from pyrun.spec.faults import Fault, show
from pyrun.spec.rlimits import RLIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.spec.config import Process


def cwd(process: Process, at: str) -> Iterator[Fault]:
    """An absolute path (MUST 54)."""
    if not process["cwd"].startswith("/"):
        yield Fault(f"{at}/cwd", f"{ABSOLUTE}, not {show(process['cwd'])}", "MUST 54")


def args(process: Process, at: str) -> Iterator[Fault]:
    """At least one (MUST 55)."""
    if not process.get("args"):
        yield Fault(f"{at}/args", "must have at least one entry, the program", "MUST 55")


def env(process: Process, at: str) -> Iterator[Fault]:
    """NAME=VALUE."""
    yield from env_faults(process.get("env", ()), f"{at}/env")


def rlimits(process: Process, at: str) -> Iterator[Fault]:
    """Known, each once, soft not above hard (MUST 56, 58)."""
    seen = set()
    for i, rlimit in enumerate(process.get("rlimits", ())):
        kind = rlimit["type"]
        if kind not in RLIMITS:
            yield Fault(f"{at}/rlimits/{i}/type", f"unknown limit {show(kind)}", "MUST 56", "see getrlimit(2)")
        if kind in seen:
            yield Fault(f"{at}/rlimits/{i}/type", f"{show(kind)} occurs more than once", "MUST 58")
        seen.add(kind)
        if rlimit["soft"] > rlimit["hard"]:
            problem = f"the soft limit, {rlimit['soft']}, is above the hard one, {rlimit['hard']}"
            yield Fault(f"{at}/rlimits/{i}/soft", problem)


def console_size(process: Process, at: str) -> Iterator[Fault]:
    """What a terminal can have (MUST 53)."""
    # MUST 53: without a terminal its size is not looked at. struct winsize has 16 bits for each.
    if process.get("terminal"):
        size = process.get("consoleSize", {})
        for name, value in (("height", size.get("height", 0)), ("width", size.get("width", 0))):
            if value > 65535:
                yield Fault(f"{at}/consoleSize/{name}", f"must be at most 65535, not {value}")


def scheduler(process: Process, at: str) -> Iterator[Fault]:
    """What a policy takes (sched(7), sched_setattr(2))."""
    found = process.get("scheduler")
    if found is None:
        return
    policy, at = found["policy"], f"{at}/scheduler"
    priority, nice = found.get("priority", 0), found.get("nice", 0)
    if policy == "SCHED_ISO":
        yield Fault(f"{at}/policy", "no Linux kernel has SCHED_ISO")
    if not -20 <= nice <= 19:
        yield Fault(f"{at}/nice", f"must be from -20 to 19, not {nice}")
    if policy in ("SCHED_FIFO", "SCHED_RR"):
        if not 1 <= priority <= 99:
            yield Fault(f"{at}/priority", f"must be from 1 to 99 for {policy}, not {priority}")
    elif priority:
        yield Fault(f"{at}/priority", f"must not be set for {policy}", hint="it is for SCHED_FIFO and SCHED_RR")
    runtime, deadline, period = found.get("runtime", 0), found.get("deadline", 0), found.get("period", 0)
    if policy != "SCHED_DEADLINE":
        for name, value in (("runtime", runtime), ("deadline", deadline), ("period", period)):
            if value:
                yield Fault(f"{at}/{name}", f"must not be set for {policy}", hint="it is for SCHED_DEADLINE")
    elif not 1024 <= runtime <= deadline <= (period or deadline) < 1 << 63:
        # sched(7): the kernel counts in units of 1024 ns, and a period of 0 is the deadline.
        problem = f"1024 <= runtime <= deadline <= period must hold, not {runtime}, {deadline}, {period}"
        yield Fault(at, problem)


def exec_cpu_affinity(process: Process, at: str) -> Iterator[Fault]:
    """Lists of CPUs."""
    affinity = process.get("execCPUAffinity", {})
    for name, text in (("initial", affinity.get("initial", "")), ("final", affinity.get("final", ""))):
        yield from range_faults(text, f"{at}/execCPUAffinity/{name}")
