"""linux.resources → the writes that set it, for cgroup version 1 and version 2 (config-linux.md, "Control groups";
Documentation/admin-guide/cgroup-v1/ and cgroup-v2.rst of the kernel). Device rules are in `devices`.

Pure. The order of the writes is the order in which they must happen. 0 means unset where 0 can't be meant: memory
sizes, cpu.shares, quota, period, weights; pids.limit 0 is a limit. What a version can't do is a fault, never dropped
(MUST 80, 111).
"""

from __future__ import annotations

from pyrun.cgroups.conversions import cpu_max, cpu_weight, io_weight, limit_or_max, swap_max
from pyrun.spec.faults import Fault, Invalid, escape, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Resources = dict[str, Any]
    Convert = Callable[[Any], str | None]

POINTER = "/linux/resources"


class Write:
    """One write(2) into one file of the container's cgroup.

    pointer: JSON pointer of the property; controller: whose file it is ("" for cgroup.* of version 2); value: the text;
    optional: a missing or retired file is no error;
    pair: name of the file written next, if the kernel checks the two together and so may want the other order: when
    this write gets EINVAL, that one goes first;
    ceiling: name of a file with a number which must not be above value before the write ("": no check);
    otherwise: the write to do if the file is missing.
    """

    __slots__ = ("ceiling", "controller", "file", "optional", "otherwise", "pair", "pointer", "value")

    def __init__(
        self,
        pointer: str,
        controller: str,
        file: str,
        value: str,
        *,
        optional: bool = False,
        pair: str = "",
        ceiling: str = "",
        otherwise: Write | None = None,
    ) -> None:
        self.pointer = pointer
        self.controller = controller
        self.file = file
        self.value = value
        self.optional = optional
        self.pair = pair
        self.ceiling = ceiling
        self.otherwise = otherwise

    def __repr__(self) -> str:
        return f"Write({self.pointer}: {self.value!r} to {self.file})"


def _size(value: int) -> str | None:
    """Bytes, -1 for no limit, 0 for unset."""
    if value < -1:
        raise ValueError(f"must be -1 (no limit) or a number of bytes, not {value}")
    return str(value) if value else None


def _size_v2(value: int) -> str | None:
    return "max" if value == -1 else _size(value)


def _pids(value: int) -> str:
    if value < -1:
        raise ValueError(f"must be -1 (no limit) or a number of processes, not {value}")
    return limit_or_max(value)


def _positive(value: int) -> str | None:
    if value < 0:
        raise ValueError(f"must not be negative: {value}")
    return str(value) if value else None


def _number(value: int) -> str:
    return str(value)


def _quota(value: int) -> str | None:
    return str(value) if value else None


def _text(value: str) -> str | None:
    return value or None


def _flag(value: bool) -> str:
    return "1" if value else "0"


def _idle(value: int) -> str:
    if value not in (0, 1):
        raise ValueError(f"must be 0 or 1, not {value}")
    return str(value)


def _swappiness(value: int) -> str:
    if not 0 <= value <= 100:
        raise ValueError(f"must be 0 to 100, not {value}")
    return str(value)


def _class_id(value: int) -> str | None:
    if not 0 <= value <= 0xFFFFFFFF:
        raise ValueError(f"must be 0 to 4294967295, not {value}")
    return str(value) if value else None


def _weight(value: int) -> int:
    if value and not 10 <= value <= 1000:
        raise ValueError(f"must be 10 to 1000, not {value}")
    return value


def _shares_v2(value: int) -> str | None:
    if value < 0:
        raise ValueError(f"must not be negative: {value}")
    return str(cpu_weight(value)) if value else None


