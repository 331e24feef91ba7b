"""The program of a hook: inside, createContainer and startContainer; on the host, all others (config.md
"POSIX-platform Hooks").

A createContainer hook is a program of the host's, and has the runtime's rights. A startContainer hook is looked up in
the container (MUST 65): whatever the image has put there is what runs. So it gets what the container's own program will
get, and no more: its cgroups, limits, user, capabilities, session keyring and seccomp profile.
"""

from __future__ import annotations

from pyrun.kernel.constants import CLOSE_RANGE_CLOEXEC
from pyrun.machine.program import ANY_ERROR, Program
from pyrun.plan import first, identity, keyring, labels, last, limits
from pyrun.plan.placement import Placement
from pyrun.spec.namespaces import CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.machine.launch import Layout
    from pyrun.plan.facts import Facts
    from pyrun.spec.config import Hook, Process

STDIO = ["stdin", "stdout", "stderr"]
NAMES = ["pidfd", *STDIO]


def compile_outside(hook: Hook, pointer: str, layout: Layout, directory: str, environ: list[str]) -> Program:
    """Become the hook's program in the runtime's own namespaces, in `directory`, as a process group of its own. One
    without `env` has `environ`, as with runc and crun."""
    p = Program()
    with p.at(pointer):
        p.call("setpgid", 0, 0)
        _enter(p, directory)
        _stdio(p, layout)
        p.call("close_range", layout.host, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC)
        _execute(p, hook, environ)
    return p


def compile_hook(
    hook: Hook, pointer: str, namespaces: int, facts: Facts, process: Process | None, directory: str = "/"
) -> Program:
    """Enter the `namespaces` (CLONE_NEW* flags) of init, given by its pidfd, and become the hook's program in
    `directory`; with a `process`, as one of the container's."""
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
        _enter(p, directory)
        _stdio(p, layout)
        if process is not None:
            keyring.join(p, facts.container, proc, process)
            if not has_userns:
                limits.set_own(p, process, born_last=True)
            labels.at_execve(p, proc, process)
            identity.become(p, process, facts, has_userns)
        wanted: Process | None = None if process is None else {**process, "terminal": False}
        last.finish(p, wanted, facts, has_userns, born_last=True)
        _execute(p, hook, (process or {}).get("env", []))
    last.stay(p, wanted, facts, host, has_userns, born_last=True)
    return p


def _enter(p: Program, directory: str) -> None:
    """The working directory; `/` where it is gone, as a bundle may be by the time of poststop, or can't be reached."""
    gone = p.label()
    p.chdir("/")
    if directory != "/":
        p.call("chdir", directory, errors={ANY_ERROR: gone})
    p.place(gone)


def _stdio(p: Program, layout: Layout) -> None:
    for number, name in enumerate(STDIO):
        p.call("dup3", layout[name], number, 0)


def _execute(p: Program, hook: Hook, environ: list[str]) -> None:
    with p.at("args"):
        argv = p.strings(hook.get("args") or [hook["path"]])
    with p.at("env"):
        envp = p.strings(hook.get("env", environ))
    with p.at("path"):
        p.call("execve", hook["path"], argv, envp)
