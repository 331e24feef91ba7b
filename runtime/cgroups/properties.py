"""linux.resources → properties of a systemd scope (systemd.resource-control(5)). Pure.

systemd writes to the same files as pyrun, whenever it likes: at a daemon-reload, or when a sibling changes. So whatever
it can be told it is told; what it can't say, or says less exactly, is written to the files afterwards (`resources`).
"""

from __future__ import annotations

from pyrun.cgroups import devices
from pyrun.cgroups.conversions import cpu_weight, io_weight, swap_max
from pyrun.spec import ranges
from pyrun.spec.faults import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrun.cgroups.resources import Resources

POINTER = "/linux/resources"
INFINITY = (1 << 64) - 1  # CGROUP_LIMIT_MAX, USEC_INFINITY
_ACCESS = (("r", devices.READ), ("w", devices.WRITE), ("m", devices.MKNOD))
_EVERYTHING = ("a", -1, -1, devices.MKNOD | devices.READ | devices.WRITE)
_PER_CENT = 10_000  # µs of a second: systemd keeps a quota in whole per cent
_DEFAULT_PERIOD = 100_000


class Property:
    """name and value of a unit's property; signature: of its D-Bus type; pointer: of what asked for it."""

    __slots__ = ("name", "pointer", "signature", "value")

    def __init__(self, pointer: str, name: str, signature: str, value: Any) -> None:
        self.pointer = pointer
        self.name = name
        self.signature = signature
        self.value = value

    def __repr__(self) -> str:
        return f"Property({self.pointer}: {self.name}={self.value!r})"


def _limit(value: int) -> int | None:
    """-1 is none. 0 is unset, but for pids: there systemd takes no limit below 1, and it is left to the file."""
    return INFINITY if value == -1 else value or None


def _mask(text: str) -> bytes | None:
    """A list of CPUs or memory nodes as a bit mask, the lowest first; none for what only the kernel can judge."""
    try:
        numbers = ranges.parse(text)
    except ValueError:
        return None
    if not numbers:
        return None
    return sum(1 << number for number in numbers).to_bytes(numbers[-1] // 8 + 1, "little")


def _size(text: str) -> int | None:
    """Bytes as the kernel's files take them: a number with K, M or G, or max."""
    if text == "max":
        return INFINITY
    power = "KMGTPE".find(text[-1:].upper()) + 1
    return int(text[:-1] if power else text) << 10 * power


def _count(text: str) -> int | None:
    return INFINITY if text == "max" else int(text) or None


# section, member, property, signature, conversion (None: not to be said)
_Row = tuple[str, str, str, str, "Callable[[Any], Any]"]
_V1: tuple[_Row, ...] = (
    ("memory", "limit", "MemoryLimit", "t", _limit),
    ("cpu", "shares", "CPUShares", "t", _limit),
    ("blockIO", "weight", "BlockIOWeight", "t", _limit),
    ("pids", "limit", "TasksMax", "t", _limit),
)
_V2: tuple[_Row, ...] = (
    ("cpu", "cpus", "AllowedCPUs", "ay", _mask),
    ("cpu", "mems", "AllowedMemoryNodes", "ay", _mask),
    ("memory", "limit", "MemoryMax", "t", _limit),
    ("memory", "reservation", "MemoryLow", "t", _limit),
    ("cpu", "shares", "CPUWeight", "t", lambda shares: cpu_weight(shares) or None),
    ("blockIO", "weight", "IOWeight", "t", lambda weight: io_weight(weight) or None),
    ("pids", "limit", "TasksMax", "t", _limit),
)
# Keys of `unified`; cpu.max has two properties.
_UNIFIED: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "cpu.weight": ("CPUWeight", "t", int),
    "cpuset.cpus": ("AllowedCPUs", "ay", _mask),
    "cpuset.mems": ("AllowedMemoryNodes", "ay", _mask),
    "memory.high": ("MemoryHigh", "t", _size),
    "memory.low": ("MemoryLow", "t", _size),
    "memory.max": ("MemoryMax", "t", _size),
    "memory.min": ("MemoryMin", "t", _size),
    "memory.swap.max": ("MemorySwapMax", "t", _size),
    "pids.max": ("TasksMax", "t", _count),
}


