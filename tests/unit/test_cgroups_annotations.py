"""Annotations as properties of a scope: what is allowed, and in which form."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from errors import says

from pyrun.cgroups import gvariant
from pyrun.cgroups.annotations import _CONDUCT, _FIXED, _FORMS, _LIMITS, annotated, contested
from pyrun.cgroups.resources import compile_writes
from pyrun.spec.faults import Invalid

PREFIX = "org.systemd.property."
MIB = 1 << 20


def rows(annotations: dict[str, str], *, v2: bool = True) -> list[tuple[str, str, Any]]:
    wanted = annotated({PREFIX + name: text for name, text in annotations.items()}, v2=v2)
    return [(row.name, row.signature, row.value) for row in wanted]


def refused(name: str, text: str, words: str, *, v2: bool = True) -> str:
    """The hint."""
    with pytest.raises(Invalid, match=words) as caught:
        rows({name: text}, v2=v2)
    (fault,) = caught.value.faults
    assert fault.pointer == "/annotations/" + (PREFIX + name).replace("/", "~1")
    assert "\n" not in str(fault)
    return fault.hint


def test_what_managers_say() -> None:
    """CRI-O says the first four."""
    said = {
        "TimeoutStopUSec": "uint64 10000000",
        "CollectMode": "'inactive-or-failed'",
        "DefaultDependencies": "true",
        "After": "['crio.service']",
        "Delegate": "true",
        "CPUAccounting": "true",
    }
    # What a scope of ours has anyway is not said again.
    assert rows(said) == [
        ("TimeoutStopUSec", "t", 10_000_000),
        ("DefaultDependencies", "b", True),
        ("After", "as", ["crio.service"]),
    ]


def test_values() -> None:
    assert annotated({"org.example": "nothing", "org.systemd.properties": "1"}, v2=True) == []
    assert rows({"AllowedCPUs": "[byte 1, byte 3]"}) == [("AllowedCPUs", "ay", b"\1\3")]
    assert rows({"IOReadBandwidthMax": "[('/dev/sda', uint64 5)]"}) == [
        ("IOReadBandwidthMax", "a(st)", [("/dev/sda", 5)])
    ]


def test_seconds() -> None:
    assert rows({"RuntimeMaxSec": "1.5", "TimeoutStopSec": "2"}) == [
        ("RuntimeMaxUSec", "t", 1_500_000),
        ("TimeoutStopUSec", "t", 2_000_000),
    ]


# A value of each type, and none of any other.
VALUES = {
    "a(st)": "[('/dev/sda', uint64 1)]",
    "as": "['x.service']",
    "ay": "[byte 1]",
    "b": "true",
    "i": "15",
    "s": "'auto'",
    "t": "uint64 1",
    "u": "uint32 1",
}


@pytest.mark.parametrize(("name", "signature"), sorted({row[0]: row[1] for row in _LIMITS}.items() | _CONDUCT.items()))
def test_types(name: str, signature: str) -> None:
    v2 = not any(row[0] == name and not row[2] for row in _LIMITS)
    assert [row[:2] for row in rows({name: VALUES[signature]}, v2=v2)] == [(name, signature)]
    for other, text in VALUES.items():
        if other != signature:
            refused(name, text, f"{name} must be a", v2=v2) if signature != "b" else refused(
                name, text, "true or false"
            )


def test_forms_are_of_their_types() -> None:
    for signature, form in _FORMS.items():
        example = form.rpartition(" as ")[2] if " as " in form else "true"
        assert gvariant.parse(example)[0] == signature


@pytest.mark.parametrize(
    "name",
    [
        # what starts or stops others, under today's names, yesterday's and tomorrow's
        "Requires", "RequiresOverridable", "RequisiteOverridable", "ReloadPropagatedFrom", "Before", "OnFailure",
        "SomethingNew",
        # programs, files, the machine
        "BPFProgram", "IPIngressFilterPath", "IPEgressFilterPath", "NFTSet", "RebootArgument", "SourcePath",
        "FailureAction", "JobTimeoutAction", "IPAddressAllow",
        # what keeps a scope from being made or from going, or hides it
        "Conditions", "Asserts", "AddRef", "Description", "FinalKillSignal", "ManagedOOMPreference", "RefuseManualStop",
        # where it is, and what belongs to it
        "PIDs", "PIDFDs", "Slice", "ControlGroup", "User", "Group", "DevicePolicy", "DeviceAllow", "DisableControllers",
        "DelegateControllers", "DelegateSubgroup", "Controller",
        # none
        "a/b", "", "timeoutStopUSec", "CPUQuota",
    ],
)  # fmt: skip
@pytest.mark.parametrize("v2", [True, False])
def test_what_is_not_allowed(name: str, v2: bool) -> None:
    hint = refused(name, "true", "can't be set by an annotation", v2=v2)
    assert "TimeoutStopUSec" in hint
    with pytest.raises(Invalid) as caught:
        rows({name: "true"}, v2=v2)
    says("an_annotation", str(caught.value))
    assert ("(Startup)CPUWeight" in hint, "(Startup)CPUShares" in hint) == (v2, not v2)


def test_the_documents_name_what_is_allowed() -> None:
    text = (Path(__file__).parents[2] / "docs/systemd.md").read_text()
    cells = [row.split(" | ")[0] for row in re.findall(r"^\| ([A-Z].*)", text, re.MULTILINE)]
    allowed = [name for name, *_ in _LIMITS] + [*_CONDUCT, *_FIXED]
    assert sorted(name for cell in cells for name in cell.split(", ")) == sorted(allowed)


def test_what_is_allowed_is_told_once() -> None:
    with pytest.raises(Invalid) as caught:
        annotated({PREFIX + "Foo": "1", PREFIX + "Bar": "1"}, v2=True)
    assert [bool(fault.hint) for fault in caught.value.faults] == [True, False]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("TimeoutStopUSec", "soon", "'soon' where a value is expected"),
        ("TimeoutStopUSec", "5", 'TimeoutStopUSec must be a uint64, as uint64 5; got "5"'),
        ("TimeoutStopSec", "-1", "is no number of seconds"),
        ("TimeoutStopSec", "true", "is no number of seconds"),
        ("CollectMode", "'inactive'", "CollectMode must be 'inactive-or-failed'"),
        ("KillMode", "'none'", "KillMode must be 'control-group'"),
        ("SendSIGKILL", "false", "SendSIGKILL must be true"),
        ("TasksAccounting", "1", "TasksAccounting must be true"),
        ("Delegate", "false", "Delegate must be true"),
        ("After", "['x.service', 'sysinit.target']", "After must name services"),
        ("CPUShares", "uint64 5", "CPUShares is of cgroup version 1, and this host has version 2"),
    ],
)
def test_values_that_are_refused(name: str, text: str, words: str) -> None:
    refused(name, text, words)


def test_one_property_twice() -> None:
    with pytest.raises(Invalid, match=r"TimeoutStopUSec is set by /annotations/org\.systemd\.property\.TimeoutStopSec"):
        rows({"TimeoutStopSec": "1", "TimeoutStopUSec": "uint64 5"})


@pytest.mark.parametrize(
    ("resources", "name", "text", "where"),
    [
        ({"memory": {"limit": MIB}}, "MemoryMax", "uint64 1", "memory/limit"),
        ({"memory": {"limit": MIB}}, "StartupMemoryMax", "uint64 1", "memory/limit"),
        ({"memory": {"limit": MIB}}, "MemoryHigh", "uint64 1", None),
        ({"cpu": {"shares": 512}}, "StartupCPUWeight", "uint64 1", "cpu/shares"),
        ({"cpu": {"idle": 1}}, "CPUWeight", "uint64 1", "cpu/idle"),
        ({"cpu": {"period": 50000}}, "CPUQuotaPerSecUSec", "uint64 1", "cpu/period"),
        ({"cpu": {"cpus": "9999"}}, "AllowedCPUs", "[byte 1]", "cpu/cpus"),
        # systemd can't be told of the first: the property would be all that it knows
        ({"pids": {"limit": 0}}, "TasksMax", "uint64 1", "pids/limit"),
        ({"blockIO": {"weight": 10}}, "IODeviceWeight", "[('/dev/sda', uint64 1)]", "blockIO/weight"),
        ({"unified": {"io.max": "8:0 rbps=1"}}, "IOWriteIOPSMax", "[('/dev/sda', uint64 1)]", "unified/io.max"),
        ({"unified": {"memory.zswap.max": "0"}}, "MemoryZSwapMax", "uint64 1", "unified/memory.zswap.max"),
        ({"unified": {"memory.oom.group": "0"}}, "OOMPolicy", "'kill'", "unified/memory.oom.group"),
        ({"memory": {"limit": MIB}}, "TimeoutStopUSec", "uint64 1", None),
    ],
)
def test_limits_of_the_config_win(resources: Any, name: str, text: str, where: str | None) -> None:
    wanted = annotated({PREFIX + name: text}, v2=True)
    writes = compile_writes(resources, v2=True)
    if where is None:
        contested(wanted, writes, v2=True)
        return
    with pytest.raises(Invalid, match=f"{name} is set by /linux/resources/{where} already"):
        contested(wanted, writes, v2=True)


@pytest.mark.parametrize(
    ("resources", "name", "where"),
    [
        ({"memory": {"limit": MIB}}, "MemoryLimit", "memory/limit"),
        ({"cpu": {"shares": 512}}, "StartupCPUShares", "cpu/shares"),
        ({"cpu": {"period": 50000}}, "CPUQuotaPerSecUSec", "cpu/period"),
        ({"blockIO": {"weight": 10}}, "BlockIOWeight", "blockIO/weight"),
    ],
)
def test_limits_of_the_config_win_on_version_1(resources: Any, name: str, where: str) -> None:
    wanted = annotated({PREFIX + name: "uint64 1"}, v2=False)
    with pytest.raises(Invalid, match=f"{name} is set by /linux/resources/{where} already"):
        contested(wanted, compile_writes(resources, v2=False), v2=False)
