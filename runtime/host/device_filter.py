"""Take off the device filter that a container has left on a cgroup which was there before it (bpf(2))."""

from __future__ import annotations

from errno import ENOENT

from pyrun.kernel.constants import (
    AT_FDCWD,
    BPF_CGROUP_DEVICE,
    BPF_PROG_DETACH,
    BPF_PROG_GET_FD_BY_ID,
    O_DIRECTORY,
    O_RDONLY,
)
from pyrun.machine.launch import execute
from pyrun.machine.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.caller import Caller
    from pyrun.cgroups.cgroup import Cgroup


def detach(number: int, cgroup: Cgroup, caller: Caller) -> None:
    """Detach the eBPF program of this id from the cgroup, if that is the same as at create. An id is the program's
    alone while that is attached; what has another cgroup can't be detached from this one. Raises Error."""
    directory = next((d for d in cgroup.directories if not d.controllers), None)
    if not directory or not directory.is_same():
        return
    p = Program()
    gone = p.label()
    # union bpf_attr for BPF_PROG_GET_FD_BY_ID: the id. For BPF_PROG_DETACH: target, program, type
    which, what = p.buffer(128), p.buffer(128)
    where = p.openat(AT_FDCWD, directory.path, O_RDONLY | O_DIRECTORY, errors={ENOENT: gone})
    p.store(which, 0, 4, number)
    program = p.call("bpf", BPF_PROG_GET_FD_BY_ID, which, 128, errors={ENOENT: gone}, result=True)
    p.store(what, 0, 4, where)
    p.store(what, 4, 4, program)
    p.store(what, 8, 4, BPF_CGROUP_DEVICE)
    p.call("bpf", BPF_PROG_DETACH, what, 128, errors={ENOENT: gone})
    p.place(gone)
    execute(p, caller, "take off the device filter", directory.path)
