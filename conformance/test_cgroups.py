"""linux.cgroupsPath and linux.resources: what the kernel's files say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from conformance.harness import Container, cgroups, tidy

V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()

MIB = 1 << 20


def hierarchies() -> list[Path]:
    """A file at the top of each."""
    if V2:
        return [Path("/sys/fs/cgroup/cgroup.procs")]
    found = {path.resolve() for path in Path("/sys/fs/cgroup").glob("*/cgroup.procs") if os.path.ismount(path.parent)}
    return sorted(found)


def own(container: Container, controller: str) -> Path:
    """The cgroup's folder for a controller, of the container's init."""
    for line in Path(f"/proc/{container.pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if V2 and not controllers:
            return Path(f"/sys/fs/cgroup{path}")
        if controller in controllers.split(","):
            return Path(f"/sys/fs/cgroup/{controllers.removeprefix('name=')}{path}")
    pytest.skip(f"no {controller} controller")


@pytest.mark.must(28, 97)
@pytest.mark.parametrize(
    "form",
    [
        pytest.param("/{id}", marks=pytest.mark.cgroupfs, id="absolute"),
        pytest.param("{id}", marks=pytest.mark.cgroupfs, id="relative"),
        pytest.param("", id="none"),
    ],
)
@pytest.mark.parametrize(
    ("resources", "v1", "v2"),
    [
        ({"memory": {"limit": 64 * MIB}}, ("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864")),
        ({"cpu": {"shares": 512}}, ("cpu.shares", "512"), ("cpu.weight", "59")),
        ({"cpu": {"quota": 50000, "period": 100000}}, ("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000")),
        ({"pids": {"limit": 42}}, ("pids.max", "42"), ("pids.max", "42")),
    ],
    ids=["memory", "shares", "quota", "pids"],
)
def test_limits(
    container: Container, form: str, resources: dict[str, Any], v1: tuple[str, str], v2: tuple[str, str]
) -> None:
    if form:
        container.linux["cgroupsPath"] = form.format(id=container.id)
    container.linux["resources"] |= resources
    container.create()
    file, text = v2 if V2 else v1
    folder = own(container, file.split(".")[0])
    assert container.id in str(folder)
    assert (folder / file).read_text().strip() == text
    assert str(container.pid) in (folder / "cgroup.procs").read_text().split()


@pytest.mark.cgroupfs
@pytest.mark.must(98)
def test_an_absolute_path_is_from_the_mount(container: Container) -> None:
    container.linux["cgroupsPath"] = f"/{container.id}"
    container.create()
    assert str(own(container, "pids")).endswith(f"{'' if V2 else 'pids'}/{container.id}")


@pytest.mark.must(28)
def test_in_every_hierarchy(container: Container) -> None:
    container.create()
    mounted = {line.split(" - ")[1].split()[2] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    for line in Path(f"/proc/{container.pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if any(controllers and controllers in options.split(",") for options in mounted):
            assert container.id in path, line


@pytest.mark.cgroupfs
@pytest.mark.must(17, 40, 41)
def test_delete_removes_what_create_made(container: Container) -> None:
    """And nothing else: a parent that was there stays, in every hierarchy."""
    parents = [Path(folder).parent / container.id for folder in hierarchies()]
    for parent in parents:
        parent.mkdir()
    try:
        container.linux["cgroupsPath"] = f"/{container.id}/inner"
        container.create()
        assert own(container, "pids").name == "inner"
        container.delete()
        assert [parent for parent in parents if not parent.exists()] == []
        assert [parent for parent in parents if (parent / "inner").exists()] == []
    finally:
        tidy([], set(), [str(parent) for parent in parents if parent.exists()])


@pytest.mark.cgroupfs
@pytest.mark.must(17, 40)
def test_delete_removes_the_parents_that_create_made(container: Container) -> None:
    container.linux["cgroupsPath"] = f"/{container.id}/middle/inner"
    container.create()
    container.delete()
    left = cgroups(container.id)
    tidy([], set(), left)
    assert left == []


DENY = {"allow": False, "access": "rwm"}


def allow(kind: str, access: str, **numbers: int) -> dict[str, Any]:
    return {"allow": True, "type": kind, "access": access, **numbers}


@pytest.mark.must(103)
@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ([DENY], False),
        ([DENY, allow("c", "r", major=1, minor=200)], True),
        ([DENY, allow("c", "w", major=1, minor=200)], False),
        ([DENY, allow("c", "rw", major=1)], True),
        ([DENY, allow("b", "r", major=1, minor=200)], False),
        ([{"allow": True, "access": "rwm"}], True),
        ([allow("c", "r", major=1, minor=200), DENY], False),
    ],
)
def test_rules(container: Container, rules: list[dict[str, Any]], allowed: bool) -> None:
    """The order. Reading a device that has no driver: what is allowed comes as far as ENXIO."""
    container.linux["devices"] = [{"path": "/dev/none", "type": "c", "major": 1, "minor": 200}]
    container.linux["resources"]["devices"] = rules
    seen = container.sees("(: < /dev/none) 2>&1; true")
    assert ("No such device" if allowed else "Operation not permitted") in seen


@pytest.mark.must(100)
@pytest.mark.parametrize("path", ["../{id}", "/a/../../{id}"])
def test_a_path_that_climbs(container: Container, path: str) -> None:
    container.linux["cgroupsPath"] = path.format(id=container.id)
    container.refused()


@pytest.mark.cgroupfs
@pytest.mark.must(99)
def test_the_same_path_is_the_same_place(container: Container) -> None:
    found = []
    for _ in range(2):
        container.linux["cgroupsPath"] = f"{container.id}"
        container.create()
        found.append(own(container, "pids"))
        container.delete()
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "resources",
    [
        pytest.param(
            {"cpu": {"quota": 1000, "period": 100000, "burst": 2000}}, marks=pytest.mark.must(105), id="burst"
        ),
        pytest.param(
            {"blockIO": {"weightDevice": [{"major": 7, "minor": 0}]}}, marks=pytest.mark.must(106), id="weightDevice"
        ),
        pytest.param({"rdma": {"mlx5_1": {}}}, marks=pytest.mark.must(107), id="rdma"),
        pytest.param({"unified": {"nonsense.max": "1"}}, marks=pytest.mark.must(110), id="unified"),
        pytest.param({"cpu": {"cpus": "9999"}}, marks=pytest.mark.must(30, 80), id="cpus"),
        pytest.param({"hugepageLimits": [{"pageSize": "3KB", "limit": 1}]}, marks=pytest.mark.must(30, 80), id="page"),
    ],
)
def test_resources_that_cannot_be_had(container: Container, resources: dict[str, Any]) -> None:
    container.linux["resources"] |= resources
    container.refused()


@pytest.mark.cgroupfs
@pytest.mark.must(104)
def test_a_limit_below_what_is_used(container: Container) -> None:
    """Memory that outlives its process: a file on a tmpfs stays charged to the cgroup."""
    memory = Path("/sys/fs/cgroup" if V2 else "/sys/fs/cgroup/memory") / container.id
    folder = container.path / "charged"
    folder.mkdir()
    memory.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "charged", folder], check=True)
        command = f"echo $$ > {memory}/cgroup.procs && head -c {16 * MIB} /dev/zero > {folder}/file"
        subprocess.run(["sh", "-c", command], check=True)
        container.linux["cgroupsPath"] = f"/{container.id}"
        container.linux["resources"]["memory"] = {"limit": 4 * MIB, "checkBeforeUpdate": True}
        container.refused()
    finally:
        subprocess.run(["umount", folder], check=True)
        if memory.exists():
            memory.rmdir()
