"""memory, with swap (cgroup-v1/memory.rst; cgroup-v2.rst, "Memory")."""

from __future__ import annotations

from errno import EBUSY, EINVAL, ENOENT

from pyrun.cgroups.controller import Controller, flag, nonzero, nonzero_or_max

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyrun.cgroups.controller import Wanted
    from pyrun.cgroups.properties import Properties
    from pyrun.cgroups.statistics import Figures
    from pyrun.spec.faults import Fault

_LIMIT, _SWAP = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
_NOT_ON_V2 = (
    ("swappiness", None, "version 2 has no swappiness of a cgroup; limit memory.swap"),
    ("disableOOMKiller", False, "version 2 can't switch the OOM killer off; raise memory.limit"),
    ("useHierarchy", True, "version 2 is always hierarchical"),
)
_UNIFIED = (
    ("memory.high", "MemoryHigh"),
    ("memory.low", "MemoryLow"),
    ("memory.max", "MemoryMax"),
    ("memory.min", "MemoryMin"),
    ("memory.swap.max", "MemorySwapMax"),
)


class Memory(Controller):
    hints = {
        (_LIMIT, EBUSY): "the cgroup uses more than this already",
        (_LIMIT, EINVAL): "the limit must not be above memory+swap",
        (_SWAP, EBUSY): "the cgroup uses more than this already",
        (_SWAP, EINVAL): "memory.swap is memory plus swap: set memory.limit, not above it",
        (_SWAP, ENOENT): "boot the kernel with swapaccount=1",
        ("memory.swap.max", ENOENT): "boot the kernel with swapaccount=1",
        ("memory.use_hierarchy", EINVAL): "since Linux 5.11 version 1 is always hierarchical",
    }
    annotations = (
        ("MemoryHigh", "t", "memory.high", ""),
        ("MemoryLimit", "t", "", _LIMIT),
        ("MemoryLow", "t", "memory.low", ""),
        ("MemoryMax", "t", "memory.max", ""),
        ("MemoryMin", "t", "memory.min", ""),
        ("MemorySwapMax", "t", "memory.swap.max", ""),
        ("MemoryZSwapMax", "t", "memory.zswap.max", ""),
        ("OOMPolicy", "s", "memory.oom.group", ""),
        ("StartupMemoryHigh", "t", "memory.high", ""),
        ("StartupMemoryLow", "t", "memory.low", ""),
        ("StartupMemoryMax", "t", "memory.max", ""),
        ("StartupMemorySwapMax", "t", "memory.swap.max", ""),
        ("StartupMemoryZSwapMax", "t", "memory.zswap.max", ""),
    )

    def v1(self, wanted: Wanted) -> None:
        _retired(wanted, "kernel", "has no effect since Linux 5.16")  # the write succeeds all the same
        wanted.put("memory", "useHierarchy", "memory", "memory.use_hierarchy", flag)
        wanted.put("memory", "limit", "memory", _LIMIT, nonzero, pair=_SWAP)
        swap = wanted.get("memory", "swap") or 0
        if swap > 0 and wanted.get("memory", "limit") == -1:
            wanted.cannot("memory/swap", "version 1 limits memory and swap together: it needs memory.limit")
        # "No limit" asks for nothing where the kernel has no swap accounting.
        wanted.put("memory", "swap", "memory", _SWAP, nonzero, optional=swap == -1)
        wanted.put("memory", "reservation", "memory", "memory.soft_limit_in_bytes", nonzero)
        wanted.put("memory", "kernel", "memory", "memory.kmem.limit_in_bytes", nonzero, optional=True)
        wanted.put("memory", "kernelTCP", "memory", "memory.kmem.tcp.limit_in_bytes", nonzero, optional=True)
        wanted.put("memory", "swappiness", "memory", "memory.swappiness", str)
        wanted.put("memory", "disableOOMKiller", "memory", "memory.oom_control", flag)

    def v2(self, wanted: Wanted) -> None:
        for member, nothing, hint in _NOT_ON_V2:
            if wanted.get("memory", member) not in (None, nothing):
                wanted.cannot(f"memory/{member}", hint)
        _retired(wanted, "kernel", "has no effect on cgroup version 2")
        _retired(wanted, "kernelTCP", "has no effect on cgroup version 2")
        wanted.put("memory", "reservation", "memory", "memory.low", nonzero_or_max)
        limit, swap = wanted.get("memory", "limit") or 0, wanted.get("memory", "swap") or 0
        if swap > 0 and not limit:
            wanted.cannot("memory/swap", "version 2 limits swap alone: memory plus swap needs memory.limit")
        elif text := swap_max(swap, limit):
            # Without swap accounting the file is missing; "no swap limit" and "no swap" ask for nothing then.
            where = "memory/swap" if swap else "memory/limit"
            wanted.write(where, "memory", "memory.swap.max", text, optional=text in ("max", "0"))
        wanted.put("memory", "limit", "memory", "memory.max", nonzero_or_max)
        # Version 2 takes a limit below the usage and kills; version 1 refuses it by itself (MUST 104).
        if limit > 0 and wanted.get("memory", "checkBeforeUpdate"):
            wanted.writes[-1].ceiling = "memory.current"

    def properties(self, said: Properties) -> None:
        if not said.v2:
            said.member("memory", "limit", "MemoryLimit", "t", said.limit)
            return
        said.member("memory", "limit", "MemoryMax", "t", said.limit)
        said.member("memory", "reservation", "MemoryLow", "t", said.limit)
        swap = swap_max(said.get("memory", "swap") or 0, said.get("memory", "limit") or 0)
        said.say("memory/swap", "MemorySwapMax", "t", said.size(swap) if swap else None)
        for file, name in _UNIFIED:
            said.unified(file, name, "t", said.size)

    def statistics(self, figures: Figures) -> dict[str, Any]:
        return {"memory": _v2_statistics(figures) if figures.v2 else _v1_statistics(figures)}

    def lacks(self, wanted: Wanted) -> Iterator[Fault]:
        if not wanted.v2 and wanted.get("memory", "useHierarchy") is False:
            hint = self.hints["memory.use_hierarchy", EINVAL]
            yield wanted.fault("memory/useHierarchy", "can't be false on this kernel", "MUST 30", hint)


