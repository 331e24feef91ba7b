"""What the controllers know: version 1 values in version 2 terms, hints, statistics, what a host lacks."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from pyrun.cgroups import controllers as package
from pyrun.cgroups.cgroup import Cgroup
from pyrun.cgroups.controller import Wanted
from pyrun.cgroups.controllers import controllers
from pyrun.cgroups.controllers.blkio import io_weight
from pyrun.cgroups.controllers.cpu import cpu_max, cpu_weight
from pyrun.cgroups.controllers.memory import swap_max
from pyrun.cgroups.errors import refused
from pyrun.cgroups.host import Hierarchies, Hierarchy
from pyrun.cgroups.statistics import statistics
from pyrun.spec import schema

MIB = 1 << 20


@pytest.mark.parametrize(
    ("shares", "weight"),
    [
        (0, 0),
        (1, 1),
        (2, 1),
        (3, 2),
        (512, 59),
        (1024, 100),
        (2048, 174),
        (262143, 10000),
        (262144, 10000),
        (1 << 40, 10000),
    ],
)
def test_cpu_weight(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


def test_cpu_weight_never_falls() -> None:
    weights = [cpu_weight(shares) for shares in range(2, 262145, 97)]
    assert weights == sorted(weights)


@pytest.mark.parametrize(("weight", "expected"), [(0, 0), (10, 1), (100, 910), (500, 4950), (1000, 10000)])
def test_io_weight(weight: int, expected: int) -> None:
    assert io_weight(weight) == expected


@pytest.mark.parametrize(
    ("swap", "limit", "expected"),
    [
        (0, 0, None),
        (0, MIB, None),
        (0, -1, "max"),
        (-1, 0, "max"),
        (-1, MIB, "max"),
        (MIB, -1, str(MIB)),
        (MIB, MIB, "0"),
        (3 * MIB, MIB, str(2 * MIB)),
    ],
)
def test_swap_max(swap: int, limit: int, expected: str | None) -> None:
    assert swap_max(swap, limit) == expected


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [
        (0, 0, None),
        (-1, 0, "max"),
        (50000, 0, "50000"),
        (50000, 100000, "50000 100000"),
        (0, 9000, "max 9000"),
        (-1, 9, "max 9"),
    ],
)
def test_cpu_max(quota: int, period: int, expected: str | None) -> None:
    assert cpu_max(quota, period) == expected


def test_every_module_is_in_the_list() -> None:
    files = {path.stem for path in Path(package.__path__[0]).glob("[a-z]*.py")}
    assert files == {name for name, _ in package._ROWS}
    assert {section for _, section in package._ROWS} == set(schema.load("config", "resources")["properties"])
    assert [type(c).__name__.lower() for c in controllers()] == [name for name, _ in package._ROWS]


def test_only_what_is_asked_for_is_loaded() -> None:
    assert [type(c).__name__ for c in controllers({"cpu": {}, "rdma": {}})] == ["Cpuset", "Cpu", "Rdma"]


@pytest.mark.parametrize(
    ("file", "number", "words"),
    [
        ("rdma.max", "ENODEV", "no RDMA device"),
        ("cpuset.cpus", "ERANGE", "no such CPU"),
        ("blkio.throttle.read_bps_device", "ENODEV", "no block device"),
        ("cgroup.procs", "EBUSY", "controllers enabled"),
        ("cgroup.procs", "ENOSPC", "must not be empty"),
        ("cgroup.procs", "EINVAL", "real-time"),
        ("anything", "EROFS", "read-only"),
        ("anything", "EINVAL", ""),
    ],
)
def test_hints(file: str, number: str, words: str) -> None:
    error = refused("/x", "write 1 to", f"/sys/fs/cgroup/{file}", OSError(getattr(errno, number), "what"))
    assert words in error.hint
    assert bool(words) == bool(error.hint)


def figures(folder: Path, controller: str, v2: bool, **files: str) -> dict[str, Any]:
    (folder / "c").mkdir()
    for name, text in files.items():
        (folder / "c" / name.replace("_", ".", 1)).write_text(text)
    tree = Hierarchy(() if v2 else (controller,), str(folder), "/", "/")
    return statistics(Cgroup(Hierarchies("v2" if v2 else "v1", [tree]), "c", "/c"), 0, {})


@pytest.mark.parametrize("v2", [False, True])
def test_figures_of_rdma(tmp_path: Path, v2: bool) -> None:
    data = figures(
        tmp_path,
        "rdma",
        v2,
        rdma_current="mlx4_0 hca_handle=2 hca_object=2000\nocrdma1 hca_handle=3 hca_object=0\n",
        rdma_max="mlx4_0 hca_handle=5 hca_object=max\nocrdma1 hca_handle=max hca_object=max\n",
    )
    most = (1 << 32) - 1
    assert data["rdma"] == {
        "rdma_current": [
            {"device": "mlx4_0", "hca_handles": 2, "hca_objects": 2000},
            {"device": "ocrdma1", "hca_handles": 3, "hca_objects": 0},
        ],
        "rdma_limit": [
            {"device": "mlx4_0", "hca_handles": 5, "hca_objects": most},
            {"device": "ocrdma1", "hca_handles": most, "hca_objects": most},
        ],
    }


def test_figures_of_nothing(tmp_path: Path) -> None:
    """What readers expect a number of is there, and nothing that the host doesn't have."""
    data = figures(tmp_path, "", True)
    assert set(data) == {
        "cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces",
    }  # fmt: skip
    assert data["pids"] == {"current": 0, "limit": 0}
    assert "psi" not in data["cpu"]


