"""process.apparmorProfile, process.selinuxLabel: what execve turns the program into (proc_pid_attr(5)).

Whether the host has AppArmor or SELinux at all is looked at before (runtime/host/lsm.py)."""

from __future__ import annotations

from errno import EACCES, EINVAL, ENOENT

from pyrun.kernel.constants import O_WRONLY, UNCONFINED
from pyrun.machine.program import ANY_ERROR, Program, Register
from pyrun.plan.own_proc import WITHIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import Process

_ATTRIBUTES = "thread-self/attr"


def wanted(process: Process | None) -> bool:
    """Anything here is asked for."""
    return bool(process and (process.get("apparmorProfile") or process.get("selinuxLabel")))


def of_keys(p: Program, proc: Register | None, process: Process | None, label: bool) -> None:
    """Give the keyring that is made next the container's SELinux label (`label`), or no special one again."""
    selinux = process.get("selinuxLabel") if process else ""
    if not selinux or proc is None:
        return
    with p.at("/process/selinuxLabel"):
        without = p.label()
        with p.opened(p.openat2(proc, f"{_ATTRIBUTES}/keycreate", O_WRONLY, WITHIN, {ENOENT: without})) as file:
            # As libselinux does: a policy from before labels of keys refuses them.
            if label:
                p.write(file, selinux, ignore=(EACCES, EINVAL))
            else:
                p.call("write", file, "", 0, ignore=(ANY_ERROR,))
        p.place(without)


def at_execve(p: Program, proc: Register | None, process: Process) -> None:
    """Take both with the next execve of the process that runs this."""
    if proc is None:
        return
    profile, label = process.get("apparmorProfile"), process.get("selinuxLabel")
    if profile and profile != UNCONFINED:
        with p.at("/process/apparmorProfile"):
            # Before Linux 5.8 AppArmor had no directory of its own there.
            older, opened = p.label(), p.label()
            file = p.openat2(proc, f"{_ATTRIBUTES}/apparmor/exec", O_WRONLY, WITHIN, {ENOENT: older})
            p.jump(opened)
            p.place(older)
            p.openat2(proc, f"{_ATTRIBUTES}/exec", O_WRONLY, WITHIN, into=file)
            p.place(opened)
            p.write(file, f"exec {profile}", note="ENOENT here means: no such profile is loaded")
            p.close(file)
    if label:
        with p.at("/process/selinuxLabel"):
            file = p.openat2(proc, f"{_ATTRIBUTES}/exec", O_WRONLY, WITHIN)
            with p.opened(file):
                p.write(file, label, note="EINVAL here means: the policy knows no such label")
