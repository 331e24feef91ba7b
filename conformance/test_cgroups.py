"""linux.cgroupsPath and linux.resources: what the kernel's files say."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from conformance.harness import Container, cgroups, own_cgroup, tidy

pytestmark = pytest.mark.systemd

V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()

MIB = 1 << 20


def hierarchies() -> list[Path]:
    """A file at the top of each."""
    if V2:
        return [Path("/sys/fs/cgroup/cgroup.procs")]
    found = {path.resolve() for path in Path("/sys/fs/cgroup").glob("*/cgroup.procs") if os.path.ismount(path.parent)}
    return sorted(found)


class Limit(NamedTuple):
    """A part of linux.resources, and the lines that are found in files of its cgroup."""

    resources: dict[str, Any]
    v1: dict[str, str]
    v2: dict[str, str]  # empty: it has no counterpart in version 2


DISKS = [path.read_text().strip() for path in sorted(Path("/sys/block").glob("*/dev"))]
DISK = next(iter(DISKS), "7:0")
MAJOR, MINOR = map(int, DISK.split(":"))
RATE = [{"major": MAJOR, "minor": MINOR, "rate": 1 << 20}]
UNLIMITED = {"rbps": "max", "wbps": "max", "riops": "max", "wiops": "max"}


def throttle(name: str) -> str:
    """A line of io.max with one limit."""
    return " ".join([DISK, *(f"{key}={value}" for key, value in (UNLIMITED | {name: str(1 << 20)}).items())])


LIMITS = {
    "memory": Limit({"memory": {"limit": 64 * MIB}}, {"memory.limit_in_bytes": "67108864"}, {"memory.max": "67108864"}),
    "reservation": Limit(
        {"memory": {"reservation": 32 * MIB}}, {"memory.soft_limit_in_bytes": "33554432"}, {"memory.low": "33554432"}
    ),
    "swap": Limit(
        {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}},
        {"memory.memsw.limit_in_bytes": "100663296"},
        {"memory.swap.max": "33554432"},
    ),
    "kernelTCP": Limit({"memory": {"kernelTCP": 64 * MIB}}, {"memory.kmem.tcp.limit_in_bytes": "67108864"}, {}),
    "swappiness": Limit({"memory": {"swappiness": 50}}, {"memory.swappiness": "50"}, {}),
    "OOM killer": Limit({"memory": {"disableOOMKiller": True}}, {"memory.oom_control": "oom_kill_disable 1"}, {}),
    "shares": Limit({"cpu": {"shares": 512}}, {"cpu.shares": "512"}, {"cpu.weight": "59"}),
    "quota": Limit(
        {"cpu": {"quota": 50000, "period": 200000}},
        {"cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "200000"},
        {"cpu.max": "50000 200000"},
    ),
    "burst": Limit(
        {"cpu": {"quota": 50000, "period": 100000, "burst": 20000}},
        {"cpu.cfs_burst_us": "20000"},
        {"cpu.max.burst": "20000"},
    ),
    "idle": Limit({"cpu": {"idle": 1}}, {"cpu.idle": "1"}, {"cpu.idle": "1"}),
    "cpuset": Limit(
        {"cpu": {"cpus": "0", "mems": "0"}},
        {"cpuset.cpus": "0", "cpuset.mems": "0"},
        {"cpuset.cpus": "0", "cpuset.mems": "0"},
    ),
    "pids": Limit({"pids": {"limit": 42}}, {"pids.max": "42"}, {"pids.max": "42"}),
    "no pids": Limit({"pids": {"limit": -1}}, {"pids.max": "max"}, {"pids.max": "max"}),
    "hugetlb": Limit(
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]},
        {"hugetlb.2MB.limit_in_bytes": "4194304"},
        {"hugetlb.2MB.max": "4194304"},
    ),
    "read": Limit(
        {"blockIO": {"throttleReadBpsDevice": RATE}},
        {"blkio.throttle.read_bps_device": f"{DISK} 1048576"},
        {"io.max": throttle("rbps")},
    ),
    "write": Limit(
        {"blockIO": {"throttleWriteIOPSDevice": RATE}},
        {"blkio.throttle.write_iops_device": f"{DISK} 1048576"},
        {"io.max": throttle("wiops")},
    ),
    "weight": Limit({"blockIO": {"weight": 500}}, {"blkio.weight": "500"}, {"io.weight": "default 4950"}),
    "classID": Limit({"network": {"classID": 1048577}}, {"net_cls.classid": "1048577"}, {}),
    "priorities": Limit(
        {"network": {"priorities": [{"name": "lo", "priority": 500}]}}, {"net_prio.ifpriomap": "lo 500"}, {}
    ),
}


@pytest.fixture(scope="session")
def kernels_files() -> set[str]:
    """The names of the files that a cgroup can have here."""
    if V2:
        top = Path("/sys/fs/cgroup")
        for controller in (top / "cgroup.controllers").read_text().split():
            (top / "cgroup.subtree_control").write_text(f"+{controller}")
    found: set[str] = set()
    for file in hierarchies():
        probe = file.parent / f"probe-{os.getpid()}"
        probe.mkdir()
        found |= set(os.listdir(probe))
        probe.rmdir()
    return found


@pytest.mark.must(28, 30, 97)
@pytest.mark.parametrize(
    "form",
    [
        pytest.param("/{id}", marks=pytest.mark.cgroupfs, id="absolute"),
        pytest.param("{id}", marks=pytest.mark.cgroupfs, id="relative"),
        pytest.param("", id="none"),
    ],
)
@pytest.mark.parametrize("name", LIMITS)
def test_limits(container: Container, kernels_files: set[str], form: str, name: str) -> None:
    """In the files of the container's own cgroup; a limit that there is no file or no device for is refused."""
    limit = LIMITS[name]
    expected = limit.v2 if V2 else limit.v1
    if not expected:
        pytest.skip("not in this version of cgroups")
    if form:
        container.linux["cgroupsPath"] = form.format(id=container.id)
    container.linux["resources"] |= limit.resources
    there = set(expected) <= kernels_files
    if not there and name == "weight":
        pytest.skip("the kernel may have it by another name")
    if not there or ("throttle" in str(limit.resources) and not DISKS):
        container.refused()
        return
    container.create()
    for file, line in expected.items():
        folder = own_cgroup(container, file.split(".")[0])
        assert container.id in str(folder)
        assert line in (folder / file).read_text().splitlines()
        assert str(container.pid) in (folder / "cgroup.procs").read_text().split()