# section, member, controller, file, conversion, optional, pair.  The order of the rows is the order of the writes:
# cpuset before all (no process can join without it), of pairs the one which needs no help in a new cgroup first.
_Row = tuple[str, str, str, str, "Convert", bool, str]
_V1: tuple[_Row, ...] = (
    ("cpu", "cpus", "cpuset", "cpuset.cpus", _text, False, ""),
    ("cpu", "mems", "cpuset", "cpuset.mems", _text, False, ""),
    ("memory", "useHierarchy", "memory", "memory.use_hierarchy", _flag, False, ""),
    ("memory", "limit", "memory", "memory.limit_in_bytes", _size, False, "memory.memsw.limit_in_bytes"),
    ("memory", "swap", "memory", "memory.memsw.limit_in_bytes", _size, False, ""),
    ("memory", "reservation", "memory", "memory.soft_limit_in_bytes", _size, False, ""),
    ("memory", "kernel", "memory", "memory.kmem.limit_in_bytes", _size, True, ""),
    ("memory", "kernelTCP", "memory", "memory.kmem.tcp.limit_in_bytes", _size, True, ""),
    ("memory", "swappiness", "memory", "memory.swappiness", _swappiness, False, ""),
    ("memory", "disableOOMKiller", "memory", "memory.oom_control", _flag, False, ""),
    ("cpu", "shares", "cpu", "cpu.shares", _positive, False, "cpu.idle"),
    ("cpu", "idle", "cpu", "cpu.idle", _idle, False, ""),
    ("cpu", "period", "cpu", "cpu.cfs_period_us", _positive, False, "cpu.cfs_quota_us"),
    ("cpu", "quota", "cpu", "cpu.cfs_quota_us", _quota, False, "cpu.cfs_burst_us"),
    ("cpu", "burst", "cpu", "cpu.cfs_burst_us", _number, False, ""),
    ("cpu", "realtimePeriod", "cpu", "cpu.rt_period_us", _positive, False, "cpu.rt_runtime_us"),
    ("cpu", "realtimeRuntime", "cpu", "cpu.rt_runtime_us", _number, False, ""),
    ("pids", "limit", "pids", "pids.max", _pids, False, ""),
    ("network", "classID", "net_cls", "net_cls.classid", _class_id, False, ""),
)
_V2: tuple[_Row, ...] = (
    ("cpu", "cpus", "cpuset", "cpuset.cpus", _text, False, ""),
    ("cpu", "mems", "cpuset", "cpuset.mems", _text, False, ""),
    ("memory", "reservation", "memory", "memory.low", _size_v2, False, ""),
    ("cpu", "shares", "cpu", "cpu.weight", _shares_v2, False, "cpu.idle"),
    ("cpu", "idle", "cpu", "cpu.idle", _idle, False, ""),
    ("pids", "limit", "pids", "pids.max", _pids, False, ""),
)

# section, member, value that means nothing (so it is no fault), what to do instead.
_NOT_ON_V2: tuple[tuple[str, str, object, str], ...] = (
    ("memory", "swappiness", None, "version 2 has no swappiness of a cgroup; limit memory.swap"),
    ("memory", "disableOOMKiller", False, "version 2 can't switch the OOM killer off; raise memory.limit"),
    ("memory", "useHierarchy", True, "version 2 is always hierarchical"),
    ("cpu", "realtimeRuntime", 0, "version 2 has no real-time budget of a cgroup"),
    ("cpu", "realtimePeriod", 0, "version 2 has no real-time budget of a cgroup"),
    ("blockIO", "leafWeight", 0, "version 2 has no leaf weights; use weight"),
    ("network", "classID", 0, "version 2 matches packets by cgroup path: use nftables' socket cgroupv2"),
    ("network", "priorities", [], "version 2 matches packets by cgroup path: use nftables' socket cgroupv2"),
)

# member of blockIO, version 1 file, key in version 2's io.max.
_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)


def v1_writes(resources: Resources, pointer: str = POINTER, warnings: list[Fault] | None = None) -> list[Write]:
    """The writes for cgroup version 1, without device rules. Raises Invalid with every fault found.

    `pointer` is where `resources` stands in its document; `warnings` gets what a kernel takes without heeding it.
    """
    compiler = _Compiler(resources, pointer)
    compiler.warn("kernel", "has no effect since Linux 5.16", warnings)  # the write succeeds all the same
    for row in _V1:
        compiler.row(row)
    compiler.check_memory()
    compiler.check_burst()
    if compiler.get("memory", "swap") == -1:  # asks for nothing where the kernel has no swap accounting
        compiler.make_optional("memory.memsw.limit_in_bytes")
    if compiler.get("cpu", "realtimeRuntime") == 0:
        compiler.make_optional("cpu.rt_runtime_us")
    _v1_block_io(compiler)
    _hugepages(compiler, "limit_in_bytes")
    _v1_network(compiler)
    _rdma(compiler)
    if resources.get("unified"):
        compiler.fault("unified", "can't be set: this host has cgroup version 1", "MUST 111", "boot with version 2")
    return compiler.result()


