"""linux.resources as properties of a scope."""

from __future__ import annotations

from typing import Any

import pytest

from pyrun.cgroups.controllers.devices import device_properties
from pyrun.cgroups.properties import INFINITY, limits

MIB = 1 << 20
DRIVERS = "Character devices:\n  1 mem\n 10 misc\n136 pts\n\nBlock devices:\n  8 sd\n259 blkext\n"
DENY_ALL = {"allow": False, "access": "rwm"}


def said(resources: dict[str, Any], *, v2: bool = True) -> dict[str, Any]:
    return {row.name: row.value for row in limits(resources, v2=v2)}


@pytest.mark.parametrize(
    ("resources", "v2", "v1"),
    [
        ({"memory": {"limit": MIB}}, {"MemoryMax": MIB}, {"MemoryLimit": MIB}),
        ({"memory": {"limit": -1}}, {"MemoryMax": INFINITY, "MemorySwapMax": INFINITY}, {"MemoryLimit": INFINITY}),
        ({"memory": {"limit": 0}}, {}, {}),
        (
            {"memory": {"limit": MIB, "swap": 3 * MIB, "reservation": 7}},
            {"MemoryMax": MIB, "MemorySwapMax": 2 * MIB, "MemoryLow": 7},
            {"MemoryLimit": MIB},
        ),
        ({"cpu": {"shares": 1024}}, {"CPUWeight": 100}, {"CPUShares": 1024}),
        ({"cpu": {"shares": 1024, "idle": 1}}, {}, {"CPUShares": 1024}),
        (
            {"cpu": {"quota": 50000, "period": 200000}},
            {"CPUQuotaPerSecUSec": 250000, "CPUQuotaPeriodUSec": 200000},
            {"CPUQuotaPerSecUSec": 250000, "CPUQuotaPeriodUSec": 200000},
        ),
        ({"cpu": {"quota": 12345}}, {"CPUQuotaPerSecUSec": 130000}, {"CPUQuotaPerSecUSec": 130000}),
        ({"cpu": {"quota": -1}}, {"CPUQuotaPerSecUSec": INFINITY}, {"CPUQuotaPerSecUSec": INFINITY}),
        ({"cpu": {"cpus": "0,8-9", "mems": "0"}}, {"AllowedCPUs": b"\x01\x03", "AllowedMemoryNodes": b"\x01"}, {}),
        ({"cpu": {"cpus": "9999"}}, {}, {}),  # the kernel's to refuse
        ({"pids": {"limit": 5}}, {"TasksMax": 5}, {"TasksMax": 5}),
        ({"pids": {"limit": -1}}, {"TasksMax": INFINITY}, {"TasksMax": INFINITY}),
        ({"pids": {"limit": 0}}, {"TasksMax": 1}, {"TasksMax": 1}),
        ({"blockIO": {"weight": 500}}, {"IOWeight": 4950}, {"BlockIOWeight": 500}),
    ],
)
def test_limits(resources: dict[str, Any], v2: dict[str, Any], v1: dict[str, Any]) -> None:
    assert said(resources) == v2
    assert said(resources, v2=False) == v1


@pytest.mark.parametrize(
    ("key", "text", "properties"),
    [
        ("cpu.max", "max 50000", {"CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 50000}),
        ("cpu.max", "20000", {"CPUQuotaPerSecUSec": 200000}),
        ("cpu.weight", "42", {"CPUWeight": 42}),
        ("cpuset.cpus", "1", {"AllowedCPUs": b"\x02"}),
        ("memory.high", "8M", {"MemoryHigh": 8 * MIB}),
        ("memory.min", "4096", {"MemoryMin": 4096}),
        ("memory.swap.max", "max", {"MemorySwapMax": INFINITY}),
        ("pids.max", "7", {"TasksMax": 7}),
        ("io.max", "8:0 rbps=1", {}),
        ("memory.high", "what", {}),
    ],
)
def test_unified(key: str, text: str, properties: dict[str, Any]) -> None:
    rows = limits({"unified": {key: text}}, v2=True)
    assert {row.name: row.value for row in rows} == properties
    assert all(row.pointer == f"/linux/resources/unified/{key}" for row in rows)


def test_unified_is_written_last() -> None:
    assert said({"memory": {"limit": MIB}, "unified": {"memory.max": "2M"}}) == {"MemoryMax": 2 * MIB}


def test_devices() -> None:
    rules = [DENY_ALL, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}]
    policy, allowed = device_properties(rules, DRIVERS)
    assert (policy.name, policy.value) == ("DevicePolicy", "strict")
    assert ("/dev/char/10:229", "rw") in allowed.value
    assert ("/dev/char/1:3", "rwm") in allowed.value
    assert ("char-pts", "rwm") in allowed.value
    assert ("char-*", "m") in allowed.value


def test_devices_of_a_driver_and_of_all() -> None:
    rules = [DENY_ALL, {"allow": True, "type": "b", "major": 8, "access": "r"}, {"allow": True, "access": "w"}]
    _, allowed = device_properties(rules, DRIVERS)
    # One line a device: of two systemd would take the last.
    assert allowed.value[:3] == [("block-sd", "r"), ("block-*", "wm"), ("char-*", "wm")]


def test_what_is_denied_again_is_not_allowed() -> None:
    _, allowed = device_properties([{"allow": True, "access": "rwm"}, DENY_ALL], DRIVERS)
    assert ("char-*", "rwm") not in allowed.value


@pytest.mark.parametrize("rule", [{"minor": 3}, {"type": "c", "major": 250}])
def test_devices_that_systemd_has_no_words_for(rule: dict[str, Any]) -> None:
    """It would allow less than the rules."""
    rows = device_properties([DENY_ALL, {"allow": True, "access": "rwm", **rule}], DRIVERS)
    assert [(row.name, row.value) for row in rows] == [("DevicePolicy", "auto")]


def test_no_rules_say_nothing() -> None:
    assert device_properties([], DRIVERS) == []
