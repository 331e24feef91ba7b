"""A hook that runs inside: createContainer and startContainer (config.md "POSIX-platform Hooks")."""

from __future__ import annotations

from pyrun.runtime.executor.messages import INIT
from pyrun.runtime.plan.namespaces import become_root, clone
from pyrun.runtime.program import Program
from pyrun.spec.namespaces import CLONE_NEWPID, CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.runtime.executor.launch import Layout
    from pyrun.spec.config import Hook

NAMES = ["pidfd", "stdin", "output"]


def compile_hook(hook: Hook, pointer: str, namespaces: int, layout: Layout) -> Program:
    """Enter the `namespaces` (CLONE_NEW* flags) of init, given by its pidfd, and become the hook's program."""
    p = Program()
    host = p.label()
    pidfd = layout["pidfd"]
    with p.source(pointer):
        if namespaces & CLONE_NEWPID:
            p.call("setns", pidfd, CLONE_NEWPID)
        clone(p, 0, INIT, host)
        p.channel(layout.init)
        p.call("close", layout.host)
        p.call("setsid")
        if namespaces & ~CLONE_NEWPID:
            p.call("setns", pidfd, namespaces & ~CLONE_NEWPID)
        if namespaces & CLONE_NEWUSER:
            become_root(p)
        p.chdir("/")
        p.call("dup3", layout["stdin"], 0, 0)
        p.call("dup3", layout["output"], 1, 0)
        p.call("dup3", layout["output"], 2, 0)
        p.call("close_range", 3, 0xFFFFFFFF, 4)
        with p.source("args"):
            argv = p.strings(hook.get("args") or [hook["path"]])
        with p.source("env"):
            envp = p.strings(hook.get("env", []))
        with p.source("path"):
            p.call("execve", hook["path"], argv, envp)
    p.place(host)
    p.call("exit_group", 0)
    return p