def v2_writes(resources: Resources, pointer: str = POINTER, warnings: list[Fault] | None = None) -> list[Write]:
    """The writes for cgroup version 2, without device rules; otherwise as `v1_writes`."""
    compiler = _Compiler(resources, pointer)
    for section, member, nothing, hint in _NOT_ON_V2:
        value = compiler.get(section, member)
        if value is not None and value != nothing:
            compiler.fault(f"{section}/{member}", "can't be set: this host has cgroup version 2", "MUST 111", hint)
    compiler.warn("kernel", "has no effect on cgroup version 2", warnings)
    compiler.warn("kernelTCP", "has no effect on cgroup version 2", warnings)
    for row in _V2:
        compiler.row(row)
    _v2_memory(compiler)
    _v2_cpu(compiler)
    _v2_block_io(compiler)
    _hugepages(compiler, "max")
    _rdma(compiler)
    _unified(compiler)
    return compiler.result()


class _Compiler:
    """The writes and faults of one linux.resources while they are collected."""

    __slots__ = ("faults", "pointer", "resources", "writes")

    def __init__(self, resources: Resources, pointer: str) -> None:
        self.resources = resources
        self.pointer = pointer
        self.writes: list[Write] = []
        self.faults: list[Fault] = []

    def warn(self, member: str, problem: str, warnings: list[Fault] | None) -> None:
        if self.get("memory", member) and warnings is not None:
            hint = "memory.limit counts the kernel's memory too"
            warnings.append(Fault(f"{self.pointer}/memory/{member}", problem, hint=hint))

    def get(self, section: str, member: str) -> Any:
        """The value, None when it or its section is absent."""
        return (self.resources.get(section) or {}).get(member)

    def items(self, section: str, member: str) -> Iterator[tuple[str, Any]]:
        """(pointer below resources, entry) of an array."""
        for i, entry in enumerate(self.get(section, member) or ()):
            yield f"{section}/{member}/{i}", entry

    def fault(self, where: str, problem: str, rule: str = "MUST 80", hint: str = "") -> None:
        self.faults.append(Fault(f"{self.pointer}/{where}", problem, rule, hint))

    def write(
        self,
        where: str,
        controller: str,
        file: str,
        value: str,
        *,
        optional: bool = False,
        pair: str = "",
        ceiling: str = "",
        otherwise: Write | None = None,
    ) -> Write:
        write = Write(
            f"{self.pointer}/{where}",
            controller,
            file,
            value,
            optional=optional,
            pair=pair,
            ceiling=ceiling,
            otherwise=otherwise,
        )
        self.writes.append(write)
        return write

    def row(self, row: _Row) -> None:
        section, member, controller, file, convert, optional, pair = row
        value = self.get(section, member)
        if value is None:
            return
        try:
            text = convert(value)
        except ValueError as error:
            self.fault(f"{section}/{member}", str(error))
            return
        if text is not None:
            self.write(f"{section}/{member}", controller, file, text, optional=optional, pair=pair)

    def make_optional(self, file: str) -> None:
        for write in self.writes:
            if write.file == file:
                write.optional = True

    def check_memory(self) -> None:
        limit, swap = self.get("memory", "limit") or 0, self.get("memory", "swap") or 0
        if 0 < swap < limit:
            self.fault(
                "memory/swap", f"memory plus swap ({swap}) is less than memory ({limit})", hint="add the two for swap"
            )

    def check_burst(self) -> None:
        burst, quota = self.get("cpu", "burst"), self.get("cpu", "quota") or 0
        if burst is not None and burst < 0:
            self.fault("cpu/burst", f"must not be negative: {burst}")
        elif burst and 0 < quota < burst:
            self.fault("cpu/burst", f"{burst} µs is above the quota, {quota} µs", "MUST 105")

    def device(self, where: str, entry: Any) -> str:
        """An entry's device as MAJOR:MINOR."""
        for member in ("major", "minor"):
            if not 0 <= entry[member] <= 0xFFFFFFFF:
                self.fault(f"{where}/{member}", f"is no device number: {entry[member]}")
        return f"{entry['major']}:{entry['minor']}"

    def weight(self, where: str, value: Any) -> int:
        """A blkio weight, 0 for unset or faulty."""
        try:
            return _weight(value or 0)
        except ValueError as error:
            self.fault(where, str(error))
            return 0

    def weight_devices(self) -> Iterator[tuple[str, str, int, int]]:
        """(pointer below resources, "MAJOR:MINOR", weight, leaf weight), 0 for unset (MUST 106)."""
        for where, entry in self.items("blockIO", "weightDevice"):
            weight = self.weight(f"{where}/weight", entry.get("weight"))
            leaf = self.weight(f"{where}/leafWeight", entry.get("leafWeight"))
            if entry.get("weight") is None and entry.get("leafWeight") is None:
                self.fault(where, "needs weight or leafWeight", "MUST 106")
            yield where, self.device(where, entry), weight, leaf

    def result(self) -> list[Write]:
        if self.faults:
            raise Invalid(self.faults)
        return self.writes


