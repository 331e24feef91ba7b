"""A hook that runs inside: createContainer and startContainer (config.md "POSIX-platform Hooks").

A createContainer hook is a program of the host's, and has the runtime's rights. A startContainer hook is looked up in
the container (MUST 65): whatever the image has put there is what runs. So it gets what the container's own program will
get, and no more: its cgroups, limits, user, capabilities, session keyring and seccomp profile.
"""

from __future__ import annotations

from pyrun.machine.program import Program
from pyrun.plan import first, identity, keyring, labels, last, limits
from pyrun.plan.placement import Placement
from pyrun.spec.namespaces import CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.plan.facts import Facts
    from pyrun.spec.config import Hook, Process

NAMES = ["pidfd", "stdin", "output"]


def compile_hook(hook: Hook, pointer: str, namespaces: int, facts: Facts, process: Process | None) -> Program:
    """Enter the `namespaces` (CLONE_NEW* flags) of init, given by its pidfd, and become the hook's program; with a
    `process`, as one of the container's."""
    p = Program()
    host = p.label()
    layout = facts.layout
    has_userns = bool(namespaces & CLONE_NEWUSER)
    with p.at(pointer):
        proc = first.begin(p, facts, proc=process is not None and labels.wanted(process))
        placement = None if process is None else Placement(p, facts)
        first.join(p, namespaces, facts, placement, host)
        if process is not None:
            first.enter_root(p, namespaces, facts)
        p.chdir("/")
        p.call("dup3", layout["stdin"], 0, 0)
        p.call("dup3", layout["output"], 1, 0)
        p.call("dup3", layout["output"], 2, 0)
        if process is not None:
            keyring.join(p, facts.container, proc, process)
            if not has_userns:
                limits.set_own(p, process, born_last=True)
            labels.at_execve(p, proc, process)
            identity.become(p, process, facts, has_userns)
        with p.at("args"):
            argv = p.strings(hook.get("args") or [hook["path"]])
        with p.at("env"):
            envp = p.strings(hook.get("env", []))
        wanted: Process | None = None if process is None else {**process, "terminal": False}
        last.finish(p, wanted, facts, has_userns, born_last=True)
        with p.at("path"):
            p.call("execve", hook["path"], argv, envp)
    last.stay(p, wanted, facts, host, has_userns, born_last=True)
    return p
