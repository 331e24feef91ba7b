"""exec: one more program in a running container, with all that init's own has (runtime.md leaves this to runtimes)."""

from __future__ import annotations

from pyrun.kernel.constants import AT_FDCWD, O_DIRECTORY, O_PATH, PR_SET_DUMPABLE, PR_SET_PDEATHSIG, SIGKILL
from pyrun.machine.messages import MIDDLE, PLACED
from pyrun.machine.program import Program
from pyrun.plan import identity, keyring, labels, last, limits, process
from pyrun.plan.namespaces import become_root, clone
from pyrun.plan.placement import Placement
from pyrun.spec import ranges
from pyrun.spec.namespaces import CLONE_NEWNS, CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.machine.program import Label
    from pyrun.plan.facts import Facts
    from pyrun.spec.config import Process

_KEPT = 1  # descriptors, from the init's control socket on


def compile_exec(wanted: Process, namespaces: int, facts: Facts) -> Program:
    """Enter the container's cgroups and `namespaces` (CLONE_NEW* flags), through init's pidfd, and run `wanted`."""
    p = Program()
    host = p.label()
    user = bool(namespaces & CLONE_NEWUSER)
    if facts.held:
        p.free(p.await_(PLACED))
    p.call("umask", 0)
    p.call("close_range", facts.layout.end, 0xFFFFFFFF, 0)
    p.prctl(PR_SET_DUMPABLE, 0)
    proc = None
    if labels.wanted(wanted):
        from pyrun.plan.own_proc import open_proc

        proc = open_proc(p, facts)
    affinity = wanted.get("execCPUAffinity", {})
    _run_on(p, affinity.get("initial", ""), "initial")
    join(p, namespaces, facts, Placement(p, facts), host)
    _run_on(p, affinity.get("final", ""), "final")
    if facts.keyring:
        keyring.join(p, facts.container, proc, wanted)
    if not namespaces & CLONE_NEWNS:
        enter_root(p, facts)
    root = p.openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY)
    cwd = process.WorkingDirectory(p, wanted, root, make=False)
    if wanted.get("terminal"):
        from pyrun.plan import console

        console.set_up(p, root, wanted, facts, bind=False, controlling=False)
    else:
        process.hand_over_stdio(p, wanted, root)
    if not user:
        limits.set_own(p, wanted, born_last=True)
    labels.at_execve(p, proc, wanted)
    identity.become(p, wanted, facts, user)
    cwd.enter(p)
    path = process.find_executable(p, wanted)
    command = process.Command(p, wanted, path, process.ask_home(p, wanted, facts))
    last.close_the_rest(p, facts, _KEPT)
    last.confine(p, wanted, facts, user)
    last.be_born(p, wanted, user)
    last.wait(p)
    command.execute(p)
    stay(p, wanted, facts, host, user)
    return p


def join(p: Program, namespaces: int, facts: Facts, placement: Placement | None, host: Label) -> None:
    """Into the cgroups, and into `namespaces` of init, given by its pidfd. Of those of pids that is true of children
    only, so that nobody inside sees the process that goes on here (CVE-2016-9962)."""
    clone(p, 0, MIDDLE, host, placement)
    p.channel(facts.layout.init)
    p.call("close", facts.layout.host)
    p.prctl(PR_SET_PDEATHSIG, SIGKILL)
    # The caller's terminal, and its process group, are not for the child to inherit, which takes a session of its own.
    p.call("setsid")
    if placement:
        # Before the namespaces: from another cgroup namespace the cgroup could not be found.
        placement.enter(p)
    with p.source("/linux/namespaces"):
        if namespaces:
            p.call("setns", facts.layout["pidfd"], namespaces)
        if namespaces & CLONE_NEWUSER:
            become_root(p)


def enter_root(p: Program, facts: Facts) -> None:
    """The mounts are shared with the host: what makes the container's root its own is chroot(2) alone."""
    with p.source("/root/path"):
        p.call("fchdir", facts.layout["root"])
        p.call("chroot", ".")


def stay(p: Program, wanted: Process, facts: Facts, host: Label, user: bool) -> None:
    """The half that stays on the host."""
    p.place(host)
    p.pointer = ""
    # Else this half would keep the socket of the other open, and nobody would see its end.
    p.call("close", facts.layout.init)
    limits.serve(p, wanted, user, born_last=True)


def _run_on(p: Program, cpus: str, member: str) -> None:
    """execCPUAffinity: `initial` on the way into the cgroups, `final` once there (sched_setaffinity(2))."""
    numbers = ranges.parse(cpus)
    if numbers:
        bits = sum(1 << number for number in numbers)
        size = (numbers[-1] // 64 + 1) * 8
        with p.source(f"/process/execCPUAffinity/{member}"):
            p.call("sched_setaffinity", 0, size, bits.to_bytes(size, "little"), note=_NO_CPU)


_NO_CPU = "EINVAL here means: none of these CPUs can be had"
