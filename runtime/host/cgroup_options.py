"""The options of the host's cgroup2. CRIU mounts cgroup2 once more without any, and the kernel, which has one set of
them for all mounts, takes them away (cgroup-v2.rst, "Mounting"); nsdelegate among them, without which a container that
sees its cgroup may write its own limits. Here they are given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrun.errors import Error
from pyrun.kernel.constants import AT_FDCWD, FSCONFIG_CMD_RECONFIGURE, FSPICK_CLOEXEC
from pyrun.kernel.files import read, unescaped
from pyrun.machine.launch import execute
from pyrun.machine.program import Program

if TYPE_CHECKING:
    from pyrun.caller import Caller


class CgroupOptions:
    """Those there are now."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._point, self._options = _mounted()

    def give_back(self) -> None:
        """What has gone since; a failure is a warning."""
        if set(self._options) <= set(_mounted()[1]):
            return
        p = Program()
        fs = p.call("fspick", AT_FDCWD, self._point, FSPICK_CLOEXEC, result=True)
        for option in self._options:
            p.fsconfig_set_flag(fs, option)
        p.call("fsconfig", fs, FSCONFIG_CMD_RECONFIGURE, 0, 0, 0, log=fs)
        try:
            execute(p, self._caller, f"give {self._point} its options {','.join(self._options)} back", self._point)
        except Error as e:
            self._caller.log.warning(str(e))


def _mounted() -> tuple[str, list[str]]:
    """The mount point of the first cgroup2, and its options; "" where there is none (proc_pid_mountinfo(5))."""
    for line in read("/proc/self/mountinfo").splitlines():
        fields, _, tail = line.partition(" - ")
        kind, _, options = tail.split(" ", 2)
        if kind == "cgroup2":
            return unescaped(fields.split(" ", 5)[4]), [word for word in options.split(",") if word not in ("rw", "ro")]
    return "", []