def swap_max(swap: int, limit: int) -> str | None:
    """memory.swap (memory plus swap, bytes) with memory.limit → memory.swap.max (swap alone); None: don't write.

    0 is unset for both, -1 no limit. Unlimited memory without a word on swap means unlimited swap too, as on version 1.
    """
    if swap == 0:
        return "max" if limit == -1 else None
    if swap == -1:
        return "max"
    return str(swap) if limit == -1 else str(swap - limit)


def _retired(wanted: Wanted, member: str, problem: str) -> None:
    if wanted.get("memory", member):
        hint = "memory.limit counts the kernel's memory too"
        wanted.warnings.append(wanted.fault(f"memory/{member}", problem, "", hint))


def _v1_statistics(figures: Figures) -> dict[str, Any]:
    raw = figures.table("memory", "memory.stat")
    found: dict[str, Any] = {"cache": raw.get("cache", 0)}
    for name, part in (("usage", ""), ("swap", "memsw."), ("kernel", "kmem."), ("kernelTCP", "kmem.tcp.")):
        found[name] = {
            "limit": figures.number("memory", f"memory.{part}limit_in_bytes"),
            "usage": figures.number("memory", f"memory.{part}usage_in_bytes"),
            "max": figures.number("memory", f"memory.{part}max_usage_in_bytes"),
            "failcnt": figures.number("memory", f"memory.{part}failcnt"),
        }
    return {**found, "raw": raw}


def _v2_statistics(figures: Figures) -> dict[str, Any]:
    raw, events = figures.table("memory", "memory.stat"), figures.table("memory", "memory.events")
    usage = figures.number("memory", "memory.current")
    limit, swap_limit = figures.number("memory", "memory.max"), figures.number("memory", "memory.swap.max")
    swap = figures.number("memory", "memory.swap.current")
    both = figures.no_limit if figures.no_limit in (limit, swap_limit) else limit + swap_limit
    return {
        "cache": raw.get("file", 0),
        "usage": {
            "limit": limit,
            "usage": usage,
            "max": figures.number("memory", "memory.peak"),
            "failcnt": events.get("max", 0),
        },
        # Together with memory, as on version 1: that is how readers take it.
        "swap": {"limit": both, "usage": usage + swap, "failcnt": 0},
        "kernel": {"usage": raw.get("kernel", 0), "failcnt": 0},
        "kernelTCP": {"usage": raw.get("sock", 0), "failcnt": 0},
        "raw": raw,
        **figures.pressure("memory.pressure"),
    }


CONTROLLER = Memory()