@pytest.mark.cgroupfs
@pytest.mark.must(98)
def test_an_absolute_path_is_from_the_mount(container: Container) -> None:
    container.linux["cgroupsPath"] = f"/{container.id}"
    container.create()
    assert str(own_cgroup(container, "pids")).endswith(f"{'' if V2 else 'pids'}/{container.id}")


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
        assert own_cgroup(container, "pids").name == "inner"
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


@pytest.mark.cgroupfs
@pytest.mark.must(41)
def test_delete_leaves_a_cgroup_that_was_there(container: Container) -> None:
    """It is associated with the container, but create did not make it."""
    made = [Path(file).parent / container.id for file in hierarchies()]
    for folder in made:
        folder.mkdir()
    try:
        container.linux["cgroupsPath"] = f"/{container.id}"
        container.create()
        assert container.start_and_wait() == 0
        container.delete()
        assert [folder for folder in made if not folder.exists()] == []
    finally:
        tidy([], set(), cgroups(container.id))


@pytest.mark.must(41)
def test_delete_leaves_a_cgroup_that_the_container_was_moved_to(container: Container) -> None:
    container.create()
    other = own_cgroup(container, "pids").parents[0] / f"{container.id}-other"
    other.mkdir()
    try:
        (other / "cgroup.procs").write_text(str(container.pid))
        assert container.start_and_wait() == 0
        container.delete()
        assert other.exists()
    finally:
        other.rmdir()


@pytest.fixture
def in_use(container: Container) -> Iterator[list[Path]]:
    """The container's cgroups, made before it, with a process in them."""
    made = [Path(file).parent / container.id for file in hierarchies()]
    container.linux["cgroupsPath"] = f"/{container.id}"
    with subprocess.Popen(["sleep", "1000"]) as process:
        for folder in made:
            folder.mkdir()
            for name in ("cpuset.cpus", "cpuset.mems"):
                if not V2 and (folder / name).exists():
                    (folder / name).write_text((folder.parent / name).read_text())
            (folder / "cgroup.procs").write_text(str(process.pid))
        yield made
        process.kill()
        process.wait()
    container.runtime("delete", "--force", container.id)
    tidy([], set(), cgroups(container.id))


