"""The first steps of a program, the same for create, exec and hooks, and of who joins a container that is there."""

from __future__ import annotations

from pyrun.kernel.constants import PR_SET_DUMPABLE, PR_SET_PDEATHSIG
from pyrun.kernel.signals import SIGKILL
from pyrun.machine.messages import INTERMEDIATE, PLACED
from pyrun.plan.namespaces import become_root, clone
from pyrun.spec.namespaces import CLONE_NEWNS, CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.machine.program import Label, Program, Register
    from pyrun.plan.facts import Facts
    from pyrun.plan.placement import Placement


def begin(p: Program, facts: Facts, *, proc: bool) -> Register | None:
    """On the host, with the runtime's rights. With `proc` a procfs of its own is returned: plan/own_proc.py."""
    if facts.held:
        p.heed(PLACED)
    # What the runtime's caller left open is not for init, not even until execve: somebody may wait for its end.
    p.call("close_range", facts.layout.end, 0xFFFFFFFF, 0)
    p.prctl(PR_SET_DUMPABLE, 0)
    if not proc:
        return None
    from pyrun.plan.own_proc import open_proc  # lazy: only for labels, sysctls and clocks

    return open_proc(p, facts)


def join(p: Program, namespaces: int, facts: Facts, placement: Placement | None, host: Label) -> None:
    """Into the cgroups, and into `namespaces` (CLONE_NEW* flags) of init, given by its pidfd. Of those of pids that is
    true of children only, so that nobody inside sees the process that goes on here (CVE-2016-9962). The half that stays
    on the host goes on at `host`."""
    clone(p, 0, INTERMEDIATE, host, placement)
    p.channel(facts.layout.init)
    p.call("close", facts.layout.host)
    p.prctl(PR_SET_PDEATHSIG, SIGKILL)
    # The caller's terminal, and its process group, are not for the child to inherit, which takes a session of its own.
    p.call("setsid")
    if placement:
        # Before the namespaces: from another cgroup namespace the cgroup could not be found.
        placement.enter(p)
    with p.at("/linux/namespaces"):
        if namespaces:
            p.call("setns", facts.layout["pidfd"], namespaces)
        if namespaces & CLONE_NEWUSER:
            become_root(p)


def enter_root(p: Program, namespaces: int, facts: Facts) -> None:
    """Where the mounts are shared with the host, what makes the container's root its own is chroot(2) alone."""
    if not namespaces & CLONE_NEWNS:
        with p.at("/root/path"):
            p.call("fchdir", facts.layout["root"])
            p.call("chroot", ".")
