"""cpuset: which CPUs and memory nodes there are (cpuset(7))."""

from __future__ import annotations

from errno import EACCES, EINVAL, ENOSPC, ERANGE

from pyrun.cgroups.controller import Controller, nonzero
from pyrun.kernel import files
from pyrun.spec import ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyrun.cgroups.controller import Wanted
    from pyrun.cgroups.properties import Properties
    from pyrun.cgroups.statistics import Figures
    from pyrun.spec.faults import Fault

# member, file, systemd's property; where sysfs tells of what there is to be had on version 2 and on version 1
_MEMBERS = (
    ("cpus", "cpuset.cpus", "AllowedCPUs", "cpu/possible", "cpu/online"),
    ("mems", "cpuset.mems", "AllowedMemoryNodes", "node/possible", "node/has_memory"),
)


# Version 1's other files, which runc's readers expect.
_FIGURES = (
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
)


class Cpuset(Controller):
    hints = {
        ("cgroup.procs", ENOSPC): "cpuset.cpus and cpuset.mems of the cgroup must not be empty",
        ("cpuset.cpus", EACCES): "only CPUs of the parent cgroup can be given",
        ("cpuset.cpus", EINVAL): "write CPUs as 0-2,5 and only those that the parent cgroup has",
        ("cpuset.cpus", ERANGE): "this machine has no such CPU",
        ("cpuset.mems", EACCES): "only memory nodes of the parent cgroup can be given",
        ("cpuset.mems", EINVAL): "write memory nodes as 0-2,5 and only those that the parent cgroup has",
        ("cpuset.mems", ERANGE): "this machine has no such memory node",
    }
    annotations = (
        ("AllowedCPUs", "ay", "cpuset.cpus", ""),
        ("AllowedMemoryNodes", "ay", "cpuset.mems", ""),
        ("StartupAllowedCPUs", "ay", "cpuset.cpus", ""),
        ("StartupAllowedMemoryNodes", "ay", "cpuset.mems", ""),
    )

    def v1(self, wanted: Wanted) -> None:
        for member, file, *_ in _MEMBERS:
            wanted.put("cpu", member, "cpuset", file, nonzero)

    v2 = v1

    def properties(self, said: Properties) -> None:
        if said.v2:
            for member, file, name, *_ in _MEMBERS:
                said.member("cpu", member, name, "ay", _mask)
                said.unified(file, name, "ay", _mask)

    def statistics(self, figures: Figures) -> dict[str, Any]:
        suffix = ".effective" if figures.v2 else ""
        found: dict[str, Any] = dict.fromkeys(_FIGURES, 0)
        for member, file, *_ in _MEMBERS:
            if numbers := ranges.parse(figures.text("cpuset", file + suffix).strip()):
                found[member] = numbers
        if not figures.v2:
            for name in _FIGURES:
                found[name] = int(figures.text("cpuset", f"cpuset.{name}") or 0)
        return {"cpuset": found}

    def lacks(self, wanted: Wanted) -> Iterator[Fault]:
        for member, *_, possible, online in _MEMBERS:
            text = wanted.get("cpu", member) or ""
            try:
                there = ranges.parse(files.read(f"/sys/devices/system/{possible if wanted.v2 else online}").strip())
                absent = [number for number in ranges.parse(text) if number not in there]
            except (OSError, ValueError):  # a kernel without nodes; a form that only the kernel knows
                continue
            if absent:
                what = "CPU" if member == "cpus" else "memory node"
                yield wanted.fault(f"cpu/{member}", f"this host has no {what} {absent[0]}", "MUST 30")


def _mask(text: str) -> bytes | None:
    """A list of CPUs or memory nodes as a bit mask, the lowest first; None for what only the kernel can judge."""
    try:
        numbers = ranges.parse(text)
    except ValueError:
        return None
    if not numbers:
        return None
    return sum(1 << number for number in numbers).to_bytes(numbers[-1] // 8 + 1, "little")


CONTROLLER = Cpuset()