@pytest.mark.cgroupfs
@pytest.mark.must(96)
def test_a_cgroup_in_use(container: Container, in_use: list[Path]) -> None:
    """It is looked for, and then it is an error that leaves all as it was; or it is nothing to speak of."""
    container.write()
    done = container.runtime("create", "--bundle", container.path, container.id)
    if done.code == 0:
        assert (done.out, done.err) == ("", "")
        assert container.start_and_wait() == 0
        return
    assert not container.exists()
    assert [len((folder / "cgroup.procs").read_text().split()) for folder in in_use] == [1] * len(in_use)


@pytest.mark.cgroupfs
@pytest.mark.must(96)
def test_a_frozen_cgroup(container: Container) -> None:
    """A container would hang there; refused, or run all the same."""
    folder = Path("/sys/fs/cgroup" if V2 else "/sys/fs/cgroup/freezer") / container.id
    file, frozen, thawed = ("cgroup.freeze", "1", "0") if V2 else ("freezer.state", "FROZEN", "THAWED")
    folder.mkdir()
    (folder / file).write_text(frozen)
    container.linux["cgroupsPath"] = f"/{container.id}"
    container.write()
    try:
        done = container.runtime("create", "--bundle", container.path, container.id, timeout=5)
        if done.code == 0:
            assert container.start_and_wait() == 0
        else:
            assert not container.exists()
            assert (folder / file).read_text().strip() == frozen
    finally:
        (folder / file).write_text(thawed)
        container.runtime("delete", "--force", container.id)
        tidy([], set(), cgroups(container.id))


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


@pytest.mark.must(103)
def test_rules_as_the_kernel_lists_them(container: Container) -> None:
    """Each as it was asked for, and in this order, beside what a runtime adds."""
    if V2:
        pytest.skip("version 2 has no list")
    rules = [("c", 10, 229, "rwm"), ("b", 8, 20, "rw"), ("b", 10, 200, "r")]
    container.linux["resources"]["devices"] = [DENY] + [
        allow(kind, access, major=major, minor=minor) for kind, major, minor, access in rules
    ]
    container.create()
    listed = (own_cgroup(container, "devices") / "devices.list").read_text().splitlines()
    asked = [f"{kind} {major}:{minor} {access}" for kind, major, minor, access in rules]
    assert [line for line in listed if line in asked] == asked


