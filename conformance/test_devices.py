"""Devices and links of /dev; maskedPaths, readonlyPaths; sysctl."""

from __future__ import annotations

import os
from typing import Any

import pytest

from conformance.harness import Container, Listener

DEFAULTS = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}


@pytest.mark.must(89)
def test_default_devices(container: Container) -> None:
    seen = container.sees(f"cd /dev; stat -c '%n %t:%T %a %u %g' {' '.join(DEFAULTS)}")
    assert seen.splitlines() == [f"{name} {number} 666 0 0" for name, number in DEFAULTS.items()]


@pytest.mark.must(42)
def test_links(container: Container) -> None:
    seen = container.sees("cd /dev; for l in fd stdin stdout stderr ptmx; do readlink $l; done").split()
    assert seen == ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "pts/ptmx"]


@pytest.mark.must(42)
def test_no_links_without_proc(container: Container) -> None:
    container.config["mounts"] = [m for m in container.config["mounts"] if m["destination"] == "/dev"]
    container.linux.update(maskedPaths=[], readonlyPaths=[])
    assert container.sees("ls /dev").split() == sorted({*DEFAULTS, "ptmx"})


@pytest.mark.must(88)
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
    ids=["character", "unbuffered", "block", "fifo", "mode and owner", "a default one with a mode"],
)
def test_devices_of_the_config(container: Container, device: dict[str, Any], expected: str) -> None:
    container.linux["devices"] = [device]
    assert container.sees(f"stat -c '%F %a %t:%T %u %g' {device['path']}") == expected


@pytest.mark.must(88)
def test_one_that_is_there_already(container: Container) -> None:
    container.without_mount("/dev")
    (container.rootfs / "dev/kmsg").unlink(missing_ok=True)
    os.mknod(container.rootfs / "dev/kmsg", 0o20600, os.makedev(1, 11))
    container.linux["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]
    assert container.sees("stat -c %t:%T /dev/kmsg") == "1:b"


@pytest.mark.must(87)
@pytest.mark.parametrize("kind", ["file", "other device", "folder", "link"])
def test_another_file_in_its_place(container: Container, kind: str) -> None:
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
    container.refused()


@pytest.mark.must(28)
def test_masked_files_and_folders(container: Container) -> None:
    container.script("/secret", "secret")
    container.script("/folder/secret", "secret")
    container.config["root"]["readonly"] = False
    container.linux["maskedPaths"] += ["/secret", "/folder", "/not/there"]
    seen = container.sees("cat /secret; ls /folder; stat -c %t:%T /secret; touch /folder/x 2>&1 || true")
    assert seen.splitlines() == ["1:3", "touch: /folder/x: Read-only file system"]
    assert (container.rootfs / "folder/secret").read_text() == "secret"


@pytest.mark.must(28)
def test_read_only_paths(container: Container) -> None:
    container.script("/file", "text")
    container.script("/folder/file", "text")
    container.config["root"]["readonly"] = False
    container.linux["readonlyPaths"] += ["/file", "/folder", "/not/there"]
    seen = container.sees("cat /file /folder/file; for f in /file /folder/file /new; do (echo x > $f) 2>&1; done; true")
    assert seen.startswith("texttext")
    assert seen.count("Read-only file system") == 2
    assert (container.rootfs / "new").exists()


@pytest.mark.must(28)
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
    with open(f"/proc/sys/{path}") as file:
        before = file.read()
    container.linux["sysctl"] = {name: value}
    assert container.sees(f"cat /proc/sys/{path}") == value
    with open(f"/proc/sys/{path}") as file:
        assert file.read() == before


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("maskedPaths", marks=pytest.mark.must(134)),
        pytest.param("readonlyPaths", marks=pytest.mark.must(135)),
    ],
)
def test_a_relative_path(container: Container, key: str) -> None:
    container.linux[key] = ["proc/kcore"]
    container.refused()


@pytest.mark.must(30)
@pytest.mark.parametrize("name", ["vm.swappiness", "net.ipv4.no_such", "kernel.hostname"])
def test_a_sysctl_that_is_not_the_containers(container: Container, name: str) -> None:
    container.linux["sysctl"] = {name: "1"}
    container.refused()


@pytest.mark.must(42)
def test_links_do_not_dangle(container: Container) -> None:
    assert container.sees("cd /dev; for l in fd stdin stdout stderr; do [ -e $l ] || echo $l; done") == ""


@pytest.mark.must(89)
def test_default_devices_work(container: Container) -> None:
    script = "cd /dev; echo x > null; head -c 4 zero | wc -c; head -c 4 urandom | wc -c; (echo x > full) 2>&1; true"
    seen = container.sees(script).splitlines()
    assert seen[:2] == ["4", "4"]
    assert "No space left" in seen[2]


@pytest.mark.must(89)
def test_the_console(container: Container, listener: Listener) -> None:
    container.process["terminal"] = True
    container.sh("tty; stat -c %t /dev/console; stat -c %t:%T /dev/ptmx -L")
    container.create("--console-socket", str(listener.path))
    assert listener.receive()
    assert container.start_and_wait() == 0
    assert listener.read_to_end() == "/dev/pts/0\n88\n5:2\n"
