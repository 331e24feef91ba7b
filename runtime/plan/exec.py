"""exec: one more program in a running container, with all that init's own has (runtime.md leaves this to runtimes)."""

from __future__ import annotations

from pyrun.kernel.constants import AT_FDCWD, O_DIRECTORY, O_PATH
from pyrun.machine.program import Program
from pyrun.plan import first, identity, keyring, labels, last, limits, process
from pyrun.plan.placement import Placement
from pyrun.spec import ranges
from pyrun.spec.namespaces import CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.plan.facts import Facts
    from pyrun.spec.config import Linux, Process


def compile_exec(wanted: Process, namespaces: int, facts: Facts, linux: Linux | None = None) -> Program:
    """Enter the container's cgroups and `namespaces` (CLONE_NEW* flags), through init's pidfd, and run `wanted`.
    linux: the config's; of it, what is of each process of the container."""
    p = Program()
    host = p.label()
    has_userns = bool(namespaces & CLONE_NEWUSER)
    p.call("umask", 0)
    proc = first.begin(p, facts, proc=labels.wanted(wanted))
    affinity = wanted.get("execCPUAffinity", {})
    _run_on(p, affinity.get("initial", ""), "initial")
    first.join(p, namespaces, facts, Placement(p, facts), host)
    _run_on(p, affinity.get("final", ""), "final")
    if facts.keyring:
        keyring.join(p, facts.container, proc, wanted)
    first.enter_root(p, namespaces, facts)
    root = p.openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY)
    cwd = process.WorkingDirectory(p, wanted, root, make=False)
    if wanted.get("terminal"):
        from pyrun.plan import console  # lazy: only with a terminal

        console.set_up(p, root, wanted, facts, bind=False, controlling=False)
    else:
        process.hand_over_stdio(p, wanted, root)
    if not has_userns:
        limits.set_own(p, wanted, born_last=True)
    if linux and ("personality" in linux or "memoryPolicy" in linux):
        from pyrun.plan import execution  # lazy: hardly ever

        execution.set_up(p, linux)
    labels.at_execve(p, proc, wanted)
    identity.become(p, wanted, facts, has_userns)
    cwd.enter(p)
    path = process.find_executable(p, wanted)
    command = process.Command(p, wanted, path, process.ask_home(p, wanted, facts))
    last.finish(p, wanted, facts, has_userns, born_last=True)
    command.execute(p)
    last.stay(p, wanted, facts, host, has_userns, born_last=True)
    return p


def _run_on(p: Program, cpus: str, member: str) -> None:
    """execCPUAffinity: `initial` on the way into the cgroups, `final` once there (sched_setaffinity(2))."""
    numbers = ranges.parse(cpus)
    if numbers:
        bits = sum(1 << number for number in numbers)
        size = (numbers[-1] // 64 + 1) * 8
        with p.at(f"/process/execCPUAffinity/{member}"):
            p.call("sched_setaffinity", 0, size, bits.to_bytes(size, "little"), note=_NO_CPU)


_NO_CPU = "EINVAL here means: none of these CPUs can be had"
