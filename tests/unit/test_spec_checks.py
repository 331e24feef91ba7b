"""Each check: an edit of the example config, and the faults that it makes (pointer, MUST, a piece of the words)."""

from __future__ import annotations

from typing import Any

import pytest

from pyrun.spec import checks, config, schema
from pyrun.spec.example import example

MAPS = [{"containerID": 0, "hostID": 1000, "size": 10}]
USER = [{"type": "user"}, {"type": "mount"}]


def edited(edits: dict[str, Any]) -> Any:
    """The example with the values at these pointers put in; "-" at the end of a pointer appends, ... deletes."""
    document: Any = example()
    for pointer, value in edits.items():
        *parents, last = pointer.split("/")[1:]
        spot = document
        for token in parents:
            spot = spot[int(token)] if isinstance(spot, list) else spot.setdefault(token, {})
        if last == "-":
            spot.append(value)
        elif value is ...:
            del spot[last]
        else:
            spot[int(last) if isinstance(spot, list) else last] = value
    return document


def found(edits: dict[str, Any]) -> list[tuple[str, str, str]]:
    document = edited(edits)
    assert schema.first_fault(document, schema.load("config")) is None
    return [(fault.pointer, fault.rule, fault.problem) for fault in checks.config_faults(document)]


def test_the_example_is_good() -> None:
    assert found({}) == []