def _v1_block_io(compiler: _Compiler) -> None:
    if not compiler.resources.get("blockIO"):
        return
    # Since Linux 5.0 only the BFQ scheduler has weights, in files of its own.
    for member, file, bfq in (
        ("weight", "blkio.weight", "blkio.bfq.weight"),
        ("leafWeight", "blkio.leaf_weight", ""),
    ):
        where = f"blockIO/{member}"
        if weight := compiler.weight(where, compiler.get("blockIO", member)):
            write = compiler.write(where, "blkio", file, str(weight))
            if bfq:
                write.otherwise = Write(write.pointer, "blkio", bfq, write.value)
    for where, device, weight, leaf in compiler.weight_devices():
        if weight:
            write = compiler.write(f"{where}/weight", "blkio", "blkio.weight_device", f"{device} {weight}")
            write.otherwise = Write(write.pointer, "blkio", "blkio.bfq.weight_device", write.value)
        if leaf:
            compiler.write(f"{where}/leafWeight", "blkio", "blkio.leaf_weight_device", f"{device} {leaf}")
    for member, file, _ in _THROTTLES:
        for where, entry in compiler.items("blockIO", member):
            rate = _rate(compiler, where, entry)
            compiler.write(where, "blkio", file, f"{compiler.device(where, entry)} {rate}")


def _v2_block_io(compiler: _Compiler) -> None:
    if not compiler.resources.get("blockIO"):
        return
    if weight := compiler.weight("blockIO/weight", compiler.get("blockIO", "weight")):
        write = compiler.write("blockIO/weight", "io", "io.bfq.weight", str(weight))
        write.otherwise = Write(write.pointer, "io", "io.weight", f"default {io_weight(weight)}")
    for where, device, weight, leaf in compiler.weight_devices():
        if weight:
            write = compiler.write(f"{where}/weight", "io", "io.bfq.weight", f"{device} {weight}")
            write.otherwise = Write(write.pointer, "io", "io.weight", f"{device} {io_weight(weight)}")
        if leaf:
            compiler.fault(
                f"{where}/leafWeight",
                "can't be set: this host has cgroup version 2",
                "MUST 111",
                "version 2 has no leaf weights; use weight",
            )
    for member, _, key in _THROTTLES:
        for where, entry in compiler.items("blockIO", member):
            rate = _rate(compiler, where, entry) or "max"  # version 1 takes 0 for no limit
            compiler.write(where, "io", "io.max", f"{compiler.device(where, entry)} {key}={rate}")


def _rate(compiler: _Compiler, where: str, entry: Any) -> int:
    rate: int = entry.get("rate") or 0
    if rate < 0:
        compiler.fault(f"{where}/rate", f"must not be negative: {rate}")
    return rate


