"""linux.devices, the default devices and links of /dev; maskedPaths, readonlyPaths; sysctl."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness import Container

pytestmark = pytest.mark.guest

DEFAULTS = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}


def test_nothing_else_is_in_dev(container: Container) -> None:
    expected = {*DEFAULTS, "fd", "stdin", "stdout", "stderr", "ptmx", "pts", "shm", "mqueue"}
    assert set(container.sees("ls /dev").split()) - {"core"} == expected


def test_a_bound_dev_is_left_alone(container: Container) -> None:
    """Nothing is made in a /dev that comes from outside."""
    folder = container.path / "dev"
    for name in ("pts", "shm", "mqueue"):
        (folder / name).mkdir(parents=True)
    os.mknod(folder / "null", 0o20666, os.makedev(1, 3))
    container.without_mount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    container.mount("/dev", "bind", str(folder), "rbind")
    before = set(os.listdir(folder))
    assert container.sees("ls /dev").split() == sorted(before)
    assert set(os.listdir(folder)) == before


# masked and read-only paths -------------------------------------------------------------------------------------------


def test_a_masked_path_through_a_link_stays_inside(container: Container) -> None:
    container.script("/real", "secret")
    (container.rootfs / "link").symlink_to("/real")
    container.linux["maskedPaths"] += ["/link"]
    container.unlike(crun="")
    assert container.sees("cat /real") == ""


def test_the_kernels_settings_are_read_only(container: Container) -> None:
    """The paths that `spec` lists."""
    files = [path for path in ("/proc/sys/kernel/pid_max", "/proc/irq/default_smp_affinity") if os.path.exists(path)]
    seen = container.sees(f"for file in {' '.join(files)}; do (echo 1 > $file) 2>&1; done; true")
    assert seen.count("Read-only file system") == len(files)


def test_a_read_only_path_keeps_the_mounts_flags(container: Container) -> None:
    container.mount("/tmp", "tmpfs", "tmpfs", "nosuid", "nodev", "noexec")
    container.linux["readonlyPaths"] += ["/tmp"]
    line = container.sees("grep ' /tmp ' /proc/self/mountinfo | tail -n 1")
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(line.split()[5].split(","))


# sysctl ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("vm.swappiness", "1", ["/linux/sysctl/vm.swappiness"]),
        ("kernel.hostname", "x", ["/linux/sysctl/kernel.hostname"]),
        ("net.ipv4.no_such", "1", ["/linux/sysctl/net.ipv4.no_such", "no such file or directory"]),
        ("net.ipv4.ip_forward", "nonsense", ["/linux/sysctl/net.ipv4.ip_forward", "invalid argument"]),
        ("net/../kernel/pid_max", "1", ["/linux/sysctl/net~1..~1kernel~1pid_max"]),
    ],
)
def test_what_is_not_the_containers_own(container: Container, name: str, value: str, parts: list[str]) -> None:
    if "no" in value or ".." in name:
        container.unlike(crun="")
    container.linux["sysctl"] = {name: value}
    container.refused(*parts)


def test_a_net_sysctl_of_the_hosts_network(container: Container) -> None:
    container.without_namespace("network")
    container.without_mount("/sys", "/sys/fs/cgroup")
    container.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    container.refused("/linux/sysctl/net.ipv4.ip_forward", "network")


# the device filter of cgroup v2 ---------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/sys/fs/cgroup/cgroup.controllers").exists(), reason="version 1 has files for that")
@pytest.mark.cgroupfs
def test_a_cgroup_that_stays_keeps_no_filter(container: Container) -> None:
    """More runs than a cgroup takes filters (BPF_CGROUP_MAX_PROGS is 64), and what the next one allows is allowed."""
    container.unlike(crun="its filters stay")
    cgroup = Path(f"/sys/fs/cgroup/test-stays-{os.getpid()}")
    cgroup.mkdir()
    try:
        container.linux["cgroupsPath"] = f"/{cgroup.name}"
        container.process["args"] = ["true"]
        container.write()
        for _ in range(70):
            container.runtime.ok("run", "--bundle", container.path, container.id)
        container.linux["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]
        container.linux["resources"]["devices"] = [
            {"allow": False},
            {"allow": True, "type": "c", "major": 1, "minor": 11},
        ]
        assert container.sees("test -e /dev/kmsg && : < /dev/kmsg && echo allowed") == "allowed"
    finally:
        cgroup.rmdir()


@pytest.mark.pyrun_only("peers look for the host's, and fail")
def test_a_device_that_the_host_lacks_in_a_user_namespace(container: Container) -> None:
    """It is made with the host's rights, as the config says: nobody could make it inside."""
    container.user_namespace()
    container.linux["devices"] = [
        {"path": "/dev/nothing", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 7, "gid": 8},
        {"path": "/dev/below/zero", "type": "c", "major": 1, "minor": 5},
        {"path": "/dev/below/null", "type": "c", "major": 1, "minor": 3},
        {"path": "/dev/full", "type": "c", "major": 1, "minor": 7},
    ]
    container.linux["resources"]["devices"] = [{"allow": True, "access": "rwm"}]
    said = container.sees(
        "stat -c '%t:%T %a %u:%g' /dev/nothing /dev/below/zero; echo x > /dev/below/null && echo written;"
        "head -c 3 /dev/below/zero | wc -c; grep ' /dev/nothing ' /proc/mounts"
    ).splitlines()
    assert said[:4] == ["1:3 640 7:8", "1:5 666 0:0", "written", "3"]
    assert "nosuid" in said[4] and "noexec" in said[4] and "nodev" not in said[4]
    assert not (container.runtime.root / container.id).exists()


@pytest.mark.pyrun_only("about pyrun's words")
def test_another_device_of_the_hosts_is_not_taken_for_it(container: Container) -> None:
    container.user_namespace()
    container.linux["devices"] = [{"path": "/dev/zero", "type": "c", "major": 1, "minor": 3}]
    container.refused("/linux/devices/0")