GOOD: list[dict[str, Any]] = [
    *({"/ociVersion": version} for version in ("1.0.0", "1.0.2-dev", "1.0.0-rc.1", "1.3.0+build.01", "1.99.0")),
    {"/process": ...},
    {"/process/env": ["A=", "B==", "=C=d", "E=\n"]},
    {"/process/rlimits": [{"type": "RLIMIT_RTTIME", "soft": 0, "hard": 0}]},
    # MUST 53
    {"/process/terminal": False, "/process/consoleSize": {"height": 1 << 40, "width": 0}},
    {"/process/scheduler": {"policy": "SCHED_FIFO", "priority": 99}},
    {"/process/scheduler": {"policy": "SCHED_OTHER", "nice": -20}},
    {"/process/scheduler": {"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 1024}},
    {"/process/execCPUAffinity": {"initial": "0-3,7", "final": ""}},
    {"/hostname": "", "/linux/namespaces": []},
    {"/linux/namespaces": [{"type": "pid", "path": ""}], "/hostname": ...},
    {"/linux/namespaces/-": {"type": "user"}, "/linux/uidMappings": MAPS, "/linux/gidMappings": MAPS},
    # Docker and containerd give both the path of a user namespace and its mappings.
    {"/linux/namespaces/-": {"type": "user", "path": "/x"}, "/linux/uidMappings": MAPS, "/linux/gidMappings": MAPS},
    {"/linux/namespaces/-": {"type": "user", "path": "/x"}},
    {"/linux/namespaces/-": {"type": "time"}, "/linux/timeOffsets": {"monotonic": {"secs": 1}}},
    {"/linux/timeOffsets": {}},
    {"/mounts/-": {"destination": "/x", "source": "y", "options": ["rbind", "ro", "", "rro", "rslave"]}},
    {"/mounts/-": {"destination": "/x", "type": "tmpfs", "options": ["tmpcopyup", "size=1m"]}},
    {"/mounts/-": {"destination": "/x", "options": ["remount", "ro"]}},
    {"/mounts/-": {"destination": "/proc//uptime", "source": "/y", "options": ["bind"]}},
    {"/mounts/0": {"destination": "/proc", "source": "/proc", "options": ["rbind"]}},
    {"/mounts/-": {"destination": "/x", "source": "y", "options": ["bind", "idmap=uids=0-1-2;gids=0-1-2#5-6-7"]}},
    {
        "/mounts/-": {
            "destination": "/x",
            "source": "/y",
            "options": ["bind", "idmap"],
            "uidMappings": MAPS,
            "gidMappings": MAPS,
        }
    },
    {
        "/mounts/-": {"destination": "/x", "source": "/y", "options": ["bind", "idmap"]},
        "/linux/namespaces/-": {"type": "user", "path": "/u"},
    },
    {"/hooks/poststop": [{"path": "/x", "timeout": 1}]},
    {"/hooks/unknown": 5},
    {"/annotations": {"a": ""}},
    {"/linux/devices": [{"type": "p", "path": "/dev/x"}, {"type": "b", "path": "/dev/y", "major": 8, "minor": 0}]},
    {"/linux/netDevices": {"eth0": {"name": "c%d"}, "eth1": {"name": "c%d"}, "eth2": {}}},
    {"/linux/cgroupsPath": "system.slice:pyrun:a..b"},
    {"/linux/sysctl": {"net.ipv4.ip_forward": "1", "kernel/shmmax": "1", "kernel.domainname": "x", "fs.mqueue.x": "1"}},
    {"/linux/seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "listenerMetadata": ""}},
    {"/linux/intelRdt": {"closID": "/", "memBwSchema": "MB:0=1", "schemata": ["L3:0=f"]}},
    {"/linux/personality": {"domain": "LINUX32", "flags": []}},
    {"/linux/memoryPolicy": {"mode": "MPOL_PREFERRED"}},
    {"/linux/memoryPolicy": {"mode": "MPOL_INTERLEAVE", "nodes": "0-1", "flags": ["MPOL_F_RELATIVE_NODES"]}},
    {"/linux/resources/memory": {"limit": 100, "swap": -1}},
    {"/linux/resources/memory": {"limit": 100, "swap": 0}},
    {"/linux/resources/memory": {"limit": -1, "swap": 5}},
    {"/linux/resources/cpu": {"quota": -1, "burst": 5}},
    {"/linux/resources/cpu": {"quota": 5000, "burst": 5000, "idle": 1, "period": 1000}},
    {"/linux/resources/cpu": {"quota": 0, "period": 0, "burst": 1 << 50}},
    *({"/linux/resources/cpu": {"cpus": text}} for text in ("", "0", "0-2, 7", "all", "N", "0-31:2/4", "0-N\n")),
    {"/linux/resources/pids": {"limit": -1}},
    {"/linux/resources/pids": {"limit": 4 << 20}},
    {"/linux/resources/network": {"classID": 0xFFFFFFFF, "priorities": [{"name": "eth0.1", "priority": 3}]}},
    {"/linux/resources/devices": [{"allow": True, "type": "", "major": 0xFFFFFFFF}]},
    {
        "/linux/resources/blockIO": {
            "weight": 0,
            "leafWeight": 10,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 1000}],
        }
    },
    {"/linux/resources/hugepageLimits": [{"pageSize": size, "limit": 1} for size in ("64KB", "2MB", "1GB")]},
    {"/linux/resources/rdma": {"x": {"hcaObjects": 0}}},
    {"/linux/resources/unified": {"memory.high": "max", "no.such.file": "1"}},
]


@pytest.mark.parametrize("edits", GOOD, ids=str)
def test_good(edits: dict[str, Any]) -> None:
    assert found(edits) == []


def one(pointer: str, value: Any, at: str, rule: str, words: str) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    return {pointer: value}, [(at, rule, words)]


def scheduler(at: str, words: str, **values: Any) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    return {"/process/scheduler": values}, [(f"/process/scheduler{at}", "", words)]


def resource(
    name: str, value: Any, at: str, rule: str, words: str
) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    return {f"/linux/resources/{name}": value}, [(f"/linux/resources/{name}{at}", rule, words)]


def policy(at: str, words: str, **values: Any) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    return {"/linux/memoryPolicy": values}, [(f"/linux/memoryPolicy{at}", "", words)]


BAD: list[tuple[dict[str, Any], list[tuple[str, str, str]]]] = [
    *(
        one("/ociVersion", version, "/ociVersion", "MUST 45", "semantic version")
        for version in ("", "1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "1.0.x", "1.0.0-", "1.0.0-01", "1.0.0+", "1.0.²")
    ),
    *(
        one("/ociVersion", version, "/ociVersion", "MUST 45", "of another series")
        for version in ("0.9.0", "2.0.0", "10.0.0")
    ),
    one("/root", ..., "/root", "MUST 46", "is required"),
    # names
    ({"/linux/namespaces": [], "/domainname": "d"}, [("/hostname", "", "uts"), ("/domainname", "", "uts")]),
    one("/hostname", "é" * 33, "/hostname", "", "at most 64 bytes"),
    one("/annotations", {"": "x"}, "/annotations/", "MUST 76", "must not be empty"),
    one("/annotations", {"run.oci.handler": "krun"}, "/annotations/run.oci.handler", "", "no handler"),
    # hooks
    one("/hooks/prestart", [{"path": "x"}], "/hooks/prestart/0/path", "MUST 63", 'not "x"'),
    one("/hooks/poststop", [{"path": "/x"}, {"path": ""}], "/hooks/poststop/1/path", "MUST 63", "absolute"),
    one("/hooks/poststart", [{"path": "/x", "timeout": 0}], "/hooks/poststart/0/timeout", "MUST 64", "not 0"),
    one("/hooks/poststart", [{"path": "/x", "args": ["", "x"]}], "/hooks/poststart/0/args/0", "", "not be empty"),
    one("/hooks/poststop", [{"path": "/x", "env": ["A=", "B"]}], "/hooks/poststop/0/env/1", "", "NAME=VALUE"),
    # mounts
    one("/mounts/-", {"destination": "/x"}, "/mounts/7/type", "", "is required"),
    one("/mounts/-", {"destination": "/x", "type": "bind", "source": "/y"}, "/mounts/7/type", "", "no filesystem"),
    one("/mounts/-", {"destination": "/x", "type": "bind", "options": ["bind"]}, "/mounts/7/source", "", "required"),
    one(
        "/mounts/-",
        {"destination": "/x", "type": "proc", "options": ["ro", "tmpcopyup"]},
        "/mounts/7/options/1",
        "",
        "tmpfs only",
    ),
    one(
        "/mounts/-",
        {"destination": "/x", "source": "/y", "options": ["bind"], "uidMappings": MAPS},
        "/mounts/7/gidMappings",
        "MUST 52",
        "is required",
    ),
    one(
        "/mounts/-",
        {"destination": "/x", "source": "/y", "options": ["bind", "ridmap"]},
        "/mounts/7/options/1",
        "MUST 51",
        "no id mapping for ridmap",
    ),
    one(
        "/mounts/-",
        {"destination": "/x", "type": "mqueue", "uidMappings": MAPS, "gidMappings": MAPS},
        "/mounts/7",
        "",
        "maps no ids of a mqueue",
    ),
    one(
        "/mounts/-",
        {
            "destination": "/x",
            "source": "/y",
            "options": ["bind", "idmap"],
            "uidMappings": MAPS,
            "gidMappings": [{"containerID": 0, "hostID": 0, "size": 0}],
        },
        "/mounts/7/gidMappings/0/size",
        "",
        "at least 1",
    ),
    one("/mounts/-", {"destination": "/x/..", "type": "tmpfs"}, "/mounts/7/destination", "", "container's root"),
    one("/mounts/-", {"destination": "/proc/self/attr", "type": "x"}, "/mounts/7/destination", "", "not permitted"),
    one("/mounts/-", {"destination": "proc/../proc/", "type": "tmpfs"}, "/mounts/7/type", "", 'not "tmpfs"'),
    *(
        one(
            "/mounts/-",
            {"destination": "/x", "type": "tmpfs", "options": ["ro", name]},
            "/mounts/7/options/1",
            "",
            "for b",
        )
        for name in ("copy-symlink", "src-nofollow")
    ),
    *(
        one(
            "/mounts/-",
            {"destination": "/x", "source": "/y", "options": ["bind", option]},
            "/mounts/7/options/1",
            "",
            words,
        )
        for option, words in (
            ("idmap=uids=0-1-2", "must have uids and gids"),
            ("ridmap=what", "ID-HOSTID-SIZE"),
            ("idmap=uids=0-1-0;gids=0-1-1", "at least 1"),
        )
    ),
    # process
    one("/process/cwd", "x", "/process/cwd", "MUST 54", 'not "x"'),
    one("/process/cwd", "", "/process/cwd", "MUST 54", "absolute"),
    one("/process/args", [], "/process/args", "MUST 55", "at least one"),
    one("/process/args", ..., "/process/args", "MUST 55", "at least one"),
    one("/process/env", ["A=b", "NAME"], "/process/env/1", "", 'NAME=VALUE, not "NAME"'),
    one("/process/env", ["=x"], "/process/env/0", "", "NAME=VALUE"),
    one("/process/env", [""], "/process/env/0", "", "NAME=VALUE"),
    one(
        "/process/rlimits/-",
        {"type": "RLIMIT_NOPE", "soft": 1, "hard": 1},
        "/process/rlimits/1/type",
        "MUST 56",
        "unknown limit",
    ),
    one(
        "/process/rlimits/-",
        {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1},
        "/process/rlimits/1/type",
        "MUST 58",
        "more than once",
    ),
    one(
        "/process/rlimits/-",
        {"type": "RLIMIT_CORE", "soft": 2, "hard": 1},
        "/process/rlimits/1/soft",
        "",
        "above the hard one",
    ),
    one("/process/consoleSize", {"height": 1, "width": 65536}, "/process/consoleSize/width", "", "at most 65535"),
    one("/process/execCPUAffinity", {"initial": "3-1"}, "/process/execCPUAffinity/initial", "", "backwards"),
    one("/process/execCPUAffinity", {"final": "x"}, "/process/execCPUAffinity/final", "", "a list such as"),
    scheduler("/policy", "no Linux kernel", policy="SCHED_ISO"),
    scheduler("/nice", "from -20 to 19", policy="SCHED_BATCH", nice=20),
    scheduler("/priority", "from 1 to 99", policy="SCHED_RR"),
    scheduler("/priority", "from 1 to 99", policy="SCHED_FIFO", priority=100),
    scheduler("/priority", "must not be set", policy="SCHED_OTHER", priority=1),
    scheduler("/runtime", "must not be set", policy="SCHED_FIFO", priority=1, runtime=5000),
    scheduler("", "runtime <= deadline", policy="SCHED_DEADLINE"),
    scheduler("", "runtime <= deadline", policy="SCHED_DEADLINE", runtime=4096, deadline=2048),
    scheduler("", "runtime <= deadline", policy="SCHED_DEADLINE", runtime=2048, deadline=4096, period=4095),
    # namespaces and ids
    one("/linux/namespaces/-", {"type": "pid"}, "/linux/namespaces/5/type", "MUST 86", "more than once"),
    one("/linux/namespaces/-", {"type": "time", "path": "x"}, "/linux/namespaces/5/path", "MUST 81", "absolute"),
    one("/linux/uidMappings", MAPS, "/linux/uidMappings", "", "needs a user namespace"),
    (
        {"/linux/namespaces/-": {"type": "user"}},
        [("/linux/uidMappings", "", "is required"), ("/linux/gidMappings", "", "is required")],
    ),
    (
        {"/linux/namespaces/-": {"type": "user", "path": "/x"}, "/linux/gidMappings": MAPS},
        [("/linux/uidMappings", "", "is required")],
    ),
    (
        {
            "/linux/namespaces/-": {"type": "user"},
            "/linux/uidMappings": MAPS,
            "/linux/gidMappings": [{"containerID": 0, "hostID": 0xFFFFFFF0, "size": 16}],
        },
        [("/linux/gidMappings/0", "", "beyond the last id")],
    ),
    one("/linux/timeOffsets", {"boottime": {}}, "/linux/timeOffsets", "", "needs a time namespace"),
    (
        {"/linux/namespaces/-": {"type": "time", "path": "/x"}, "/linux/timeOffsets": {"boottime": {}}},
        [("/linux/timeOffsets", "", "there already")],
    ),
    (
        {"/linux/namespaces/-": {"type": "time"}, "/linux/timeOffsets": {"real/time": {}}},
        [("/linux/timeOffsets/real~1time", "", "must be one of monotonic, boottime")],
    ),
    # devices
    one("/linux/devices", [{"type": "p", "path": "dev/x"}], "/linux/devices/0/path", "", "absolute"),
    one("/linux/devices", [{"type": "c", "path": "/x", "major": 1}], "/linux/devices/0/minor", "", "for type c"),
    one(
        "/linux/devices",
        [{"type": "u", "path": "/x", "major": 4096, "minor": 0}],
        "/linux/devices/0/major",
        "",
        "from 0 to 4095",
    ),
    (
        {"/linux/namespaces": [{"type": "uts"}], "/linux/netDevices": {"eth0": {}}},
        [("/linux/netDevices", "", "needs a network namespace")],
    ),
    one("/linux/netDevices", {"a/b": {"name": "x"}}, "/linux/netDevices/a~1b", "", "no name for a network device"),
    one("/linux/netDevices", {"e": {"name": "x" * 16}}, "/linux/netDevices/e/name", "", "no name"),
    one("/linux/netDevices", {"e": {"name": "a%s"}}, "/linux/netDevices/e/name", "", "no name"),
    one("/linux/netDevices", {"e": {"name": "%d%d"}}, "/linux/netDevices/e/name", "", "no name"),
    one("/linux/netDevices", {"e": {"name": "x"}, "x": {}}, "/linux/netDevices/x/name", "MUST 91", "two devices"),
    # paths
    one("/linux/cgroupsPath", "/a/../../b", "/linux/cgroupsPath", "MUST 100", "must not go up"),
    one("/linux/cgroupsPath", "/./", "/linux/cgroupsPath", "MUST 100", "must name a cgroup"),
    one("/linux/cgroupsPath", "/a\nb", "/linux/cgroupsPath", "MUST 100", "newline"),
    one("/linux/maskedPaths", ["/a", "b"], "/linux/maskedPaths/1", "MUST 134", "absolute"),
    one("/linux/readonlyPaths", [""], "/linux/readonlyPaths/0", "MUST 135", "absolute"),
    # sysctl
    one("/linux/sysctl", {"kernel.hostname": "x"}, "/linux/sysctl/kernel.hostname", "", "not set by sysctl"),
    one("/linux/sysctl", {"vm/swappiness": "1"}, "/linux/sysctl/vm~1swappiness", "", "no namespace"),
    one("/linux/sysctl", {"net/../kernel/x": "1"}, "/linux/sysctl/net~1..~1kernel~1x", "", "not the name of a sysctl"),
    one("/linux/sysctl", {"user.max_mnt_namespaces": "1"}, "/linux/sysctl/user.max_mnt_namespaces", "", "own user"),
    (
        {"/linux/namespaces": [{"type": "uts"}], "/linux/sysctl": {"net.x": "1", "kernel.sem": "1"}},
        [("/linux/sysctl/net.x", "", "own network"), ("/linux/sysctl/kernel.sem", "", "own ipc")],
    ),
    # seccomp
    one(
        "/linux/seccomp",
        {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1},
        "/linux/seccomp/defaultErrnoRet",
        "MUST 127",
        "takes no errno",
    ),
    one(
        "/linux/seccomp",
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"], "action": "SCMP_ACT_KILL", "errnoRet": 1}]},
        "/linux/seccomp/syscalls/0/errnoRet",
        "MUST 127",
        "takes no errno",
    ),
    one(
        "/linux/seccomp",
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [], "action": "SCMP_ACT_KILL"}]},
        "/linux/seccomp/syscalls/0/names",
        "MUST 128",
        "at least one",
    ),
    one(
        "/linux/seccomp",
        {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"},
        "/linux/seccomp/listenerMetadata",
        "MUST 132",
        "needs listenerPath",
    ),
    one(
        "/linux/seccomp",
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"], "action": "SCMP_ACT_NOTIFY"}]},
        "/linux/seccomp/syscalls/0/action",
        "",
        "needs a listenerPath",
    ),
    one(
        "/linux/seccomp",
        {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/s"},
        "/linux/seccomp/defaultAction",
        "",
        "can't be the default",
    ),
    # intelRdt
    *(
        one("/linux/intelRdt", {"closID": name}, "/linux/intelRdt/closID", "", "plain name")
        for name in ("..", ".", "a/b", "/a")
    ),
    one("/linux/intelRdt", {"memBwSchema": "x"}, "/linux/intelRdt/memBwSchema", "MUST 116", "begin with MB:"),
    one("/linux/intelRdt", {"memBwSchema": "MB:\nL3:"}, "/linux/intelRdt/memBwSchema", "MUST 116", "one line"),
    one("/linux/intelRdt", {"l3CacheSchema": "L3:\n"}, "/linux/intelRdt/l3CacheSchema", "", "one line"),
    one("/linux/intelRdt", {"schemata": ["a", "b\nc"]}, "/linux/intelRdt/schemata/1", "MUST 117", "one line"),
    one("/linux/personality", {"domain": "LINUX", "flags": ["X"]}, "/linux/personality/flags", "MUST 80", "no flag"),
    policy("/nodes", "is required for MPOL_BIND", mode="MPOL_BIND"),
    policy("/nodes", "must be empty", mode="MPOL_LOCAL", nodes="0"),
    policy("/nodes", "a list such as", mode="MPOL_BIND", nodes="x"),
    policy("/flags", "must be empty", mode="MPOL_DEFAULT", flags=["MPOL_F_STATIC_NODES"]),
    policy(
        "/flags",
        "exclude one another",
        mode="MPOL_BIND",
        nodes="0",
        flags=["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"],
    ),
    policy("/flags", "can't go with", mode="MPOL_INTERLEAVE", nodes="0", flags=["MPOL_F_NUMA_BALANCING"]),
    # resources
    resource("devices", [{"allow": True, "access": "rwx"}], "/0/access", "", "r, w and m"),
    resource("devices", [{"allow": True, "major": -2}], "/0/major", "", "-1 for any"),
    resource("memory", {"limit": 100, "swap": 99}, "/swap", "", "at least the limit"),
    resource("memory", {"swap": 99}, "/swap", "", "needs memory.limit"),
    resource("memory", {"swappiness": 101}, "/swappiness", "", "at most 100"),
    resource("devices", [{"allow": True, "minor": 1 << 32}], "/0/minor", "", "-1 for any"),
    *(resource("devices", [{"allow": True, "type": kind}], "/0/type", "MUST 80", "a, b or c") for kind in ("p", "u")),
    resource("cpu", {"quota": 5000, "burst": 5001}, "/burst", "MUST 105", "at most the quota"),
    resource("cpu", {"burst": 1 << 62}, "/burst", "", "at most"),
    *(resource("cpu", {"quota": value}, "/quota", "", "from 1000") for value in (1, 999, 1 << 44)),
    *(resource("cpu", {"period": value}, "/period", "", "from 1000") for value in (1, 999, 1_000_001)),
    resource("cpu", {"realtimePeriod": (1 << 64) - 1}, "/realtimePeriod", "", "at most"),
    *(resource("cpu", {"cpus": text}, "/cpus", "", "a list such as") for text in ("x", "0-", "-1", "0:1/2", "0-3:1")),
    resource("cpu", {"mems": "0 1"}, "/mems", "", "a list such as"),
    *(resource("pids", {"limit": value}, "/limit", "", "from 0") for value in (-2, -5, (4 << 20) + 1)),
    resource("network", {"priorities": [{"name": "eth 0", "priority": 1}]}, "/priorities/0/name", "", "no name"),
    resource(
        "blockIO",
        {"throttleReadBpsDevice": [{"major": 1 << 40, "minor": 0}]},
        "/throttleReadBpsDevice/0/major",
        "",
        "4095",
    ),
    resource(
        "blockIO",
        {"throttleWriteIOPSDevice": [{"major": 8, "minor": -1, "rate": 1}]},
        "/throttleWriteIOPSDevice/0/minor",
        "",
        "1048575",
    ),
    resource(
        "blockIO", {"weightDevice": [{"major": -1, "minor": 0, "weight": 10}]}, "/weightDevice/0/major", "", "from 0"
    ),
    resource("cpu", {"idle": 2}, "/idle", "", "0 or 1"),
    resource("blockIO", {"weight": 9}, "/weight", "", "from 10 to 1000"),
    resource("blockIO", {"leafWeight": 1001}, "/leafWeight", "", "from 10 to 1000"),
    resource("blockIO", {"weightDevice": [{"major": 1, "minor": 1}]}, "/weightDevice/0", "MUST 106", "weight or leaf"),
    *(
        resource("hugepageLimits", [{"pageSize": size, "limit": 1}], "/0/pageSize", "", "a size such as")
        for size in ("", "MB", "0MB", "2mb", "2M", "02MB", "../2MB")
    ),
    resource("rdma", {"mlx": {}}, "/mlx", "MUST 107", "hcaHandles or hcaObjects"),
    *(
        resource("rdma", {name: {"hcaObjects": 1}}, f"/{name.replace('/', '~1')}", "", "no name of an RDMA device")
        for name in ("a/b", "a b", "", "a\n")
    ),
    resource("rdma", {"mlx": {"hcaHandles": 1 << 31}}, "/mlx/hcaHandles", "", "at most"),
    *(
        resource("unified", {name: "1"}, f"/{name}", "", "file of cgroup v2")
        for name in ("", ".", "..", "x", "a.b c", "a.\n")
    ),
    resource("unified", {"../memory.high": "1"}, "/..~1memory.high", "", "file of cgroup v2"),
]


@pytest.mark.parametrize(("edits", "expected"), BAD, ids=lambda value: str(value)[:80])
def test_bad(edits: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    faults = found(edits)
    assert [fault[:2] for fault in faults] == [fault[:2] for fault in expected]
    for (_, _, problem), (_, _, words) in zip(faults, expected, strict=True):
        assert words in problem


def test_every_check_of_the_tables_can_fail() -> None:
    """No check is left without a case above."""
    caught = set()
    for edits, _ in BAD:
        document = edited(edits)
        caught |= {check.__name__ for check in checks.CONFIG_CHECKS if [*check(document)]}
        process, linux = document.get("process"), document["linux"]
        caught |= {check.__name__ for check in checks.PROCESS_CHECKS if [*check(process, "")]}
        caught |= {check.__name__ for check in checks.LINUX_CHECKS if [*check(linux)]}
        caught |= {check.__name__ for check in checks.RESOURCES_CHECKS if [*check(linux.get("resources", {}), "")]}
    tables: list[Any] = [*checks.CONFIG_CHECKS, *checks.PROCESS_CHECKS, *checks.LINUX_CHECKS, *checks.RESOURCES_CHECKS]
    assert caught == {check.__name__ for check in tables}


def test_pointers_follow_the_part_that_is_checked() -> None:
    assert [fault.pointer for fault in checks.process_faults({"cwd": "x", "args": ["a"]})] == ["/cwd"]
    resources: config.Resources = {"cpu": {"idle": 3}}
    assert [fault.pointer for fault in checks.resources_faults(resources)] == ["/cpu/idle"]


def test_warnings() -> None:
    document = edited(
        {
            "/mounts/-": {"destination": "data", "source": "/y", "options": ["bind", "size=5", "mode=755"]},
            "/process/capabilities/ambient": ["CAP_KILL", "CAP_NOPE", "kill"],
        }
    )
    assert checks.config_faults(document) == []
    assert [(fault.pointer, fault.rule) for fault in checks.config_warnings(document)] == [
        ("/mounts/7/destination", "MUST 49"),
        ("/mounts/7/options/1", ""),
        ("/mounts/7/options/2", ""),
        ("/process/capabilities/ambient/1", "MUST 59"),
        ("/process/capabilities/ambient/2", "MUST 59"),
    ]
    assert checks.config_warnings(edited({"/process": ...})) == []