def _hugepages(compiler: _Compiler, suffix: str) -> None:
    for i, entry in enumerate(compiler.resources.get("hugepageLimits") or ()):
        where, size, limit = f"hugepageLimits/{i}", entry["pageSize"], entry["limit"]
        number, unit = size[:-2], size[-2:]
        if unit not in ("KB", "MB", "GB") or not (number.isascii() and number.isdigit()) or number.startswith("0"):
            compiler.fault(f"{where}/pageSize", f"must be a page size such as 2MB, not {show(size)}")
            continue
        if limit < 0:
            compiler.fault(f"{where}/limit", f"must not be negative: {limit}")
        # The reservation first: with the plain limit alone a page which is missing is a SIGBUS, not an ENOMEM at mmap.
        compiler.write(f"{where}/limit", "hugetlb", f"hugetlb.{size}.rsvd.{suffix}", str(limit), optional=True)
        compiler.write(f"{where}/limit", "hugetlb", f"hugetlb.{size}.{suffix}", str(limit))


def _v1_network(compiler: _Compiler) -> None:
    for where, entry in compiler.items("network", "priorities"):
        name, priority = entry["name"], entry["priority"]
        if not _is_word(name):
            compiler.fault(f"{where}/name", f"is no interface name: {show(name)}")
        if not 0 <= priority <= 0xFFFFFFFF:
            compiler.fault(f"{where}/priority", f"must be 0 to 4294967295, not {priority}")
        compiler.write(where, "net_prio", "net_prio.ifpriomap", f"{name} {priority}")


def _rdma(compiler: _Compiler) -> None:
    for device, entry in (compiler.resources.get("rdma") or {}).items():
        where = f"rdma/{escape(device)}"
        if not _is_word(device):
            compiler.fault(where, f"is no RDMA device name: {show(device)}")
        limits = []
        for member, key in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            value = entry.get(member)
            if value is not None:
                if not 0 <= value <= 0xFFFFFFFF:
                    compiler.fault(f"{where}/{member}", f"must be 0 to 4294967295, not {value}")
                limits.append(f"{key}={value}")
        if not limits:
            compiler.fault(where, "needs hcaHandles or hcaObjects", "MUST 107")
        compiler.write(where, "rdma", "rdma.max", " ".join([device, *limits]))


def _v2_memory(compiler: _Compiler) -> None:
    limit, swap = compiler.get("memory", "limit") or 0, compiler.get("memory", "swap") or 0
    if swap < -1:
        compiler.fault("memory/swap", f"must be -1 (no limit) or a number of bytes, not {swap}")
        swap = 0
    try:
        text = swap_max(swap, limit)
    except ValueError as error:
        compiler.fault("memory/swap", str(error), hint="add the two for swap" if limit else "")
    else:
        if text is not None:
            # Without swap accounting the file is missing; "no swap limit" and "no swap" ask for nothing then.
            where = "memory/swap" if swap else "memory/limit"
            compiler.write(where, "memory", "memory.swap.max", text, optional=text in ("max", "0"))
    compiler.row(("memory", "limit", "memory", "memory.max", _size_v2, False, ""))
    # Version 2 takes a limit below the usage and kills; version 1 refuses it by itself (MUST 104).
    if limit > 0 and compiler.get("memory", "checkBeforeUpdate"):
        compiler.writes[-1].ceiling = "memory.current"


def _v2_cpu(compiler: _Compiler) -> None:
    quota, period = compiler.get("cpu", "quota") or 0, compiler.get("cpu", "period") or 0
    if period < 0:
        compiler.fault("cpu/period", f"must not be negative: {period}")
    compiler.check_burst()
    text = cpu_max(quota, period)
    if text is not None:
        compiler.write("cpu/quota" if quota else "cpu/period", "cpu", "cpu.max", text, pair="cpu.max.burst")
    if (burst := compiler.get("cpu", "burst")) is not None:
        compiler.write("cpu/burst", "cpu", "cpu.max.burst", str(burst))


def _unified(compiler: _Compiler) -> None:
    for key, value in (compiler.resources.get("unified") or {}).items():
        where = f"unified/{escape(key)}"
        if not _is_word(key) or key in (".", ".."):
            compiler.fault(where, f"is no name of a file in the cgroup: {show(key)}")
            continue
        controller = key.partition(".")[0]
        for line in value.splitlines() or [""]:  # files such as io.max take one line a write
            compiler.write(where, "" if controller == "cgroup" else controller, key, line)


def _is_word(text: str) -> bool:
    return bool(text) and text.isprintable() and " " not in text and "/" not in text
