"""A hook that runs inside: createContainer and startContainer (config.md "POSIX-platform Hooks").

A createContainer hook is a program of the host's, and has the runtime's rights. A startContainer hook is looked up in
the container (MUST 65): whatever the image has put there is what runs. So it gets what the container's own program will
get, and no more: its cgroups, limits, user, capabilities, session keyring and seccomp profile.
"""

from __future__ import annotations

from pyrun.kernel.constants import PR_SET_DUMPABLE
from pyrun.machine.program import Program
from pyrun.plan import last
from pyrun.plan.exec import enter_root, join, stay
from pyrun.spec.namespaces import CLONE_NEWNS, CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.plan.facts import Facts
    from pyrun.spec.config import Hook, Process

NAMES = ["pidfd", "stdin", "output"]
_KEPT = 1  # descriptors, from the init's control socket on


def compile_hook(hook: Hook, pointer: str, namespaces: int, facts: Facts, process: Process | None) -> Program:
    """Enter the `namespaces` (CLONE_NEW* flags) of init, given by its pidfd, and become the hook's program; with a
    `process`, as one of the container's."""
    p = Program()
    host = p.label()
    layout = facts.layout
    user = bool(namespaces & CLONE_NEWUSER)
    with p.source(pointer):
        p.call("close_range", layout.end, 0xFFFFFFFF, 0)
        p.prctl(PR_SET_DUMPABLE, 0)
        placement = proc = None
        if process is not None:
            from pyrun.plan import labels
            from pyrun.plan.placement import Placement

            if labels.wanted(process):
                from pyrun.plan.own_proc import open_proc

                proc = open_proc(p, facts)
            placement = Placement(p, facts)
        join(p, namespaces, facts, placement, host)
        if process is not None and not namespaces & CLONE_NEWNS:
            enter_root(p, facts)
        p.chdir("/")
        p.call("dup3", layout["stdin"], 0, 0)
        p.call("dup3", layout["output"], 1, 0)
        p.call("dup3", layout["output"], 2, 0)
        if process is not None:
            from pyrun.plan import identity, keyring, limits

            keyring.join(p, facts.container, proc, process)
            if not user:
                limits.set_own(p, process, born_last=True)
            labels.at_execve(p, proc, process)
            identity.become(p, process, facts, user)
        with p.source("args"):
            argv = p.strings(hook.get("args") or [hook["path"]])
        with p.source("env"):
            envp = p.strings(hook.get("env", []))
        last.close_the_rest(p, facts, _KEPT)
        last.confine(p, process, facts, user)
        last.be_born(p, None if process is None else {**process, "terminal": False}, user)
        last.wait(p)
        with p.source("path"):
            p.call("execve", hook["path"], argv, envp)
    stay(p, process or {}, facts, host, user)
    return p
