"""linux.resources compiled to writes."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from pyrun.cgroups.controller import Write
from pyrun.cgroups.resources import compile_writes
from pyrun.spec.faults import Fault, Invalid

v1_writes = partial(compile_writes, v2=False)
v2_writes = partial(compile_writes, v2=True)
DEVICE = {"major": 8, "minor": 16}


def lines(writes: list[Write]) -> list[str]:
    return [f"{write.file} = {write.value}" for write in writes]


# resources, version 1 files, version 2 files (None: a fault there)
TABLE: list[tuple[dict[str, Any], list[str] | None, list[str] | None]] = [
    ({}, [], []),
    ({"memory": {}, "cpu": {}, "pids": None, "blockIO": {}, "unified": {}}, [], []),
    ({"memory": {"limit": 4096}}, ["memory.limit_in_bytes = 4096"], ["memory.max = 4096"]),
    ({"memory": {"limit": 0, "swap": 0, "reservation": 0}}, [], []),
    ({"memory": {"limit": -1}}, ["memory.limit_in_bytes = -1"], ["memory.swap.max = max", "memory.max = max"]),
    (
        {"memory": {"swap": 12288, "limit": 4096, "reservation": 2048}},
        ["memory.limit_in_bytes = 4096", "memory.memsw.limit_in_bytes = 12288", "memory.soft_limit_in_bytes = 2048"],
        ["memory.low = 2048", "memory.swap.max = 8192", "memory.max = 4096"],
    ),
    ({"memory": {"swap": -1}}, ["memory.memsw.limit_in_bytes = -1"], ["memory.swap.max = max"]),
    ({"memory": {"reservation": -1}}, ["memory.soft_limit_in_bytes = -1"], ["memory.low = max"]),
    ({"memory": {"swappiness": 0}}, ["memory.swappiness = 0"], None),
    ({"memory": {"disableOOMKiller": True}}, ["memory.oom_control = 1"], None),
    ({"memory": {"disableOOMKiller": False}}, ["memory.oom_control = 0"], []),
    ({"memory": {"useHierarchy": True}}, ["memory.use_hierarchy = 1"], []),
    ({"memory": {"useHierarchy": False}}, ["memory.use_hierarchy = 0"], None),
    (
        {"memory": {"kernel": 1, "kernelTCP": 2}},
        ["memory.kmem.limit_in_bytes = 1", "memory.kmem.tcp.limit_in_bytes = 2"],
        [],
    ),
    ({"cpu": {"shares": 1024}}, ["cpu.shares = 1024"], ["cpu.weight = 100"]),
    ({"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""}}, [], []),
    (
        {"cpu": {"burst": 10, "quota": 20000, "period": 50000}},
        ["cpu.cfs_period_us = 50000", "cpu.cfs_quota_us = 20000", "cpu.cfs_burst_us = 10"],
        ["cpu.max = 20000 50000", "cpu.max.burst = 10"],
    ),
    ({"cpu": {"quota": -1}}, ["cpu.cfs_quota_us = -1"], ["cpu.max = max"]),
    ({"cpu": {"idle": 1, "shares": 2}}, ["cpu.shares = 2", "cpu.idle = 1"], ["cpu.weight = 1", "cpu.idle = 1"]),
    (
        {"cpu": {"realtimeRuntime": 5000, "realtimePeriod": 10000}},
        ["cpu.rt_period_us = 10000", "cpu.rt_runtime_us = 5000"],
        None,
    ),
    (
        {"cpu": {"mems": "0", "cpus": "0-1"}, "pids": {"limit": 5}},
        ["cpuset.cpus = 0-1", "cpuset.mems = 0", "pids.max = 5"],
        ["cpuset.cpus = 0-1", "cpuset.mems = 0", "pids.max = 5"],
    ),
    ({"pids": {"limit": 0}}, ["pids.max = 1"], ["pids.max = 1"]),
    ({"pids": {"limit": -1}}, ["pids.max = max"], ["pids.max = max"]),
    ({"blockIO": {"weight": 500}}, ["blkio.weight = 500"], ["io.bfq.weight = 500"]),
    ({"blockIO": {"leafWeight": 500}}, ["blkio.leaf_weight = 500"], None),
    ({"blockIO": {"weight": 0, "leafWeight": 0}}, [], []),
    (
        {"blockIO": {"weightDevice": [{**DEVICE, "weight": 10, "leafWeight": 20}]}},
        ["blkio.weight_device = 8:16 10", "blkio.leaf_weight_device = 8:16 20"],
        None,
    ),
    (
        {
            "blockIO": {
                "throttleReadBpsDevice": [{**DEVICE, "rate": 1}],
                "throttleWriteBpsDevice": [{**DEVICE, "rate": 0}],
                "throttleReadIOPSDevice": [{**DEVICE, "rate": 3}],
                "throttleWriteIOPSDevice": [{**DEVICE, "rate": 4}],
            }
        },
        [
            "blkio.throttle.read_bps_device = 8:16 1",
            "blkio.throttle.write_bps_device = 8:16 0",
            "blkio.throttle.read_iops_device = 8:16 3",
            "blkio.throttle.write_iops_device = 8:16 4",
        ],
        ["io.max = 8:16 rbps=1", "io.max = 8:16 wbps=max", "io.max = 8:16 riops=3", "io.max = 8:16 wiops=4"],
    ),
    (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]},
        ["hugetlb.2MB.rsvd.limit_in_bytes = 0", "hugetlb.2MB.limit_in_bytes = 0"],
        ["hugetlb.2MB.rsvd.max = 0", "hugetlb.2MB.max = 0"],
    ),
    (
        {"network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]}},
        ["net_cls.classid = 1048577", "net_prio.ifpriomap = eth0 5"],
        None,
    ),
    ({"network": {"classID": 0, "priorities": []}}, [], []),
    (
        {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 0}, "mlx4_0": {"hcaObjects": 7}}},
        ["rdma.max = mlx5_1 hca_handle=3 hca_object=0", "rdma.max = mlx4_0 hca_object=7"],
        ["rdma.max = mlx5_1 hca_handle=3 hca_object=0", "rdma.max = mlx4_0 hca_object=7"],
    ),
    (
        {"unified": {"memory.high": "1G", "io.max": "8:0 rbps=1\n8:16 rbps=2", "cgroup.max.depth": "3", "x.y": ""}},
        None,
        ["memory.high = 1G", "io.max = 8:0 rbps=1", "io.max = 8:16 rbps=2", "cgroup.max.depth = 3", "x.y = "],
    ),
]


@pytest.mark.parametrize(("resources", "v1", "v2"), TABLE)
def test_writes(resources: dict[str, Any], v1: list[str] | None, v2: list[str] | None) -> None:
    for compile_, expected in ((v1_writes, v1), (v2_writes, v2)):
        if expected is None:
            with pytest.raises(Invalid) as caught:
                compile_(resources)
            assert all(f.rule == "MUST 111" and f.hint and f.pointer.startswith("/linux/") for f in caught.value.faults)
        else:
            assert lines(compile_(resources)) == expected


def test_v2_swap_needs_limit() -> None:
    with pytest.raises(Invalid, match="plus swap needs memory"):
        v2_writes({"memory": {"swap": 4096}})
    assert v1_writes({"memory": {"swap": 4096}})  # an update, of a cgroup that has a limit


def test_v1_memory_without_a_limit_has_no_limit_with_swap() -> None:
    with pytest.raises(Invalid, match="memory and swap together"):
        v1_writes({"memory": {"limit": -1, "swap": 4096}})
    assert v2_writes({"memory": {"limit": -1, "swap": 4096}})


def test_all_faults_are_found_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        v2_writes({"network": {"classID": 9}, "cpu": {"realtimePeriod": 7}, "memory": {"swappiness": 1}})
    assert len(caught.value.faults) == 3


def test_every_pointer_leads_to_its_property() -> None:
    for resources, v1, v2 in TABLE:
        for compile_, expected in ((v1_writes, v1), (v2_writes, v2)):
            for write in compile_(resources) if expected is not None else ():
                value: Any = resources
                for token in write.pointer.removeprefix("/linux/resources/").split("/"):
                    value = value[int(token)] if isinstance(value, list) else value[token]
                assert value is not None


def test_pointer_of_another_document() -> None:
    assert v1_writes({"pids": {"limit": 1}}, pointer="")[0].pointer == "/pids/limit"


@pytest.mark.parametrize(("compile_", "members"), [(v1_writes, ["kernel"]), (v2_writes, ["kernel", "kernelTCP"])])
def test_kernel_memory_warns(compile_: Any, members: list[str]) -> None:
    warnings: list[Fault] = []
    compile_({"memory": {"kernel": 4096, "kernelTCP": -1}}, warnings=warnings)
    assert [w.pointer for w in warnings] == [f"/linux/resources/memory/{member}" for member in members]


def test_pairs_and_their_order() -> None:
    """A write that may need its neighbour first names it."""
    v1 = v1_writes({"memory": {"limit": 1, "swap": 2}, "cpu": {"quota": 1, "period": 2, "burst": 0}})
    assert [(a.pair, b.file) for a, b in pairwise(v1) if a.pair] == [
        ("memory.memsw.limit_in_bytes", "memory.memsw.limit_in_bytes"),
        ("cpu.cfs_quota_us", "cpu.cfs_quota_us"),
        ("cpu.cfs_burst_us", "cpu.cfs_burst_us"),
    ]


def test_what_asks_for_nothing_is_optional() -> None:
    assert v1_writes({"memory": {"swap": -1}})[0].optional
    assert not v1_writes({"memory": {"swap": 8192}})[0].optional
    assert [w.optional for w in v2_writes({"memory": {"limit": 4096, "swap": 4096}})] == [True, False]


def test_check_before_update() -> None:
    memory = {"limit": 4096, "checkBeforeUpdate": True}
    assert [w.ceiling for w in v2_writes({"memory": memory})] == ["memory.current"]
    assert [w.ceiling for w in v2_writes({"memory": {**memory, "limit": -1}})] == ["", ""]


@pytest.mark.parametrize(
    ("compile_", "file", "value"),
    [(v1_writes, "blkio.bfq.weight", "10"), (v2_writes, "io.weight", "default 1")],
)
def test_weight_has_a_second_file(compile_: Any, file: str, value: str) -> None:
    otherwise = compile_({"blockIO": {"weight": 10}})[0].otherwise
    assert (otherwise.file, otherwise.value) == (file, value)
