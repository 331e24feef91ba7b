"""A hook that runs inside: createContainer and startContainer (config.md "POSIX-platform Hooks").

A createContainer hook is a program of the host's, and has the runtime's rights. A startContainer hook is looked up in
the container (MUST 65): whatever the image has put there is what runs. So it gets what the container's own program will
get, and no more: its cgroups, limits, user, capabilities, session keyring and seccomp profile.
"""

from __future__ import annotations

from pyrun.runtime.executor.messages import INIT, LISTENER
from pyrun.runtime.linux import CLOSE_RANGE_CLOEXEC, PR_SET_DUMPABLE, SECCOMP_FILTER_FLAG_NEW_LISTENER
from pyrun.runtime.plan.namespaces import become_root, clone
from pyrun.runtime.program import Program, Register
from pyrun.spec.namespaces import CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.runtime.plan.facts import Facts
    from pyrun.spec.config import Hook, Process

NAMES = ["pidfd", "stdin", "output"]


def compile_hook(hook: Hook, pointer: str, namespaces: int, facts: Facts, process: Process | None) -> Program:
    """Enter the `namespaces` (CLONE_NEW* flags) of init, given by its pidfd, and become the hook's program; with a
    `process`, as one of the container's."""
    p = Program()
    host = p.label()
    layout = facts.layout
    pidfd = layout["pidfd"]
    with p.source(pointer):
        p.call("close_range", layout.end, 0xFFFFFFFF, 0)
        # From here on others in these namespaces see the process, but not into it (CVE-2016-9962).
        p.prctl(PR_SET_DUMPABLE, 0)
        placement = proc = None
        if process is not None:
            from pyrun.runtime.plan import labels
            from pyrun.runtime.plan.placement import Placement

            if labels.wanted(process):
                from pyrun.runtime.plan.own_proc import open_proc

                proc = open_proc(p, facts)
            placement = Placement(p, facts)
        if namespaces & CLONE_NEWPID:
            p.call("setns", pidfd, CLONE_NEWPID)
        clone(p, 0, INIT, host, placement)
        p.channel(layout.init)
        p.call("close", layout.host)
        if placement:
            placement.enter(p)
        p.call("setsid")
        if namespaces & ~CLONE_NEWPID:
            p.call("setns", pidfd, namespaces & ~CLONE_NEWPID)
        if namespaces & CLONE_NEWUSER:
            become_root(p)
        if process is not None and not namespaces & CLONE_NEWNS:
            p.call("fchdir", layout["root"])
            p.call("chroot", ".")
        p.chdir("/")
        p.call("dup3", layout["stdin"], 0, 0)
        p.call("dup3", layout["output"], 1, 0)
        p.call("dup3", layout["output"], 2, 0)
        p.call("close_range", 3, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC)
        if process is not None:
            _as_the_container(p, process, bool(namespaces & CLONE_NEWUSER), facts, proc)
        with p.source("args"):
            argv = p.strings(hook.get("args") or [hook["path"]])
        with p.source("env"):
            envp = p.strings(hook.get("env", []))
        if facts.seccomp:
            from pyrun.runtime.plan.process import load_filter

            load_filter(p, facts)
            if facts.seccomp_flags & SECCOMP_FILTER_FLAG_NEW_LISTENER:
                p.free(p.await_(LISTENER))
        with p.source("path"):
            p.call("execve", hook["path"], argv, envp)
    p.place(host)
    p.call("exit_group", 0)
    return p


def _as_the_container(p: Program, process: Process, user: bool, facts: Facts, proc: Register | None) -> None:
    from pyrun.runtime.plan import identity, keyring, labels, limits

    keyring.join(p, facts.container, proc, process)
    if not user:
        limits.set_own(p, process)
    labels.at_execve(p, proc, process)
    identity.become(
        p, process, identity.available(facts, user), setgroups=facts.privileged, filtered=bool(facts.seccomp)
    )
