"""linux.cgroupsPath and linux.resources: what the kernel's files say (MUST 97 to 103)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from harness import Container, cgroups, hear

V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
MIB = 1 << 20


def own(container: Container, controller: str) -> Path:
    """The cgroup's folder for a controller, of the container's init."""
    for line in Path(f"/proc/{container.pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if V2 and not controllers:
            return Path(f"/sys/fs/cgroup{path}")
        if controller in controllers.split(","):
            return Path(f"/sys/fs/cgroup/{controllers.removeprefix('name=')}{path}")
    pytest.skip(f"no {controller} controller")


@pytest.mark.parametrize("form", ["/{id}/inner", "{id}/inner", "", "/{id}"])
@pytest.mark.parametrize(
    ("resources", "v1", "v2"),
    [
        ({"memory": {"limit": 64 * MIB}}, ("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864")),
        ({"cpu": {"shares": 512}}, ("cpu.shares", "512"), ("cpu.weight", "59")),
        ({"cpu": {"quota": 50000, "period": 100000}}, ("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000")),
        ({"pids": {"limit": 42}}, ("pids.max", "42"), ("pids.max", "42")),
    ],
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


def test_an_absolute_path_is_from_the_mount(container: Container) -> None:
    """MUST 98."""
    container.linux["cgroupsPath"] = f"/{container.id}/inner"
    container.create()
    assert str(own(container, "pids")).endswith(f"{'' if V2 else 'pids'}/{container.id}/inner")


def test_in_every_hierarchy(container: Container) -> None:
    container.create()
    mounted = {line.split(" - ")[1].split()[2] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    for line in Path(f"/proc/{container.pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if any(controllers and controllers in options.split(",") for options in mounted):
            assert container.id in path, line


def test_delete_removes_what_create_made(container: Container) -> None:
    """MUST 40, 41: and nothing else."""
    existing = [Path(f"/sys/fs/cgroup/{name}/{container.id}") for name in ("pids", "memory")]
    if V2:
        pytest.skip("about version 1")
    for folder in existing:
        folder.mkdir()
    try:
        container.linux["cgroupsPath"] = f"/{container.id}/inner"
        container.create()
        container.delete()
        assert [str(folder) for folder in existing if folder.exists()] == [str(folder) for folder in existing]
        assert not any((folder / "inner").exists() for folder in existing)
    finally:
        for folder in existing:
            folder.rmdir()


def test_a_used_cgroup_is_refused(container: Container) -> None:
    """Its processes would share the container's limits, and be killed with it."""
    container.unlike(runc="1.1 warns only", crun="1.8 takes it")
    if V2:
        pytest.skip("about version 1")
    folder = Path(f"/sys/fs/cgroup/pids/{container.id}")
    folder.mkdir()
    pid = os.fork()
    if not pid:
        os.read(os.pipe()[0], 1)
    try:
        (folder / "cgroup.procs").write_text(str(pid))
        container.linux["cgroupsPath"] = f"/{container.id}"
        container.refused("container's cgroup is not empty: 1 process(es) found", "/linux/cgroupsPath")
        assert (folder / "cgroup.procs").read_text().split() == [str(pid)]
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        folder.rmdir()


def test_children_that_linger_are_ended(container: Container) -> None:
    """In the host's pid namespace the end of init is not the end of its children."""
    container.without_namespace("pid")
    container.sh("sleep 1000 & sleep 1000 & exit 0")
    container.create()
    assert container.start_and_wait() == 0
    folder = own_by_name(container, "pids")
    assert len((folder / "cgroup.procs").read_text().split()) == 2
    container.delete("--force")
    assert cgroups(container.id) == []


def own_by_name(container: Container, controller: str) -> Path:
    folders = [Path(path) for path in cgroups(container.id) if V2 or f"/{controller}/" in path]
    return folders[0]


def test_sigkill_ends_all_without_a_pid_namespace(container: Container) -> None:
    container.unlike(crun="1.8 kills init only")
    container.without_namespace("pid")
    read, write = os.pipe()
    container.sh("sleep 1000 & echo up; wait")
    container.create(stdout=write)
    os.close(write)
    pid = container.pid
    container.start()
    assert hear(read) == b"up\n"
    container.kill("KILL")
    container.wait(pid)
    assert hear(read) == b""  # nobody holds its other end
    os.close(read)


