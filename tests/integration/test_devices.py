"""linux.devices, the default devices and links of /dev; maskedPaths, readonlyPaths; sysctl."""

from __future__ import annotations

import os
from typing import Any

import pytest
from harness import Container

DEFAULTS = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}


def test_default_devices(container: Container) -> None:
    """MUST 89."""
    seen = container.sees(f"cd /dev; stat -c '%n %t:%T %a %u %g' {' '.join(DEFAULTS)}")
    assert seen.splitlines() == [f"{name} {number} 666 0 0" for name, number in DEFAULTS.items()]


def test_links(container: Container) -> None:
    """MUST 42."""
    seen = container.sees("cd /dev; for l in fd stdin stdout stderr ptmx; do readlink $l; done").split()
    assert seen == ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "pts/ptmx"]


def test_nothing_else_is_in_dev(container: Container) -> None:
    expected = {*DEFAULTS, "fd", "stdin", "stdout", "stderr", "ptmx", "pts", "shm", "mqueue"}
    assert set(container.sees("ls /dev").split()) - {"core"} == expected


def test_no_links_without_proc(container: Container) -> None:
    container.unlike(runc="1.1 needs /proc", crun="1.8 makes them all the same")
    container.config["mounts"] = [m for m in container.config["mounts"] if m["destination"] == "/dev"]
    container.linux.update(maskedPaths=[], readonlyPaths=[])
    assert container.sees("ls /dev").split() == sorted({*DEFAULTS, "ptmx"})


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ({"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}, "character special file 666 1:b 0 0"),
        ({"path": "/dev/u", "type": "u", "major": 1, "minor": 11}, "character special file 666 1:b 0 0"),
        ({"path": "/dev/loop", "type": "b", "major": 7, "minor": 300}, "block special file 666 7:12c 0 0"),
        ({"path": "/dev/pipe", "type": "p"}, "fifo 666 0:0 0 0"),
        (
            {"path": "/dev/a/b", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 7, "gid": 8},
            "character special file 640 a:e5 7 8",
        ),
        (
            {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600},
            "character special file 600 1:3 0 0",
        ),
    ],
)
def test_devices_of_the_config(container: Container, device: dict[str, Any], expected: str) -> None:
    """MUST 88."""
    if device["path"] == "/dev/null":
        container.unlike(runc="1.1 resets its mode", crun="1.8 resets its mode")
    container.linux["devices"] = [device]
    assert container.sees(f"stat -c '%F %a %t:%T %u %g' {device['path']}") == expected


def test_one_that_is_there_already(container: Container) -> None:
    container.without_mount("/dev")
    (container.rootfs / "dev/kmsg").unlink(missing_ok=True)
    os.mknod(container.rootfs / "dev/kmsg", 0o20600, os.makedev(1, 11))
    container.linux["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]
    container.unlike(runc="1.1 wants none", crun="")
    assert container.sees("stat -c %t:%T /dev/kmsg") == "1:b"


@pytest.mark.parametrize("kind", ["file", "other device", "folder", "link"])
def test_another_file_in_its_place(container: Container, kind: str) -> None:
    """MUST 87."""
    container.unlike(runc="1.1 takes some", crun="1.8 takes some")
    container.without_mount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    path = container.rootfs / "dev/kmsg"
    if kind == "file":
        path.write_text("")
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    else:
        os.mknod(path, 0o20600, os.makedev(1, 5))
    container.linux["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]
    container.refused("/linux/devices/0", "/dev/kmsg is there already and is another file")


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


def test_masked_files_and_folders(container: Container) -> None:
    container.script("/secret", "secret")
    container.script("/folder/secret", "secret")
    container.config["root"]["readonly"] = False
    container.linux["maskedPaths"] += ["/secret", "/folder", "/not/there"]
    seen = container.sees("cat /secret; ls /folder; stat -c %t:%T /secret; touch /folder/x 2>&1 || true")
    assert seen.splitlines() == ["1:3", "touch: /folder/x: Read-only file system"]
    assert (container.rootfs / "folder/secret").read_text() == "secret"


def test_a_masked_path_through_a_link_stays_inside(container: Container) -> None:
    container.script("/real", "secret")
    (container.rootfs / "link").symlink_to("/real")
    container.linux["maskedPaths"] += ["/link"]
    container.unlike(crun="")
    assert container.sees("cat /real") == ""


def test_read_only_paths(container: Container) -> None:
    container.script("/file", "text")
    container.script("/folder/file", "text")
    container.config["root"]["readonly"] = False
    container.linux["readonlyPaths"] += ["/file", "/folder", "/not/there"]
    seen = container.sees("cat /file /folder/file; for f in /file /folder/file /new; do (echo x > $f) 2>&1; done; true")
    assert seen.startswith("texttext")
    assert seen.count("Read-only file system") == 2
    assert (container.rootfs / "new").exists()


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
    ("name", "value", "path"),
    [
        ("net.ipv4.ip_forward", "1", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "1", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.lo.forwarding", "1", "net/ipv4/conf/lo/forwarding"),
        ("kernel.shmmax", "65536", "kernel/shmmax"),
        ("kernel.msgmax", "4096", "kernel/msgmax"),
        ("fs.mqueue.msg_max", "20", "fs/mqueue/msg_max"),
        ("kernel.domainname", "example.org", "kernel/domainname"),
    ],
)
def test_sysctl(container: Container, name: str, value: str, path: str) -> None:
    if "/" in name:
        container.unlike(crun="1.8 knows dots only")
    if name == "kernel.domainname":
        container.unlike(runc="1.1 doesn't know it")
    with open(f"/proc/sys/{path}") as file:
        before = file.read()
    container.linux["sysctl"] = {name: value}
    assert container.sees(f"cat /proc/sys/{path}") == value
    with open(f"/proc/sys/{path}") as file:
        assert file.read() == before


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
