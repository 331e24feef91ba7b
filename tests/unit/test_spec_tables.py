"""The tables against what the running system and its libraries know."""

from __future__ import annotations

import os
import resource
import signal
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any

import prctl
import pytest

from pyrun.spec import (
    devices,
    execution,
    mount_options,
    namespaces,
    ranges,
    schema,
    seccomp,
    signals,
    sysctls,
)
from pyrun.spec.capabilities import CAPABILITIES, mask
from pyrun.spec.checks.document import HOOKS
from pyrun.spec.faults import Invalid
from pyrun.spec.rlimits import RLIMITS


def test_capabilities_are_numbered_without_a_gap() -> None:
    assert list(CAPABILITIES.values()) == list(range(41))


def test_capabilities_agree_with_prctl() -> None:
    for name, number in CAPABILITIES.items():
        assert getattr(prctl, name, number) == number


def test_mask_skips_unknown_names() -> None:
    assert mask(["CAP_CHOWN", "CAP_KILL", "CAP_CHECKPOINT_RESTORE", "CAP_NO_SUCH", "cap_chown"]) == 1 | 1 << 5 | 1 << 40


def test_rlimits_agree_with_the_resource_module() -> None:
    assert sorted(RLIMITS.values()) == list(range(16))
    for name, number in RLIMITS.items():
        assert getattr(resource, name, number) == number


def test_signals_agree_with_the_signal_module() -> None:
    for known in signal.Signals:
        if known not in (signal.SIGRTMIN, signal.SIGRTMAX):
            assert signals.parse(known.name) == known
    assert signal.SIGRTMIN == signals.RTMIN
    assert signal.SIGRTMAX == signals.RTMAX


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9", 9),
        ("KILL", 9),
        ("SIGKILL", 9),
        ("sigkill", 9),
        ("Term", 15),
        ("64", 64),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("rtmax-1", 63),
        ("RTMAX", 64),
        ("RTMIN+30", 64),
        ("SIGCLD", 17),
        ("POLL", 29),
    ],
)
def test_signal(text: str, number: int) -> None:
    assert signals.parse(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "65",
        "-9",
        "SIG",
        "SIGSIGKILL",
        "NOPE",
        "9 ",
        "RTMIN+31",
        "RTMIN-1",
        "RTMAX-31",
        "RTMIN+",
        "²",
        "9" * 9999,
    ],
)
def test_no_such_signal(text: str) -> None:
    with pytest.raises(Invalid, match="unknown signal"):
        signals.parse(text)


def test_signal_names_can_be_read_back() -> None:
    assert [signals.parse(signals.name(number)) for number in (1, 6, 9, 17, 31, 34, 37, 64)] == [
        1,
        6,
        9,
        17,
        31,
        34,
        37,
        64,
    ]


# a table; the schema's part and the way to the enum; names which the enum has besides
ENUMS: list[tuple[Collection[str], str, str, set[str]]] = [
    (namespaces.NAMESPACES, "linux", "namespaces/items/type", set()),
    (devices.TYPES, "linux", "devices/items/type", set()),
    (mount_options.PROPAGATION, "linux", "rootfsPropagation", {""}),
    (execution.DOMAINS, "linux", "personality/domain", set()),
    (execution.MODES, "linux", "memoryPolicy/mode", set()),
    (execution.MODE_FLAGS, "linux", "memoryPolicy/flags/items", set()),
    (execution.POLICIES, "process", "scheduler/policy", {"SCHED_ISO"}),  # no kernel has it: a check says so
    (execution.SCHED_FLAGS, "process", "scheduler/flags/items", set()),
    (execution.IO_CLASSES, "process", "ioPriority/class", set()),
    (seccomp.ACTIONS, "seccomp", "defaultAction", set()),
    (seccomp.ACTIONS, "seccomp", "syscalls/items/action", set()),
    (seccomp.FLAGS, "seccomp", "flags/items", set()),
    (seccomp.OPERATORS, "seccomp", "syscalls/items/args/items/op", set()),
]


@pytest.mark.parametrize(("table", "part", "way", "more"), ENUMS, ids=[f"{row[1]}/{row[2]}" for row in ENUMS])
def test_tables_have_the_names_of_the_schema(table: Collection[str], part: str, way: str, more: set[str]) -> None:
    node: Any = schema.load("config", part)
    for name in way.split("/"):
        node = node["items"] if name == "items" else node["properties"][name]
    assert set(node["enum"]) == set(table) | more


def test_hooks_are_those_of_the_schema() -> None:
    assert set(schema.load("config", "hooks")["properties"]) == set(HOOKS)
    assert set(seccomp.WITH_ERRNO) < set(seccomp.ACTIONS)


def test_namespaces_agree_with_proc() -> None:
    for flag, name in namespaces.NAMESPACES.values():
        assert flag.bit_count() == 1
        assert Path(f"/proc/self/ns/{name}").is_symlink()
    assert len({flag for flag, _ in namespaces.NAMESPACES.values()}) == 8


def test_default_devices_agree_with_dev() -> None:
    for path, kind, major, minor in devices.DEFAULT_DEVICES:
        found = os.stat(path)
        if stat.S_ISCHR(found.st_mode):
            assert (kind, found.st_rdev) == ("c", os.makedev(major, minor))
    assert devices.TYPES == {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("", []), (" ", []), ("0", [0]), ("0-3,7", [0, 1, 2, 3, 7]), ("7, 2-3,3", [2, 3, 7]), ("8191", [8191])],
)
def test_ranges(text: str, numbers: list[int]) -> None:
    assert ranges.parse(text) == numbers


@pytest.mark.parametrize("text", ["a", "1-", "-1", "3-1", "1,,2", "1-2-3", "8192", "0-99999999999", "+1", "1_0", "²"])
def test_bad_ranges(text: str) -> None:
    with pytest.raises(ValueError, match=r"list|backwards|below"):
        ranges.parse(text)


@pytest.mark.parametrize(
    ("key", "path", "namespace"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward", "network"),
        ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding", "network"),
        ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding", "network"),
        ("kernel.shmmax", "kernel/shmmax", "ipc"),
        ("kernel.sem", "kernel/sem", "ipc"),
        ("kernel/msgmni", "kernel/msgmni", "ipc"),
        ("fs.mqueue.msg_max", "fs/mqueue/msg_max", "ipc"),
        ("kernel.domainname", "kernel/domainname", "uts"),
        ("user.max_user_namespaces", "user/max_user_namespaces", "user"),
        ("kernel.core_pattern", "kernel/core_pattern", None),
        ("vm.swappiness", "vm/swappiness", None),
        ("network.x", "network/x", None),
    ],
)
def test_sysctl(key: str, path: str, namespace: str | None) -> None:
    assert sysctls.path(key) == path
    assert sysctls.namespace(path) == namespace


@pytest.mark.parametrize("key", ["", ".", "/", "net..x", "net/../kernel/core_pattern", "/net/x", "net.x.", "net/./x"])
def test_no_sysctl(key: str) -> None:
    with pytest.raises(ValueError, match="not the name of a sysctl"):
        sysctls.path(key)
