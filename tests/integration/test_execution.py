"""How the kernel runs the program: scheduling, I/O priority, personality, memory policy, clocks."""

from __future__ import annotations

from typing import Any

import pytest
from harness import Container

pytestmark = pytest.mark.pyrun_only("Debian's runc and crun are older than these properties")

USER = [{"containerID": 0, "hostID": 100000, "size": 65536}]
# nice and the policy's number: fields 19 and 41 of stat (proc(5))
SCHEDULING = "cut -d' ' -f19,41 /proc/self/stat"


def with_user_namespace(container: Container) -> None:
    container.namespace("user")
    container.linux["uidMappings"] = container.linux["gidMappings"] = USER


@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize(
    ("scheduler", "seen"),
    [
        ({"policy": "SCHED_OTHER", "nice": 7}, "7 0"),
        ({"policy": "SCHED_OTHER", "nice": -7}, "-7 0"),
        ({"policy": "SCHED_BATCH"}, "0 3"),
        ({"policy": "SCHED_IDLE"}, "0 5"),
    ],
)
def test_scheduler(container: Container, scheduler: dict[str, Any], seen: str, user: bool) -> None:
    """MUST 62: what isn't set counts as 0. A negative nice value in a user namespace comes from outside."""
    if user:
        with_user_namespace(container)
    container.process["scheduler"] = scheduler
    assert container.sees(SCHEDULING).strip() == seen


def test_deadlines_that_no_kernel_takes(container: Container) -> None:
    container.process["scheduler"] = {"policy": "SCHED_DEADLINE", "runtime": 10, "deadline": 20, "period": 30}
    container.refused("/process/scheduler")


@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("BE", "best-effort: prio 6"),
        ("RT", "realtime: prio 6"),
        ("IDLE", "idle"),
    ],
)
def test_io_priority(container: Container, name: str, seen: str, user: bool) -> None:
    if user:
        with_user_namespace(container)
    container.process["ioPriority"] = {"class": f"IOPRIO_CLASS_{name}", "priority": 6 if "prio" in seen else 0}
    assert container.sees("/bin/busybox ionice -p $$").strip().startswith(seen)


@pytest.mark.parametrize(("domain", "seen"), [("LINUX", "00000000"), ("LINUX32", "00000008")])
def test_personality(container: Container, domain: str, seen: str) -> None:
    container.linux["personality"] = {"domain": domain}
    assert container.sees("cat /proc/self/personality").strip() == seen


def test_memory_policy(container: Container) -> None:
    container.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}
    assert container.sees("head -1 /proc/self/numa_maps").split()[1] == "bind=static:0"


def test_a_node_that_is_not_there(container: Container) -> None:
    container.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "700"}
    container.refused("/linux/memoryPolicy", "set_mempolicy", "invalid argument")


@pytest.mark.parametrize("user", [False, True])
def test_clocks(container: Container, user: bool) -> None:
    if user:
        with_user_namespace(container)
    container.namespace("time")
    container.linux["timeOffsets"] = {"boottime": {"secs": 86400000}, "monotonic": {"secs": 5, "nanosecs": 3}}
    uptime, *offsets = container.sees("cat /proc/uptime /proc/self/timens_offsets").splitlines()
    assert float(uptime.split()[0]) > 86400000
    assert [line.split() for line in offsets] == [["monotonic", "5", "3"], ["boottime", "86400000", "0"]]


def test_an_offset_before_the_boot(container: Container) -> None:
    container.namespace("time")
    container.linux["timeOffsets"] = {"boottime": {"secs": -(1 << 40)}}
    container.refused("/linux/timeOffsets")


def test_exec_has_the_personality_too(container: Container) -> None:
    container.linux["personality"] = {"domain": "LINUX32"}
    container.up()
    assert container.runtime.ok("exec", container.id, "cat", "/proc/self/personality").strip() == "00000008"


def test_exec_has_the_memory_policy_too(container: Container) -> None:
    container.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    container.up()
    assert "bind:0" in container.runtime.ok("exec", container.id, "cat", "/proc/self/numa_maps")
