"""linux.cgroupsPath and linux.resources: what the kernel's files say (MUST 97 to 103)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness import Container, cgroups, hear, start_with_a_child

pytestmark = [pytest.mark.guest, pytest.mark.systemd]

V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
MIB = 1 << 20


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
    pid, read = start_with_a_child(container)
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
