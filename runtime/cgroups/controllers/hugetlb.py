"""hugetlb: huge pages, by their size (cgroup-v1/hugetlb.rst; cgroup-v2.rst, "HugeTLB")."""

from __future__ import annotations

import posix

from pyrun.cgroups.controller import Controller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyrun.cgroups.controller import Wanted
    from pyrun.cgroups.statistics import Figures
    from pyrun.spec.faults import Fault

_PAGES = "/sys/kernel/mm/hugepages"


class Hugetlb(Controller):
    def v1(self, wanted: Wanted) -> None:
        _limit(wanted, "limit_in_bytes")

    def v2(self, wanted: Wanted) -> None:
        _limit(wanted, "max")

    def statistics(self, figures: Figures) -> dict[str, Any]:
        names = figures.names("hugetlb")
        sizes = sorted({name.split(".")[1] for name in names if name.startswith("hugetlb.")})
        return {"hugetlb": {size: (_v2 if figures.v2 else _v1)(figures, f"hugetlb.{size}") for size in sizes}}

    def lacks(self, wanted: Wanted) -> Iterator[Fault]:
        there = _sizes()
        for i, entry in enumerate(wanted.resources.get("hugepageLimits") or ()):
            if entry["pageSize"] not in there:
                problem = f"this host has no huge pages of {entry['pageSize']}"
                hint = f"there are {', '.join(there)}" if there else ""
                yield wanted.fault(f"hugepageLimits/{i}/pageSize", problem, "MUST 30", hint)


def _limit(wanted: Wanted, suffix: str) -> None:
    for i, entry in enumerate(wanted.resources.get("hugepageLimits") or ()):
        where, file, limit = f"hugepageLimits/{i}/limit", f"hugetlb.{entry['pageSize']}", str(entry["limit"])
        # The reservation first: with the plain limit alone a page which is missing is a SIGBUS, not an ENOMEM at mmap.
        wanted.write(where, "hugetlb", f"{file}.rsvd.{suffix}", limit, optional=True)
        wanted.write(where, "hugetlb", f"{file}.{suffix}", limit)


def _sizes() -> list[str]:
    """Of the host's huge pages, as the files of the controller call them (mm/hugetlb_cgroup.c)."""
    try:
        names = posix.listdir(_PAGES)
    except OSError:
        return []
    found = []
    for kilobytes in sorted(int(name.removeprefix("hugepages-").removesuffix("kB")) for name in names):
        unit, size = next((row for row in (("GB", 1 << 20), ("MB", 1 << 10)) if kilobytes >= row[1]), ("KB", 1))
        found.append(f"{kilobytes // size}{unit}")
    return found


def _v1(figures: Figures, file: str) -> dict[str, int]:
    return {
        "usage": figures.number("hugetlb", f"{file}.usage_in_bytes"),
        "max": figures.number("hugetlb", f"{file}.max_usage_in_bytes"),
        "failcnt": figures.number("hugetlb", f"{file}.failcnt"),
    }


def _v2(figures: Figures, file: str) -> dict[str, int]:
    return {
        "usage": figures.number("hugetlb", f"{file}.current"),
        "failcnt": figures.table("hugetlb", f"{file}.events").get("max", 0),
    }


CONTROLLER = Hugetlb()
