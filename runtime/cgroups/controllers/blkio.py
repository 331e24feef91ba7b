"""blkio, which is io on version 2: weights and throttles of block devices (cgroup-v1/blkio-controller.rst;
cgroup-v2.rst, "IO")."""

from __future__ import annotations

from errno import ENODEV

from pyrun.cgroups.controller import Controller, Write
from pyrun.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyrun.cgroups.controller import Wanted
    from pyrun.cgroups.properties import Properties
    from pyrun.cgroups.statistics import Figures
    from pyrun.spec.faults import Fault

# member, version 1's file, key in version 2's io.max
_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)
_NO_SUCH_DEVICE = "there is no block device with these numbers"
_NO_LEAF = "version 2 has no leaf weights; use weight"


class Blkio(Controller):
    hints = {
        ("io.max", ENODEV): _NO_SUCH_DEVICE,
        **{(file, ENODEV): _NO_SUCH_DEVICE for _, file, _ in _THROTTLES},
    }
    annotations = (
        ("BlockIODeviceWeight", "a(st)", "", "blkio.weight_device"),
        ("BlockIOReadBandwidth", "a(st)", "", "blkio.throttle.read_bps_device"),
        ("BlockIOWeight", "t", "", "blkio.weight"),
        ("BlockIOWriteBandwidth", "a(st)", "", "blkio.throttle.write_bps_device"),
        ("IODeviceLatencyTargetUSec", "a(st)", "io.latency", ""),
        ("IODeviceWeight", "a(st)", "io.weight", ""),
        ("IOReadBandwidthMax", "a(st)", "io.max", ""),
        ("IOReadIOPSMax", "a(st)", "io.max", ""),
        ("IOWeight", "t", "io.weight", ""),
        ("IOWriteBandwidthMax", "a(st)", "io.max", ""),
        ("IOWriteIOPSMax", "a(st)", "io.max", ""),
        ("StartupBlockIOWeight", "t", "", "blkio.weight"),
        ("StartupIOWeight", "t", "io.weight", ""),
    )
    decided_by = {"io.bfq.weight": "io.weight"}

    def v1(self, wanted: Wanted) -> None:
        # Since Linux 5.0 only the BFQ scheduler has weights, in files of its own.
        if weight := wanted.get("blockIO", "weight"):
            _either(wanted, "blockIO/weight", "blkio", ("blkio.weight", "blkio.bfq.weight"), str(weight))
        if leaf := wanted.get("blockIO", "leafWeight"):
            wanted.write("blockIO/leafWeight", "blkio", "blkio.leaf_weight", str(leaf))
        for where, entry in wanted.items("blockIO", "weightDevice"):
            if weight := entry.get("weight"):
                names = ("blkio.weight_device", "blkio.bfq.weight_device")
                _either(wanted, f"{where}/weight", "blkio", names, f"{_device(entry)} {weight}")
            if leaf := entry.get("leafWeight"):
                wanted.write(f"{where}/leafWeight", "blkio", "blkio.leaf_weight_device", f"{_device(entry)} {leaf}")
        for member, file, _ in _THROTTLES:
            for where, entry in wanted.items("blockIO", member):
                wanted.write(where, "blkio", file, f"{_device(entry)} {entry.get('rate', 0)}")

    def v2(self, wanted: Wanted) -> None:
        names = ("io.bfq.weight", "io.weight")
        if weight := wanted.get("blockIO", "weight"):
            _either(wanted, "blockIO/weight", "io", names, str(weight), f"default {io_weight(weight)}")
        if wanted.get("blockIO", "leafWeight"):
            wanted.cannot("blockIO/leafWeight", _NO_LEAF)
        for where, entry in wanted.items("blockIO", "weightDevice"):
            device = _device(entry)
            if weight := entry.get("weight"):
                texts = f"{device} {weight}", f"{device} {io_weight(weight)}"
                _either(wanted, f"{where}/weight", "io", names, *texts)
            if entry.get("leafWeight"):
                wanted.cannot(f"{where}/leafWeight", _NO_LEAF)
        for member, _, key in _THROTTLES:
            for where, entry in wanted.items("blockIO", member):
                rate = entry.get("rate") or "max"  # version 1 takes 0 for no limit
                wanted.write(where, "io", "io.max", f"{_device(entry)} {key}={rate}")

    def properties(self, said: Properties) -> None:
        if said.v2:
            said.member("blockIO", "weight", "IOWeight", "t", lambda weight: io_weight(weight) or None)
        else:
            said.member("blockIO", "weight", "BlockIOWeight", "t", said.limit)

    def statistics(self, figures: Figures) -> dict[str, Any]:
        return {"blkio": _v2_statistics(figures) if figures.v2 else _v1_statistics(figures)}

    def lacks(self, wanted: Wanted) -> Iterator[Fault]:
        for member in ("weightDevice", *(member for member, _, _ in _THROTTLES)):
            for where, entry in wanted.items("blockIO", member):
                device = f"/sys/dev/block/{_device(entry)}"
                if not files.exists(device):
                    yield wanted.fault(where, _NO_SUCH_DEVICE, "MUST 30")
                elif files.exists(f"{device}/partition"):
                    yield wanted.fault(where, "is a partition, and only a whole device can be limited", "MUST 30")


def io_weight(weight: int) -> int:
    """blkio weight (10 to 1000) → io.weight (1 to 10000), linear; 0 (unset) stays 0."""
    return 0 if weight == 0 else 1 + (weight - 10) * 9999 // 990


def _device(entry: dict[str, int]) -> str:
    return f"{entry['major']}:{entry['minor']}"


def _either(
    wanted: Wanted, where: str, controller: str, names: tuple[str, str], text: str, otherwise: str = ""
) -> None:
    """Into the first file that there is; `otherwise`: what the second one takes, if not the same."""
    write = wanted.write(where, controller, names[0], text)
    write.otherwise = Write(write.pointer, controller, names[1], otherwise or text)


def _v1_statistics(figures: Figures) -> dict[str, Any]:
    names = {
        "ioServiceBytesRecursive": "blkio.throttle.io_service_bytes_recursive",
        "ioServicedRecursive": "blkio.throttle.io_serviced_recursive",
    }
    found: dict[str, Any] = {}
    for name, file in names.items():
        rows = (line.split() for line in figures.text("blkio", file).splitlines())
        found[name] = [_row(words[0], words[1], words[2]) for words in rows if len(words) == 3 and ":" in words[0]]
    return found


def _v2_statistics(figures: Figures) -> dict[str, Any]:
    amounts: list[dict[str, Any]] = []
    counts: list[dict[str, Any]] = []
    kinds = {
        "rbytes": ("Read", amounts),
        "wbytes": ("Write", amounts),
        "rios": ("Read", counts),
        "wios": ("Write", counts),
    }
    for line in figures.text("io", "io.stat").splitlines():
        device, *pairs = line.split()
        for key, _, value in (pair.partition("=") for pair in pairs):
            if key in kinds and value.isdigit():
                operation, into = kinds[key]
                into.append(_row(device, operation, value))
    return {"ioServiceBytesRecursive": amounts, "ioServicedRecursive": counts, **figures.pressure("io.pressure")}


def _row(device: str, operation: str, value: str) -> dict[str, Any]:
    major, _, minor = device.partition(":")
    return {"major": int(major), "minor": int(minor), "op": operation, "value": int(value)}


CONTROLLER = Blkio()