@pytest.mark.deviates
@pytest.mark.must(103)
def test_a_default_device_that_is_denied(container: Container) -> None:
    """By a later rule than the one that allows it."""
    container.linux["resources"]["devices"] = [
        {"allow": True, "access": "rwm"},
        {"allow": False, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
    ]
    assert "not permitted" in container.sees("(: < /dev/zero) 2>&1; true")


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
        found.append(own_cgroup(container, "pids"))
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
        pytest.param({"unified": {"memory.nonsense": "1"}}, marks=pytest.mark.must(30, 80), id="file"),
        pytest.param({"memory": {"limit": 2 * MIB, "swap": MIB}}, marks=pytest.mark.must(30, 80), id="swap"),
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


# Version 2 ------------------------------------------------------------------------------------------------------------

needs_v2 = pytest.mark.skipif(not V2, reason="needs cgroup version 2 alone")


@pytest.mark.cgroupfs
@needs_v2
@pytest.mark.must(108)
@pytest.mark.parametrize("file", ["memory.high", "pids.max", "cpu.weight", "cpuset.cpus"])
def test_unified_enables_the_controller(container: Container, file: str) -> None:
    """All the way down to the container's cgroup."""
    controller, _, _ = file.partition(".")
    if controller not in Path("/sys/fs/cgroup/cgroup.controllers").read_text().split():
        pytest.skip(f"no {controller} controller in this kernel")
    values = {"memory.high": str(32 * MIB), "pids.max": "77", "cpu.weight": "33", "cpuset.cpus": "0"}
    container.linux["cgroupsPath"] = f"/{container.id}/middle/inner"
    container.linux["resources"]["unified"] = {file: values[file]}
    container.create()
    folder = own_cgroup(container, "")
    assert (folder / file).read_text().strip() == values[file]
    assert controller in (folder.parent / "cgroup.subtree_control").read_text().split()
    container.delete()
    tidy([], set(), cgroups(container.id))


@needs_v2
@pytest.mark.must(109)
@pytest.mark.parametrize(("file", "value"), [("cgroup.max.descendants", "7"), ("memory.oom.group", "1")])
def test_unified_writes_what_it_does_not_know(container: Container, file: str, value: str) -> None:
    container.linux["resources"]["unified"] = {file: value}
    container.create()
    assert (own_cgroup(container, "") / file).read_text().strip() == value


@needs_v2
@pytest.mark.must(111)
@pytest.mark.parametrize("name", [name for name, limit in LIMITS.items() if not limit.v2 and name != "kernelTCP"])
def test_what_version_2_does_not_have(container: Container, name: str) -> None:
    container.linux["resources"] |= LIMITS[name].resources
    container.refused()


@needs_v2
@pytest.mark.must(111)
@pytest.mark.parametrize(
    "resources",
    [
        {"cpu": {"realtimeRuntime": 5000, "realtimePeriod": 100000}},
        {"blockIO": {"leafWeight": 500}},
        {"memory": {"swap": 64 * MIB}},
    ],
    ids=["real-time", "leafWeight", "swap without a limit"],
)
def test_what_cannot_be_converted(container: Container, resources: dict[str, Any]) -> None:
    container.linux["resources"] |= resources
    container.refused()


DELEGATED = Path("/sys/kernel/cgroup/delegate")


@pytest.fixture
def list_of_the_kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[set[str]]:
    """What the kernel says may be delegated, in the tests' mount namespace: as it is, with one name more, or not."""
    names = set(DELEGATED.read_text().split())
    if request.param == "as it is":
        yield names
        return
    over = DELEGATED if request.param == "one more" else DELEGATED.parent
    if request.param == "one more":
        (tmp_path / "delegate").write_text("\n".join(sorted({*names, "no.such.file"})) + "\n")
        subprocess.run(["mount", "--bind", tmp_path / "delegate", over], check=True)
    else:
        subprocess.run(["mount", "-t", "tmpfs", "nothing", over], check=True)
        names = {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"}
    yield names
    subprocess.run(["umount", over], check=True)


@needs_v2
@pytest.mark.parametrize(
    "list_of_the_kernel",
    [
        pytest.param("as it is", marks=pytest.mark.must(101)),
        pytest.param("one more", marks=pytest.mark.must(101)),
        pytest.param("none", marks=pytest.mark.must(102)),
    ],
    indirect=True,
)
@pytest.mark.parametrize("uid", [0, 1000])
def test_delegation(container: Container, list_of_the_kernel: set[str], uid: int) -> None:
    """The cgroup belongs to the program's user, with the files that the kernel lists, and no others."""
    container.process["user"]["uid"] = uid
    container.user_namespace(100000)
    container.namespace("cgroup")
    container.config["mounts"][-1]["options"] = ["nosuid", "noexec", "nodev", "relatime", "rw"]
    container.without_mount("/sys")  # not to be had in a user namespace where the host's is covered
    container.create()
    folder = own_cgroup(container, "")
    owned = {path.name for path in folder.iterdir() if path.stat().st_uid == 100000 + uid}
    assert folder.stat().st_uid == 100000 + uid
    assert owned == {name for name in list_of_the_kernel if (folder / name).exists()}


@needs_v2
@pytest.mark.parametrize("why", ["read-only", "no cgroup namespace"])
def test_no_delegation(container: Container, why: str) -> None:
    container.user_namespace(100000)
    if why == "read-only":
        container.namespace("cgroup")
    else:
        container.config["mounts"][-1]["options"].remove("ro")
    container.create()
    assert own_cgroup(container, "").stat().st_uid == 0


@needs_v2
@pytest.mark.must(19, 41)
def test_the_hosts_mount_keeps_its_options(container: Container) -> None:
    """cgroup2 is one file system: its options are those of the last who mounts it outside of a namespace of its own."""

    def options() -> str:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return next(line for line in lines if " - cgroup2 " in line)

    before = options()
    container.sees("true")
    assert options() == before
