"""What the kernel counts of a container, in the shape of runc's `events --stats` (cgroup-v1/ and cgroup-v2.rst of the
kernel's Documentation/admin-guide). Cold.

A figure that this kernel doesn't have is left out, or 0 where readers expect a number.
"""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Any

from pyrun.cgroups import files

if TYPE_CHECKING:
    from pyrun.cgroups.cgroup import Cgroup

_NO_LIMIT = (1 << 64) - 1
_NANOSECONDS = 1_000_000_000
_PSI = {"cpu": "cpu.pressure", "memory": "memory.pressure", "blkio": "io.pressure"}


def statistics(cgroup: Cgroup, pid: int) -> dict[str, Any]:
    """The member `data` of an event; pid: of the container's init, 0 for none."""
    reader = _V2(cgroup) if cgroup.mode == "v2" else _V1(cgroup)
    return {
        "cpu": reader.cpu(),
        "cpuset": reader.cpuset(),
        "memory": reader.memory(),
        "pids": reader.pids(),
        "blkio": reader.blkio(),
        "hugetlb": reader.hugetlb(),
        "intel_rdt": {},
        "network_interfaces": interfaces(pid),
    }


def interfaces(pid: int) -> list[dict[str, Any]]:
    """Of the container's network namespace, but for lo (proc_pid_net(5), /proc/net/dev)."""
    try:
        lines = files.read(f"/proc/{pid}/net/dev").splitlines()[2:] if pid else []
    except OSError:
        return []
    found = []
    for line in lines:
        name, _, rest = line.partition(":")
        numbers = [int(word) for word in rest.split()]
        if name.strip() == "lo" or len(numbers) < 12:
            continue
        found.append(
            {
                "Name": name.strip(),
                **{f"rx_{key}": numbers[i] for i, key in enumerate(("bytes", "packets", "errors", "dropped"))},
                **{f"tx_{key}": numbers[8 + i] for i, key in enumerate(("bytes", "packets", "errors", "dropped"))},
            }
        )
    return found


class _Reader:
    """Files of the container's cgroup, by controller."""

    def __init__(self, cgroup: Cgroup) -> None:
        self.folders = {c: d.path for d in cgroup.directories for c in d.controllers or ("",)}

    def text(self, controller: str, file: str) -> str:
        folder = self.folders.get("") if isinstance(self, _V2) else self.folders.get(controller)
        try:
            return files.read(f"{folder}/{file}") if folder else ""
        except OSError:
            return ""

    def number(self, controller: str, file: str) -> int:
        word = self.text(controller, file).strip()
        return int(word) if word.isdigit() else _NO_LIMIT if word == "max" else 0

    def table(self, controller: str, file: str) -> dict[str, int]:
        """A file of "key number" lines."""
        rows = (line.split() for line in self.text(controller, file).splitlines())
        return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}

    def pids(self) -> dict[str, int]:
        limit = self.number("pids", "pids.max")
        return {"current": self.number("pids", "pids.current"), "limit": 0 if limit == _NO_LIMIT else limit}

    def sizes(self) -> list[str]:
        """Of huge pages: 2MB ..."""
        folder = self.folders.get("hugetlb") or self.folders.get("") or ""
        try:
            names = posix.listdir(folder) if folder else []
        except OSError:
            return []
        return sorted({name.split(".")[1] for name in names if name.startswith("hugetlb.")})

    def psi(self, file: str) -> dict[str, Any] | None:
        """Pressure stall information (Documentation/accounting/psi.rst)."""
        found: dict[str, Any] = {}
        for line in self.text("", file).splitlines():
            kind, *pairs = line.split()
            values = dict(pair.split("=") for pair in pairs)
            found[kind] = {key: float(values[key]) for key in ("avg10", "avg60", "avg300")}
            found[kind]["total"] = int(values["total"])
        return found or None


