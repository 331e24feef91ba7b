"""/linux/resources: of a config.json, or by itself as `update --resources` takes it (config-linux.md "Control groups").

These rules hold on every host: the specification's, and the limits of the kernel that are the same in all versions.
What only one cgroup version can do is the host's business (runtime/cgroups/controllers/).
"""

from __future__ import annotations

from pyrun.spec import ranges
from pyrun.spec.checks.common import device_number_faults, is_file_name, is_interface
from pyrun.spec.faults import Fault, escape, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.spec.config import Resources

# kernel/sched/core.c: min_cfs_quota_period, max_cfs_quota_period, max_cfs_runtime, in µs.
SHORTEST, LONGEST, MOST_RUNTIME = 1_000, 1_000_000, (1 << 44) - 1
MOST_PROCESSES = 4 << 20  # PID_MAX_LIMIT (linux/threads.h)
MOST_RDMA = (1 << 31) - 1  # kernel/cgroup/rdma.c reads an int
MOST_MICROSECONDS = ((1 << 64) - 1) // 1_000  # what the kernel can say in ns
THROTTLES = ("throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice")


def device_rules(resources: Resources, at: str) -> Iterator[Fault]:
    """Types, numbers and access of linux.resources.devices (MUST 103)."""
    for i, rule in enumerate(resources.get("devices", ())):
        access, kind = rule.get("access", ""), rule.get("type", "")
        if kind not in ("", "a", "b", "c"):
            yield Fault(f"{at}/devices/{i}/type", f"must be a, b or c, not {show(kind)}", "MUST 80")
        if access.strip("rwm"):
            yield Fault(f"{at}/devices/{i}/access", f"must be made of r, w and m, not {show(access)}")
        for name, value in (("major", rule.get("major", -1)), ("minor", rule.get("minor", -1))):
            if not -1 <= value < 1 << 32:
                yield Fault(f"{at}/devices/{i}/{name}", f"must be a device number, or -1 for any, not {value}")


def memory(resources: Resources, at: str) -> Iterator[Fault]:
    """swap counts memory too."""
    found = resources.get("memory", {})
    limit, swap = found.get("limit", 0), found.get("swap", 0)
    if limit > 0 and 0 < swap < limit:
        hint = "swap is the limit of memory and swap together"
        yield Fault(f"{at}/memory/swap", f"must be at least the limit, {limit}, not {swap}", hint=hint)
    if found.get("swappiness", 0) > 100:
        yield Fault(f"{at}/memory/swappiness", f"must be at most 100, not {found['swappiness']}")


def cpu(resources: Resources, at: str) -> Iterator[Fault]:
    """Times within what the kernel takes, the burst within the quota (MUST 105)."""
    found, at = resources.get("cpu", {}), f"{at}/cpu"
    quota, burst, idle = found.get("quota", 0), found.get("burst", 0), found.get("idle", 0)
    if quota > 0 and not SHORTEST <= quota <= MOST_RUNTIME:
        yield Fault(f"{at}/quota", f"must be from {SHORTEST} to {MOST_RUNTIME} µs, or -1 for no limit, not {quota}")
    period = found.get("period", 0)
    if period and not SHORTEST <= period <= LONGEST:
        yield Fault(f"{at}/period", f"must be from {SHORTEST} to {LONGEST} µs, not {period}")
    if 0 < quota < burst:
        yield Fault(f"{at}/burst", f"must be at most the quota, {quota}, not {burst}", "MUST 105")
    elif burst > MOST_MICROSECONDS:
        yield Fault(f"{at}/burst", f"must be at most {MOST_MICROSECONDS}, not {burst}")
    if found.get("realtimePeriod", 0) > MOST_MICROSECONDS:
        yield Fault(f"{at}/realtimePeriod", f"must be at most {MOST_MICROSECONDS}, not {found['realtimePeriod']}")
    if idle not in (0, 1):
        yield Fault(f"{at}/idle", f"must be 0 or 1, not {idle}")