# devices --------------------------------------------------------------------------------------------------------------


def test_the_default_rules(container: Container) -> None:
    """Deny all, and what every container has."""
    container.capabilities("CAP_MKNOD")
    container.mount("/tmp", "tmpfs", "tmpfs")
    seen = container.sees(
        "echo x > /dev/null && head -c 1 /dev/zero > /dev/null && echo open;"
        "mknod /tmp/kmsg c 1 11 2>&1; mknod /tmp/null c 1 3 && echo made; true"
    )
    assert seen.splitlines()[0] == "open"
    assert "made" in seen
    container.unlike(runc="allows mknod of all")
    container.unlike(crun="allows mknod of all")


DENY = {"allow": False, "access": "rwm"}


def allow(kind: str, access: str, **numbers: int) -> dict[str, Any]:
    return {"allow": True, "type": kind, "access": access, **numbers}


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
    """MUST 103, the order. Reading a device that has no driver: what is allowed comes as far as ENXIO."""
    container.linux["devices"] = [{"path": "/dev/none", "type": "c", "major": 1, "minor": 200}]
    container.linux["resources"]["devices"] = rules
    seen = container.sees("(: < /dev/none) 2>&1; true")
    assert ("No such device" if allowed else "Operation not permitted") in seen


# the mount of type cgroup ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("namespace", [False, True])
def test_the_mount_shows_the_containers_own(container: Container, namespace: bool) -> None:
    if V2:
        pytest.skip("about version 1")
    if namespace:
        container.namespace("cgroup")
    container.linux["cgroupsPath"] = f"/{container.id}"
    container.linux["resources"]["pids"] = {"limit": 42}
    seen = container.sees("cat /sys/fs/cgroup/pids/pids.max; cat /sys/fs/cgroup/pids/cgroup.procs; ls /sys/fs/cgroup")
    first, *processes = seen.split()
    assert first == "42"
    assert "1" in processes
    assert {"memory", "cpu", "pids", "devices", "freezer"} <= set(processes)


def test_the_mount_is_read_only_as_asked(container: Container) -> None:
    folders = ["/sys/fs/cgroup/x"] if V2 else ["/sys/fs/cgroup/pids/x", "/sys/fs/cgroup/x"]
    seen = container.sees("".join(f"mkdir {folder} 2>&1; " for folder in folders) + "true")
    assert seen.count("Read-only file system") == len(folders)


@pytest.mark.parametrize("namespace", [False, True])
def test_a_writable_mount(container: Container, namespace: bool) -> None:
    if V2:
        pytest.skip("about version 1")
    if namespace:
        container.namespace("cgroup")
    container.config["mounts"][-1]["options"].remove("ro")
    container.sees("mkdir /sys/fs/cgroup/pids/below && echo $$ > /sys/fs/cgroup/pids/below/cgroup.procs")


@pytest.mark.parametrize("mode", ["../x", "/a/../../x"])
def test_a_path_that_climbs(container: Container, mode: str) -> None:
    container.unlike(runc="1.1 cleans it", crun="1.8 cleans it")
    container.linux["cgroupsPath"] = mode
    container.refused("/linux/cgroupsPath")


@pytest.mark.pyrun_only("about pyrun's words")
def test_a_value_that_the_kernel_refuses(container: Container) -> None:
    container.linux["resources"]["cpu"] = {"cpus": "9999"}
    container.refused("/linux/resources/cpu/cpus")


@pytest.mark.pyrun_only("peers need more memory than that")
def test_an_out_of_memory_kill_is_named(container: Container) -> None:
    container.linux["resources"]["memory"] = {"limit": 4096}
    container.refused("/linux/resources/memory")


def test_the_program_is_killed_when_out_of_memory(container: Container) -> None:
    container.linux["resources"]["memory"] = {"limit": 8 * MIB, "swap": 8 * MIB}
    if not V2 and not Path("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists():
        del container.linux["resources"]["memory"]["swap"]
    container.mount("/tmp", "tmpfs", "tmpfs")
    container.args = ["/bin/dd", "if=/dev/zero", "of=/tmp/x", "bs=1M", "count=30"]
    assert container.run().code == 137