class _V1(_Reader):
    def cpu(self) -> dict[str, Any]:
        per_cpu = [int(word) for word in self.text("cpuacct", "cpuacct.usage_percpu").split()]
        stat = self.table("cpuacct", "cpuacct.stat")
        tick = _NANOSECONDS // posix.sysconf("SC_CLK_TCK")
        throttled = self.table("cpu", "cpu.stat")
        return {
            "usage": {
                "total": self.number("cpuacct", "cpuacct.usage"),
                "percpu": per_cpu,
                "percpu_kernel": [int(word) for word in self.text("cpuacct", "cpuacct.usage_percpu_sys").split()],
                "percpu_user": [int(word) for word in self.text("cpuacct", "cpuacct.usage_percpu_user").split()],
                "kernel": stat.get("system", 0) * tick,
                "user": stat.get("user", 0) * tick,
            },
            "throttling": {
                "periods": throttled.get("nr_periods", 0),
                "throttledPeriods": throttled.get("nr_throttled", 0),
                "throttledTime": throttled.get("throttled_time", 0),
            },
        }

    def cpuset(self) -> dict[str, Any]:
        return {
            "cpus": self.text("cpuset", "cpuset.cpus").strip(),
            "mems": self.text("cpuset", "cpuset.mems").strip(),
        }

    def memory(self) -> dict[str, Any]:
        raw = self.table("memory", "memory.stat")
        kinds = (("usage", ""), ("swap", "memsw."), ("kernel", "kmem."), ("kernelTCP", "kmem.tcp."))
        found: dict[str, Any] = {"cache": raw.get("cache", 0)}
        for name, part in kinds:
            found[name] = {
                "limit": self.number("memory", f"memory.{part}limit_in_bytes"),
                "usage": self.number("memory", f"memory.{part}usage_in_bytes"),
                "max": self.number("memory", f"memory.{part}max_usage_in_bytes"),
                "failcnt": self.number("memory", f"memory.{part}failcnt"),
            }
        return {**found, "raw": raw}

    def blkio(self) -> dict[str, Any]:
        files_ = {
            "ioServiceBytesRecursive": "blkio.throttle.io_service_bytes_recursive",
            "ioServicedRecursive": "blkio.throttle.io_serviced_recursive",
        }
        return {name: self._operations(file) for name, file in files_.items()}

    def _operations(self, file: str) -> list[dict[str, Any]]:
        found = []
        for line in self.text("blkio", file).splitlines():
            words = line.split()
            if len(words) == 3 and ":" in words[0]:
                major, _, minor = words[0].partition(":")
                found.append({"major": int(major), "minor": int(minor), "op": words[1], "value": int(words[2])})
        return found

    def hugetlb(self) -> dict[str, Any]:
        return {
            size: {
                "usage": self.number("hugetlb", f"hugetlb.{size}.usage_in_bytes"),
                "max": self.number("hugetlb", f"hugetlb.{size}.max_usage_in_bytes"),
                "failcnt": self.number("hugetlb", f"hugetlb.{size}.failcnt"),
            }
            for size in self.sizes()
        }


class _V2(_Reader):
    def cpu(self) -> dict[str, Any]:
        stat = self.table("", "cpu.stat")
        found: dict[str, Any] = {
            "usage": {
                "total": stat.get("usage_usec", 0) * 1000,
                "kernel": stat.get("system_usec", 0) * 1000,
                "user": stat.get("user_usec", 0) * 1000,
            },
            "throttling": {
                "periods": stat.get("nr_periods", 0),
                "throttledPeriods": stat.get("nr_throttled", 0),
                "throttledTime": stat.get("throttled_usec", 0) * 1000,
            },
        }
        return self._with_psi(found, "cpu")

    def cpuset(self) -> dict[str, Any]:
        return {
            "cpus": self.text("", "cpuset.cpus.effective").strip(),
            "mems": self.text("", "cpuset.mems.effective").strip(),
        }

    def memory(self) -> dict[str, Any]:
        raw, events = self.table("", "memory.stat"), self.table("", "memory.events")
        usage = self.number("", "memory.current")
        limit, swap_limit = self.number("", "memory.max"), self.number("", "memory.swap.max")
        swap = self.number("", "memory.swap.current")
        both = _NO_LIMIT if _NO_LIMIT in (limit, swap_limit) else limit + swap_limit
        found = {
            "cache": raw.get("file", 0),
            "usage": {
                "limit": limit,
                "usage": usage,
                "max": self.number("", "memory.peak"),
                "failcnt": events.get("max", 0),
            },
            # Together with memory, as on version 1: that is how readers take it.
            "swap": {"limit": both, "usage": usage + swap, "failcnt": 0},
            "kernel": {"usage": raw.get("kernel", 0), "failcnt": 0},
            "kernelTCP": {"usage": raw.get("sock", 0), "failcnt": 0},
            "raw": raw,
        }
        return self._with_psi(found, "memory")

    def blkio(self) -> dict[str, Any]:
        amounts: list[dict[str, Any]] = []
        counts: list[dict[str, Any]] = []
        kinds = {
            "rbytes": ("Read", amounts),
            "wbytes": ("Write", amounts),
            "rios": ("Read", counts),
            "wios": ("Write", counts),
        }
        for line in self.text("", "io.stat").splitlines():
            device, *pairs = line.split()
            major, _, minor = device.partition(":")
            for key, _, value in (pair.partition("=") for pair in pairs):
                if key in kinds and value.isdigit():
                    operation, into = kinds[key]
                    into.append({"major": int(major), "minor": int(minor), "op": operation, "value": int(value)})
        return self._with_psi({"ioServiceBytesRecursive": amounts, "ioServicedRecursive": counts}, "blkio")

    def hugetlb(self) -> dict[str, Any]:
        return {
            size: {
                "usage": self.number("", f"hugetlb.{size}.current"),
                "failcnt": self.table("", f"hugetlb.{size}.events").get("max", 0),
            }
            for size in self.sizes()
        }

    def _with_psi(self, found: dict[str, Any], section: str) -> dict[str, Any]:
        pressure = self.psi(_PSI[section])
        return {**found, "psi": pressure} if pressure else found
