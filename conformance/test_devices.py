"""Devices and links of /dev; maskedPaths, readonlyPaths; sysctl."""

from __future__ import annotations

import os
from typing import Any

import pytest

from conformance.harness import Container, Listener, another_file_in_a_devices_place

pytestmark = pytest.mark.systemd

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
@pytest.mark.parametrize(
    "kind", ["file", "other device", pytest.param("directory", id="folder"), pytest.param("symlink", id="link")]
)
def test_another_file_in_its_place(container: Container, kind: str) -> None:
    another_file_in_a_devices_place(container, kind)
    container.refused()


@pytest.fixture
def tree(container: Container) -> Container:
    """An image with a file and a folder at the top, and both again two folders below."""
    container.config["root"]["readonly"] = False
    for path in ("/file", "/folder/file", "/folder/below/file", "/other/below/file"):
        container.script(path, "secret")
    return container


@pytest.mark.must(28)
@pytest.mark.parametrize("paths", [["/folder", "/folder/below", "/folder/file", "/folder/below/file"], ["/folder"]])
def test_masked_folders(tree: Container, paths: list[str]) -> None:
    """Empty, and nothing can be made there; what lies below a masked folder is gone by then."""
    tree.linux["maskedPaths"] += paths
    assert tree.sees("ls -A /folder; touch /folder/x 2>&1 || true") == "touch: /folder/x: Read-only file system"
    assert (tree.rootfs / "folder/below/file").read_text() == "secret"


@pytest.mark.must(28)
def test_masked_files(tree: Container) -> None:
    tree.linux["maskedPaths"] += ["/file", "/other/below/file", "/not/there"]
    seen = tree.sees("cat /file /other/below/file; stat -c %t:%T /file; cat /folder/file; (echo x > /file) 2>&1")
    assert seen.splitlines() == ["1:3", "secret"]
    assert (tree.rootfs / "file").read_text() == "secret"


NODES = {
    "character": (0o20666, os.makedev(1, 5)),
    "block": (0o60666, os.makedev(7, 300)),
    "fifo": (0o10666, 0),
}


@pytest.mark.must(28)
@pytest.mark.parametrize("kind", NODES)
def test_masked_nodes(tree: Container, kind: str) -> None:
    mode, number = NODES[kind]
    os.mknod(tree.rootfs / "node", mode, number)
    tree.linux["maskedPaths"] += ["/node"]
    assert tree.sees("stat -c %t:%T /node; cat /node") == "1:3"


@pytest.mark.must(28)
@pytest.mark.parametrize("key", ["maskedPaths", "readonlyPaths"])
def test_a_link_in_a_circle(tree: Container, key: str) -> None:
    """There is nothing to hide or to protect: refused, or passed by; not followed out of the root."""
    (tree.rootfs / "circle").symlink_to("../circle")
    tree.linux[key] += ["/circle"]
    done = tree.run("readlink /circle")
    assert done.code != 0 or done.out == "../circle\n"


@pytest.mark.must(28)
@pytest.mark.parametrize("key", ["maskedPaths", "readonlyPaths"])
def test_a_link_of_the_image(tree: Container, key: str) -> None:
    """Means what it means inside: nothing of the host's changes, and what it leads to is hidden, or protected."""
    outside = tree.path / "file"
    outside.write_text("host")
    (tree.rootfs / "link").symlink_to("/folder")
    tree.linux[key] += ["/link"]
    *listed, refusal = tree.sees("ls /folder; (echo x > /folder/new) 2>&1; true").splitlines()
    assert listed == ([] if key == "maskedPaths" else ["below", "file"])
    assert "Read-only file system" in refusal
    assert outside.read_text() == "host"


@pytest.mark.must(28)
@pytest.mark.parametrize("paths", [["/folder"], ["/folder", "/folder/below", "/folder/below/file"]])
def test_read_only_folders(tree: Container, paths: list[str]) -> None:
    tree.linux["readonlyPaths"] += [*paths, "/not/there"]
    writes = "for f in /folder/x /folder/file /folder/below/x /folder/below/file; do (echo x > $f) 2>&1; done"
    seen = tree.sees(f"cat /folder/file; echo; {writes}; echo x > /other/new").splitlines()
    assert seen[0] == "secret"
    assert ["Read-only file system" in line for line in seen[1:]] == [True] * 4
    assert (tree.rootfs / "other/new").exists()


@pytest.mark.must(28)
def test_read_only_files(tree: Container) -> None:
    tree.linux["readonlyPaths"] += ["/file", "/other/below/file"]
    writes = "for f in /file /other/below/file; do (echo x > $f) 2>&1; done"
    seen = tree.sees(f"{writes}; echo x > /folder/file").splitlines()
    assert ["Read-only file system" in line for line in seen] == [True] * 2
    assert (tree.rootfs / "folder/file").read_text() == "x\n"


@pytest.mark.must(28)
@pytest.mark.parametrize("kind", NODES)
def test_read_only_nodes(tree: Container, kind: str) -> None:
    """Its mode can't be changed; that a node is written to is no matter of the file system."""
    mode, number = NODES[kind]
    os.mknod(tree.rootfs / "node", mode, number)
    tree.linux["readonlyPaths"] += ["/node"]
    assert "Read-only file system" in tree.sees("chmod 600 /node 2>&1; true")


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