def limits(resources: Resources, *, v2: bool) -> list[Property]:
    """The properties for linux.resources, which the compiler of `resources` has found right; without device rules."""
    found: dict[str, Property] = {}

    def say(where: str, name: str, signature: str, value: Any) -> None:
        if value is not None:
            found[name] = Property(f"{POINTER}/{where}", name, signature, value)

    for section, member, name, signature, convert in _V2 if v2 else _V1:
        value = (resources.get(section) or {}).get(member)
        if value is not None:
            say(f"{section}/{member}", name, signature, convert(value))
    cpu, memory = resources.get("cpu") or {}, resources.get("memory") or {}
    _quota(say, "cpu/quota", cpu.get("quota") or 0, cpu.get("period") or 0)
    if v2:
        if cpu.get("idle"):
            found.pop("CPUWeight", None)  # the kernel takes no weight from an idle cgroup
        swap = swap_max(memory.get("swap") or 0, memory.get("limit") or 0)
        say("memory/swap", "MemorySwapMax", "t", _size(swap) if swap else None)
        for key, text in (resources.get("unified") or {}).items():
            where = f"unified/{escape(key)}"
            try:
                if key == "cpu.max":
                    quota, _, period = text.partition(" ")
                    _quota(say, where, -1 if quota == "max" else int(quota), int(period or 0))
                elif key in _UNIFIED:
                    name, signature, parse = _UNIFIED[key]
                    say(where, name, signature, parse(text.strip()))
            except ValueError:
                continue  # in a form that only the kernel knows, or in none: the write to the file will tell
    return list(found.values())


def _quota(say: Callable[[str, str, str, Any], None], where: str, quota: int, period: int) -> None:
    if quota > 0:
        per_second = quota * 1_000_000 // (period or _DEFAULT_PERIOD)
        # Rounded up: a quota that systemd writes must not be below what was asked for.
        say(where, "CPUQuotaPerSecUSec", "t", -(-per_second // _PER_CENT) * _PER_CENT)
    elif quota:
        say(where, "CPUQuotaPerSecUSec", "t", INFINITY)
    if period:
        say(where, "CPUQuotaPeriodUSec", "t", period)


# Devices --------------------------------------------------------------------------------------------------------------


def device_rules(rules: list[dict[str, Any]], drivers: str) -> list[Property]:
    """DevicePolicy and DeviceAllow, which allow all that the rules allow; drivers: the text of /proc/devices.

    On version 2 systemd's program and pyrun's own are both asked, so that more than the rules allow is no hole here; on
    version 1 it is what remains of them after a daemon-reload. systemd knows a whole driver by its name only: where
    the rules can't be said it is told to leave devices alone."""
    parsed = devices.parse(rules)
    if not parsed:
        return []
    allowed: list[tuple[str, int, int, int]] = []
    for allow, kind, major, minor, access in (*parsed, *devices.DEFAULT_RULES):
        if allow:
            allowed += [(k, major, minor, access) for k in (("b", "c") if kind == "a" else (kind,))]
        elif (kind, major, minor, access) == _EVERYTHING:
            allowed.clear()
    names = _drivers(drivers)
    lines: dict[str, int] = {}  # systemd takes the last of two entries for one device
    for kind, major, minor, access in allowed:
        line = _device(kind, major, minor, names)
        if not line:
            return [Property(devices.POINTER, "DevicePolicy", "s", "auto")]
        lines[line] = lines.get(line, 0) | access
    said = [(line, "".join(letter for letter, bit in _ACCESS if bits & bit)) for line, bits in lines.items()]
    return [
        Property(devices.POINTER, "DevicePolicy", "s", "strict"),
        Property(devices.POINTER, "DeviceAllow", "a(ss)", said),
    ]


def _device(kind: str, major: int, minor: int, names: dict[tuple[str, int], str]) -> str:
    """As DeviceAllow= names a device, or all of a driver's; "" for what it can't say."""
    folder = {"b": "block", "c": "char"}[kind]
    if major >= 0 and minor >= 0:
        return f"/dev/{folder}/{major}:{minor}"
    if major < 0:
        return f"{folder}-*" if minor < 0 else ""
    name = names.get((kind, major), "")
    return f"{folder}-{name}" if name else ""


def _drivers(text: str) -> dict[tuple[str, int], str]:
    """(b or c, major) → name (proc(5), /proc/devices)."""
    found = {}
    kind = ""
    for line in text.splitlines():
        if line.endswith("devices:"):
            kind = line[0].lower()
        elif kind and line.strip():
            major, _, name = line.strip().partition(" ")
            found[kind, int(major)] = name
    return found