def cpusets(resources: Resources, at: str) -> Iterator[Fault]:
    """Lists of CPUs and of memory nodes."""
    found = resources.get("cpu", {})
    for name, text in (("cpus", found.get("cpus", "")), ("mems", found.get("mems", ""))):
        if not ranges.is_list(text):
            yield Fault(f"{at}/cpu/{name}", f"a list such as 0-3,7 is expected, not {show(text)}")


def pids(resources: Resources, at: str) -> Iterator[Fault]:
    """Not more than there can be."""
    limit = resources.get("pids", {}).get("limit", 0)
    if not -1 <= limit <= MOST_PROCESSES:
        problem = f"must be from 0 to {MOST_PROCESSES}, or -1 for no limit, not {limit}"
        yield Fault(f"{at}/pids/limit", problem)


def block_io(resources: Resources, at: str) -> Iterator[Fault]:
    """Weights, and devices by their numbers (MUST 106)."""
    found = resources.get("blockIO")
    if found is None:
        return
    at = f"{at}/blockIO"
    weights = [(f"{at}/weight", found.get("weight", 0)), (f"{at}/leafWeight", found.get("leafWeight", 0))]
    for i, device in enumerate(found.get("weightDevice", ())):
        yield from device_number_faults(device, f"{at}/weightDevice/{i}")
        if "weight" not in device and "leafWeight" not in device:
            yield Fault(f"{at}/weightDevice/{i}", "must have weight or leafWeight", "MUST 106")
        weights.append((f"{at}/weightDevice/{i}/weight", device.get("weight", 0)))
        weights.append((f"{at}/weightDevice/{i}/leafWeight", device.get("leafWeight", 0)))
    for pointer, weight in weights:
        # 0 is how managers that know no "unset" say it.
        if weight and not 10 <= weight <= 1000:
            yield Fault(pointer, f"must be from 10 to 1000, not {weight}")
    for name in THROTTLES:
        for i, throttle in enumerate(found.get(name, ())):  # type: ignore[arg-type, var-annotated]
            yield from device_number_faults(throttle, f"{at}/{name}/{i}")


def hugepage_limits(resources: Resources, at: str) -> Iterator[Fault]:
    """Sizes as the files of the controller have them."""
    for i, limit in enumerate(resources.get("hugepageLimits", ())):
        size = limit["pageSize"]
        number, unit = size[:-2], size[-2:]
        if unit not in ("KB", "MB", "GB") or not (number.isascii() and number.isdigit()) or number[0] == "0":
            pointer = f"{at}/hugepageLimits/{i}/pageSize"
            yield Fault(pointer, f"must be a size such as 64KB, 2MB or 1GB, not {show(size)}")


def network(resources: Resources, at: str) -> Iterator[Fault]:
    """Names of interfaces."""
    for i, priority in enumerate(resources.get("network", {}).get("priorities", ())):
        if not is_interface(priority["name"]):
            problem = f"{show(priority['name'])} is no name for a network device"
            yield Fault(f"{at}/network/priorities/{i}/name", problem)


def rdma(resources: Resources, at: str) -> Iterator[Fault]:
    """Names of devices, and at least one limit each (MUST 107)."""
    for name, limits in resources.get("rdma", {}).items():
        pointer = f"{at}/rdma/{escape(name)}"
        if not is_file_name(name):
            yield Fault(pointer, f"{show(name)} is no name of an RDMA device")
        if "hcaHandles" not in limits and "hcaObjects" not in limits:
            yield Fault(pointer, "must have hcaHandles or hcaObjects", "MUST 107")
        for member, value in limits.items():
            if member in ("hcaHandles", "hcaObjects") and value > MOST_RDMA:  # type: ignore[operator]
                yield Fault(f"{pointer}/{member}", f"must be at most {MOST_RDMA}, not {value}")


def unified(resources: Resources, at: str) -> Iterator[Fault]:
    """Names of files of cgroup v2 (MUST 109)."""
    for name in resources.get("unified", ()):
        # MUST 109: unknown files are written all the same, but only in the container's own cgroup.
        if not is_file_name(name) or "." not in name.strip("."):
            yield Fault(f"{at}/unified/{escape(name)}", "must be the name of a file of cgroup v2, such as memory.high")