@pytest.mark.parametrize("v2", [False, True])
def test_figures_in_the_form_of_runc(tmp_path: Path, v2: bool) -> None:
    """The members of its types/events.go and of what these are made of; lists of numbers are such."""
    cpus, mems = ("cpuset_cpus.effective", "cpuset_mems.effective") if v2 else ("cpuset_cpus", "cpuset_mems")
    data = figures(tmp_path, "cpuset", v2, **{cpus: "0-2\n", mems: "0\n"})
    assert data["cpuset"] == {
        "cpus": [0, 1, 2],
        "mems": [0],
        **dict.fromkeys(
            (
                "cpu_exclusive",
                "mem_hardwall",
                "mem_exclusive",
                "memory_migrate",
                "memory_spread_page",
                "memory_spread_slab",
                "memory_pressure",
                "sched_load_balance",
                "sched_relax_domain_level",
            ),
            0,
        ),
    }
    assert set(data["cpu"]) == {"usage", "throttling"}
    assert set(data["cpu"]["usage"]) >= {"total", "kernel", "user"}
    assert set(data["cpu"]["throttling"]) == {"periods", "throttledPeriods", "throttledTime"}
    assert {"usage", "swap", "kernel", "kernelTCP", "raw"} <= set(data["memory"])
    for part in ("usage", "swap"):
        assert set(data["memory"][part]) >= {"limit", "failcnt"}, part
    assert set(data["pids"]) == {"current", "limit"}


def test_figures_of_version_2(tmp_path: Path) -> None:
    psi = "some avg10=1.50 avg60=0.00 avg300=0.00 total=7\n"
    data = figures(
        tmp_path,
        "",
        True,
        cpu_stat="usage_usec 5\nnr_periods 2\nthrottled_usec 3\n",
        cpu_pressure=psi,
        memory_current="4096\n",
        memory_max="max\n",
        io_stat="8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
        pids_max="max\n",
    )
    assert data["cpu"]["usage"]["total"] == 5000
    assert data["cpu"]["throttling"] == {"periods": 2, "throttledPeriods": 0, "throttledTime": 3000}
    assert data["cpu"]["psi"] == {"some": {"avg10": 1.5, "avg60": 0.0, "avg300": 0.0, "total": 7}}
    assert data["memory"]["usage"]["limit"] == (1 << 64) - 1
    assert data["blkio"]["ioServicedRecursive"][1] == {"major": 8, "minor": 0, "op": "Write", "value": 4}
    assert data["pids"]["limit"] == 0


@pytest.mark.parametrize(
    ("resources", "where"),
    [
        ({"cpu": {"cpus": "0,8191"}}, "cpu/cpus"),
        ({"cpu": {"mems": "1000"}}, "cpu/mems"),
        ({"rdma": {"nope": {"hcaHandles": 1}}}, "rdma/nope"),
        ({"network": {"priorities": [{"name": "nope", "priority": 1}]}}, "network/priorities/0/name"),
        ({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}, "hugepageLimits/0/pageSize"),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 4095, "minor": 0, "rate": 1}]}},
            "blockIO/throttleReadBpsDevice/0",
        ),
        ({"memory": {"useHierarchy": False}}, "memory/useHierarchy"),
        ({"cpu": {"cpus": "0", "shares": 2}, "memory": {"limit": 1}}, ""),
    ],
)
def test_what_a_host_lacks(resources: dict[str, Any], where: str) -> None:
    found = [fault for c in controllers(resources) for fault in c.lacks(Wanted(resources, v2=False))]
    assert [fault.pointer for fault in found] == ([f"/linux/resources/{where}"] if where else [])
