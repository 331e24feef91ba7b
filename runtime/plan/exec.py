"""exec: one more program in a running container, with all that init's own has (runtime.md leaves this to runtimes)."""

from __future__ import annotations

from pyrun.runtime.executor.messages import INIT, PLACED
from pyrun.runtime.linux import AT_FDCWD, O_DIRECTORY, O_PATH, PR_SET_DUMPABLE, PR_SET_PDEATHSIG, SIGKILL
from pyrun.runtime.plan import identity, keyring, labels, limits, process
from pyrun.runtime.plan.namespaces import become_root, clone
from pyrun.runtime.plan.placement import Placement
from pyrun.runtime.program import Program
from pyrun.spec import ranges
from pyrun.spec.namespaces import CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.runtime.plan.facts import Facts
    from pyrun.spec.config import Process


def compile_exec(wanted: Process, namespaces: int, facts: Facts) -> Program:
    """Enter the container's cgroups and `namespaces` (CLONE_NEW* flags), through init's pidfd, and run `wanted`."""
    p = Program()
    host = p.label()
    layout = facts.layout
    pidfd = layout["pidfd"]
    user = bool(namespaces & CLONE_NEWUSER)
    if facts.held:
        p.free(p.await_(PLACED))
    p.call("umask", 0)
    p.call("close_range", layout.end, 0xFFFFFFFF, 0)
    # From here on others in the container see the process, but not into it (CVE-2016-9962).
    p.prctl(PR_SET_DUMPABLE, 0)
    proc = None
    if labels.wanted(wanted):
        from pyrun.runtime.plan.own_proc import open_proc

        proc = open_proc(p, facts)
    affinity = wanted.get("execCPUAffinity", {})
    _run_on(p, affinity.get("initial", ""), "initial")
    placement = Placement(p, facts)
    with p.source("/linux/namespaces"):
        # Only that of pids before the clone: from another cgroup namespace the cgroup could not be found. Without
        # privilege that takes the rights that the user namespace gives.
        first = namespaces & (CLONE_NEWPID if facts.privileged else CLONE_NEWPID | CLONE_NEWUSER)
        if first:
            p.call("setns", pidfd, first)
        clone(p, 0, INIT, host, placement)
        p.channel(layout.init)
        p.call("close", layout.host)
        p.prctl(PR_SET_PDEATHSIG, SIGKILL)
        placement.enter(p)
        _run_on(p, affinity.get("final", ""), "final")
        if namespaces & ~first:
            p.call("setns", pidfd, namespaces & ~first)
        if user:
            become_root(p)
    p.call("setsid")
    if facts.keyring:
        keyring.join(p, facts.container, proc, wanted)
    if not namespaces & CLONE_NEWNS:
        # The mounts are shared with the host then: what makes the container's root its own is chroot(2) alone.
        with p.source("/root/path"):
            p.call("fchdir", layout["root"])
            p.call("chroot", ".")
    root = p.openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY)
    cwd = process.WorkingDirectory(p, wanted, root, make=False)
    if wanted.get("terminal"):
        from pyrun.runtime.plan import console

        console.set_up(p, root, wanted, facts, bind=False)
    else:
        process.hand_over_stdio(p, wanted, root)
    if not user:
        limits.set_own(p, wanted)
    labels.at_execve(p, proc, wanted)
    identity.become(
        p, wanted, identity.available(facts, user), setgroups=facts.privileged, filtered=bool(facts.seccomp)
    )
    cwd.enter(p)
    path = process.find_executable(p, wanted)
    home = process.ready(p, wanted, facts)
    process.sweep(p, facts)
    process.run(p, wanted, path, home, facts, waits=False)
    p.place(host)
    p.pointer = ""
    p.call("close", layout.init)
    limits.serve(p, wanted, user)
    return p


def _run_on(p: Program, cpus: str, member: str) -> None:
    """execCPUAffinity: `initial` on the way into the cgroups, `final` once there (sched_setaffinity(2))."""
    numbers = ranges.parse(cpus)
    if numbers:
        bits = sum(1 << number for number in numbers)
        size = (numbers[-1] // 64 + 1) * 8
        with p.source(f"/process/execCPUAffinity/{member}"):
            p.call("sched_setaffinity", 0, size, bits.to_bytes(size, "little"), note=_NO_CPU)


_NO_CPU = "EINVAL here means: none of these CPUs can be had"
