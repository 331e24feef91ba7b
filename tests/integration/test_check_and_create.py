"""What `check` passes, `create` refuses for the host's sake only, and then `check --host` says so beforehand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness import Container, message

pytestmark = [pytest.mark.guest, pytest.mark.pyrun_only("about its own check")]

ABSENT = {"major": 4095, "minor": 0}
RULES = [
    {"allow": False},
    {"allow": True, "type": "c", "major": 1},
    {"allow": False, "type": "c", "major": 1, "minor": 3},
]

# pointer, value: "-" at the end of a pointer appends
EDITS: tuple[tuple[str, Any], ...] = (
    # what no host takes
    ("/linux/resources/pids", {"limit": -5}),
    ("/linux/resources/pids", {"limit": 1 << 40}),
    ("/linux/resources/devices", [{"allow": True, "type": "p"}]),
    ("/linux/resources/devices", [{"allow": True, "access": "x"}]),
    ("/linux/resources/blockIO", {"throttleReadBpsDevice": [{"major": 1 << 40, "minor": 0, "rate": 1}]}),
    ("/linux/resources/blockIO", {"weight": 5}),
    ("/linux/resources/rdma", {"a b": {"hcaHandles": 1}}),
    ("/linux/resources/cpu", {"quota": 5}),
    ("/linux/resources/cpu", {"period": 5}),
    ("/linux/resources/cpu", {"cpus": "what"}),
    ("/linux/resources/cpu", {"idle": 3}),
    ("/linux/resources/memory", {"limit": 1 << 30, "swap": 1 << 20}),
    ("/linux/resources/hugepageLimits", [{"pageSize": "2M", "limit": 0}]),
    ("/linux/resources/network", {"priorities": [{"name": "a b", "priority": 1}]}),
    ("/linux/resources/unified", {"../memory.max": "1"}),
    ("/linux/cgroupsPath", "/"),
    ("/mounts/-", {"destination": "/", "type": "tmpfs"}),
    ("/mounts/-", {"destination": "/proc/self", "type": "tmpfs"}),
    ("/mounts/-", {"destination": "/x", "source": "/x", "options": ["bind", "idmap=uids=what"]}),
    ("/hooks", {"poststop": [{"path": "/bin/true", "args": [""]}]}),
    ("/hooks", {"prestart": [{"path": "/bin/true", "env": [""]}]}),
    # what this host may lack
    ("/linux/resources/blockIO", {"throttleWriteIOPSDevice": [{**ABSENT, "rate": 1}]}),
    ("/linux/resources/blockIO", {"weightDevice": [{**ABSENT, "weight": 100}]}),
    ("/linux/resources/cpu", {"cpus": "0,4000"}),
    ("/linux/resources/cpu", {"mems": "900"}),
    ("/linux/resources/cpu", {"idle": 1}),
    ("/linux/resources/cpu", {"burst": 1000, "quota": 10000}),
    ("/linux/resources/cpu", {"realtimePeriod": 1000000}),
    ("/linux/resources/memory", {"swappiness": 10}),
    ("/linux/resources/memory", {"swap": 1 << 30}),
    ("/linux/resources/memory", {"limit": 1 << 29, "swap": 1 << 30}),
    ("/linux/resources/memory", {"limit": -1, "swap": 1 << 30}),
    ("/linux/resources/memory", {"useHierarchy": False}),
    ("/linux/resources/memory", {"disableOOMKiller": True}),
    ("/linux/resources/memory", {"kernel": 1 << 30, "kernelTCP": 1 << 30}),
    ("/linux/resources/hugepageLimits", [{"pageSize": "3MB", "limit": 0}]),
    ("/linux/resources/hugepageLimits", [{"pageSize": "2MB", "limit": 0}]),
    ("/linux/resources/network", {"classID": 5}),
    ("/linux/resources/network", {"priorities": [{"name": "nope", "priority": 1}]}),
    ("/linux/resources/rdma", {"nope": {"hcaHandles": 1}}),
    ("/linux/resources/unified", {"memory.high": "max"}),
    ("/linux/resources/unified", {"nonsense.file": "1"}),
    ("/linux/resources/devices", RULES),
    ("/linux/sysctl", {"net.ipv4.nonsense": "1"}),
    ("/linux/memoryPolicy", {"mode": "MPOL_BIND", "nodes": "900"}),
    ("/linux/netDevices", {"nonsense0": {}}),
    ("/linux/intelRdt", {"closID": "x"}),
    ("/linux/seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PARISC64"]}),
    ("/linux/namespaces/-", {"type": "time", "path": "/proc/self/ns/uts"}),
    ("/linux/namespaces/-", {"type": "time", "path": "/nowhere"}),
    ("/process/selinuxLabel", "a:b:c:d"),
    ("/process/apparmorProfile", "nonsense"),
    ("/mounts/-", {"destination": "/x", "type": "tmpfs", "options": ["size=many"]}),
    ("/mounts/-", {"destination": "/x", "type": "tmpfs", "options": ["nonsense"]}),
    ("/mounts/-", {"destination": "/x", "type": "tmpfs", "options": ["nosuid", "siez=1m"]}),
    ("/mounts/-", {"destination": "/x", "type": "tmpfs", "options": ["mode=999"]}),
    ("/mounts/-", {"destination": "/x", "type": "devpts", "options": ["newinstance", "ptmxmode=rw"]}),
    ("/mounts/-", {"destination": "/x", "type": "mqueue", "options": ["mode=1777"]}),
    ("/mounts/-", {"destination": "/x", "type": "proc", "options": ["hidepid=many"]}),
    ("/mounts/-", {"destination": "/x", "type": "nonsensefs"}),
    ("/mounts/-", {"destination": "/x", "source": "/nowhere", "options": ["bind"]}),
    ("/mounts/-", {"destination": "/x", "source": "nowhere", "options": ["bind"]}),
    ("/hooks", {"createRuntime": [{"path": "/nowhere"}]}),
    # what every host takes
    ("/linux/resources/cpu", {"shares": 1, "quota": -1, "period": 0, "cpus": "", "burst": 0}),
    ("/linux/resources/pids", {"limit": 4 << 20}),
    ("/linux/resources/devices", [{"allow": True, "type": "", "major": 5000, "minor": -1, "access": ""}]),
    ("/mounts/-", {"destination": "/x", "type": "tmpfs", "options": ["size=1m,nr_inodes=50", "mode=700", ""]}),
    ("/process/scheduler", {"policy": "SCHED_BATCH", "nice": 19, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}),
    ("/linux/namespaces/-", {"type": "time"}),
)


def edit(config: dict[str, Any], pointer: str, value: Any) -> None:
    *parents, last = pointer.split("/")[1:]
    node: Any = config
    for token in parents:
        node = node.setdefault(token, {})
    if last == "-":
        node.append(value)
    else:
        node[last] = value


def told(container: Container, *flags: str) -> tuple[list[str], list[str]]:
    """The pointers of errors and of warnings that check has."""
    done = container.runtime("check", "--json", *flags, str(container.path))
    said = json.loads(done.out)
    assert (done.code == 0) == said["valid"]
    return [row["pointer"] for row in said["errors"]], [row["pointer"] for row in said["warnings"]]


@pytest.mark.parametrize(("pointer", "value"), EDITS, ids=[f"{at}={json.dumps(v)}"[:90] for at, v in EDITS])
def test_check_says_beforehand(container: Container, pointer: str, value: Any) -> None:
    container.sh("exit 0")
    edit(container.config, pointer, value)
    container.write()
    errors, _ = told(container)
    done = container.runtime("create", "--bundle", container.path, container.id)
    if errors:
        assert done.code == 1
        assert all(at in message(done.err.strip()) for at in errors)
        assert all(at.startswith(pointer.removesuffix("/-")) for at in errors)
        return
    host_errors, host_warnings = told(container, "--host")
    if done.code == 0:
        container.delete("--force")
        assert host_errors == []
    else:
        said = [*host_errors, *host_warnings]
        assert any(at.startswith(pointer.removesuffix("/-")) for at in said), (done.err, said)


@pytest.mark.parametrize(
    ("pointer", "value", "below"),
    [
        ("/linux/resources/memory", {"limit": 4096}, "/limit"),
        ("/process/rlimits", [{"type": "RLIMIT_AS", "soft": 65536, "hard": 65536}], "/0/soft"),
    ],
)
def test_a_limit_with_which_nothing_starts(container: Container, pointer: str, value: Any, below: str) -> None:
    container.sh("exit 0")
    edit(container.config, pointer, value)
    container.write()
    assert told(container)[0] == [pointer + below]
    assert container.runtime("run", "--bundle", container.path, container.id).code != 0


@pytest.mark.parametrize(("name", "mode"), [("opt", 0o700), ("opt/tool", 0o744)])
def test_a_program_that_its_user_may_not_execute(container: Container, name: str, mode: int) -> None:
    (container.rootfs / "opt").mkdir()
    (container.rootfs / "opt/tool").write_text("#!/bin/sh\nexit 0\n")
    (container.rootfs / "opt/tool").chmod(0o755)
    container.process["user"] = {"uid": 1000, "gid": 1000}
    container.process["capabilities"] = {}
    container.args = ["/opt/tool"]
    container.write()
    assert told(container)[0] == []
    assert container.runtime("run", "--bundle", container.path, container.id).code == 0
    (container.rootfs / name).chmod(mode)
    assert told(container)[0] == ["/process/args/0"]
    done = container.runtime("run", "--bundle", container.path, container.id)
    assert done.code == 1
    assert "EACCES" in done.err
