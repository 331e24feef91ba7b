"""The last steps before execve, the same for init, exec and hooks: nothing is seen before it is harmless.

Whatever can be seen from inside (in /proc, by ptrace(2) or pidfd_getfd(2), all of which CAP_SYS_PTRACE allows on a
process that isn't dumpable too) has the container's root, user, capabilities and seccomp filter already, and no
descriptor but those that the program will have and the one or two that it waits at. So where others live in the pid
namespace, the process that is born into it is the last thing to be made: setns(CLONE_NEWPID) is for children only, and
who called it stays outside and does all the rest.
"""

from __future__ import annotations

from pyrun.kernel.constants import CLONE_PARENT, CLOSE_RANGE_CLOEXEC, PR_SET_PDEATHSIG, TIOCSCTTY
from pyrun.machine.messages import BORN, GO, READY
from pyrun.machine.program import PASS, Program
from pyrun.plan import identity, limits, seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.machine.program import Label
    from pyrun.plan.facts import Facts
    from pyrun.spec.config import Process

_SIGACTION_SIZE = 32  # struct sigaction of the kernel; all 0 is SIG_DFL


_ONE_MORE = "EAGAIN here means: pids.limit must leave room for one process more, for a moment"


def finish(
    p: Program,
    process: Process | None,
    facts: Facts,
    has_userns: bool,
    *,
    born_last: bool,
    kept: int = 0,
    give_up: bool = False,
) -> None:
    """All that comes between finding the executable and execve. process: None for a program of the host's, or none.
    kept: how many descriptors of the layout are needed until execve besides init's socket. give_up: all capabilities,
    since there is no program to have any."""
    _close_the_rest(p, facts, 1 + kept)
    _confine(p, process, facts, has_userns)
    if give_up:
        identity.give_up(p)
    if born_last:
        _be_born(p, process, has_userns)
    p.ask(READY)


def stay(p: Program, process: Process | None, facts: Facts, host: Label, has_userns: bool, *, born_last: bool) -> None:
    """The half that stays on the host, from `host` on."""
    p.place(host)
    p.pointer = ""
    # Else this half would keep the socket of the other open, and nobody would see its end.
    p.call("close", facts.layout.init)
    limits.serve(p, process or {}, has_userns, born_last)


def _close_the_rest(p: Program, facts: Facts, kept: int) -> None:
    """No descriptor reaches the program but stdio and those it was promised (CVE-2024-21626); until then it has the
    `kept` first of the layout too, which it talks and waits at."""
    for i in range(facts.preserve):
        p.call("dup3", facts.layout[f"preserved-{i}"], 3 + i, 0)
    first = facts.layout.init
    p.call("close_range", 3 + facts.preserve, first - 1, 0)
    p.call("close_range", first + kept, 0xFFFFFFFF, 0)
    p.call("close_range", first, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC)
    # posix_spawn makes a child ignore the signals that are libc's own, two of glibc's and three of musl's, and nobody
    # else can undo it.
    for signal in (32, 33, 34):
        p.call("rt_sigaction", signal, bytes(_SIGACTION_SIZE), 0, 8)


def _confine(p: Program, process: Process | None, facts: Facts, has_userns: bool) -> None:
    """The filter, and the capability that loading it has taken is given back."""
    # The runtime ends before the process does, in the normal case. From here on end of file on the socket ends it.
    p.prctl(PR_SET_PDEATHSIG, 0)
    seccomp.load(p, facts)
    if process is not None and identity.lends(process, facts):
        identity.give_back(p, process, identity.available(facts, has_userns))


def _be_born(p: Program, process: Process | None, has_userns: bool) -> None:
    """Into the pid namespace that was joined. It says BORN and its pid, and ends; its child goes on."""
    child = p.label()
    with p.at("/linux/namespaces"):
        pid = p.call("clone", CLONE_PARENT, 0, 0, 0, 0, PASS, result=True, note=_ONE_MORE)
    p.branch(pid, 0, child)
    p.say(BORN, pid)
    p.call("exit_group", 0, 0, 0, 0, 0, PASS)
    p.place(child)
    p.free(pid)
    p.heed(GO)  # both talk on one socket: what the parent says comes first
    p.call("setsid", 0, 0, 0, 0, 0, PASS)
    if process is not None and process.get("terminal"):
        with p.at("/process/terminal"):
            p.call("ioctl", 0, TIOCSCTTY, 0, 0, 0, PASS)
    if process is not None and not has_userns:
        limits.set_number_of_processes(p, process)
