"""Options of mounts beyond mount(2): tmpcopyup, links as they are, id maps in crun's words, the host's sysfs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness import Container


@pytest.fixture
def filled(container: Container) -> Container:
    """A folder of the image with one of each kind of file."""
    container.script("/data/file", "content", mode=0o640)
    container.script("/data/sub/deep/tool", "#!/bin/sh\n", mode=0o4755)
    data = container.rootfs / "data"
    os.chown(data / "file", 7, 8)
    os.utime(data / "sub", (1000, 1000))
    os.symlink("/nowhere/else", data / "link")
    os.lchown(data / "link", 9, 9)
    container.capabilities("CAP_DAC_OVERRIDE")
    return container


LISTING = "cd /data && find . | sort | while read f; do stat -c '%n %F %a %u:%g' $f; done; readlink link; cat file"


def test_tmpcopyup(filled: Container) -> None:
    filled.unlike(runc="keeps no owners", crun="keeps no owners")
    os.mkfifo(filled.rootfs / "data/fifo")
    before = filled.sees(LISTING)
    filled.id += "-again"
    filled.mount("/data", "tmpfs", "tmpfs", "tmpcopyup")
    assert filled.sees(LISTING) == before
    assert (
        filled.sees("stat -c %Y /data/sub; rm /data/file; touch /data/new; grep -c ' /data ' /proc/mounts") == "1000\n1"
    )
    assert (filled.rootfs / "data/file").exists()
    assert not (filled.rootfs / "data/new").exists()


def test_tmpcopyup_copies_content(filled: Container) -> None:
    filled.mount("/data", "tmpfs", "tmpfs", "tmpcopyup")
    assert filled.sees("cat /data/file; ls /data/sub/deep; readlink /data/link") == "contenttool\n/nowhere/else"


@pytest.mark.pyrun_only("the peers copy with the rights of the container's root, and fail")
def test_tmpcopyup_in_a_user_namespace(filled: Container) -> None:
    filled.user_namespace()
    filled.script("/data/secret", "secret", mode=0o600)
    os.chown(filled.rootfs / "data/secret", 100007, 100008)
    (filled.rootfs / "data/sub/deep/tool").chmod(0o4755)
    filled.mount("/data", "tmpfs", "tmpfs", "tmpcopyup")
    assert filled.sees("cd /data; stat -c '%n %a %u:%g' secret sub/deep/tool; cat secret") == (
        "secret 600 7:8\nsub/deep/tool 4755 0:0\nsecret"
    )


@pytest.mark.pyrun_only("what is copied counts as the runtime's there")
def test_what_is_copied_counts_as_the_containers(filled: Container) -> None:
    """It is too large for the limit: an error, and nothing is left."""
    filled.mount("/data", "tmpfs", "tmpfs", "tmpcopyup")
    (filled.rootfs / "data/large").write_bytes(b"x" * (64 << 20))
    filled.linux["resources"]["memory"] = {"limit": 24 << 20, "swap": 24 << 20}
    filled.refused("/mounts/", "memory")


def test_tmpcopyup_of_what_is_not_there(container: Container) -> None:
    container.mount("/fresh", "tmpfs", "tmpfs", "tmpcopyup")
    assert container.sees("ls -A /fresh; touch /fresh/x") == ""


@pytest.fixture
def link(container: Container) -> Path:
    """A link of the host's, to a file that is there."""
    (container.path / "file").write_text("the file")
    path = container.path / "link"
    path.symlink_to("file")
    return path


@pytest.mark.pyrun_only("neither runc nor crun 1.8 knows it")
@pytest.mark.parametrize("there", [False, True])
def test_copy_symlink(container: Container, link: Path, there: bool) -> None:
    if there:
        container.script("/etc/x", "")
        (container.rootfs / "etc/name").symlink_to("file")
    container.mount("/etc/name", "bind", str(link), "bind", "copy-symlink")
    assert container.sees("readlink /etc/name; grep -c /etc/name /proc/mounts || true") == "file\n0"


@pytest.mark.pyrun_only("crun 1.8 overwrites what is there")
@pytest.mark.parametrize("text", ["other", "file-and-more", "fil"])
def test_copy_symlink_where_another_is(container: Container, link: Path, text: str) -> None:
    container.script("/etc/x", "")
    (container.rootfs / "etc/name").symlink_to(text)
    container.mount("/etc/name", "bind", str(link), "bind", "copy-symlink")
    container.refused("/mounts/", "destination", "the destination exists and is another symlink")


@pytest.mark.pyrun_only("crun 1.8 overwrites what is there")
def test_copy_symlink_where_a_file_is(container: Container, link: Path) -> None:
    container.script("/etc/name", "mine")
    container.mount("/etc/name", "bind", str(link), "bind", "copy-symlink")
    container.refused("/mounts/", "destination", "the destination exists and is not a symlink")


def test_copy_symlink_of_a_file_binds_it(container: Container, link: Path) -> None:
    container.unlike(runc="has no such option")
    container.mount("/etc/name", "bind", str(link.parent / "file"), "bind", "copy-symlink")
    assert container.sees("cat /etc/name") == "the file"


@pytest.mark.pyrun_only("crun 1.8 knows neither option, and passes it on")
def test_the_link_itself_is_bound(container: Container, link: Path) -> None:
    container.script("/etc/x", "")
    (container.rootfs / "etc/name").symlink_to("x")
    container.mount("/etc/name", "bind", str(link), "bind", "src-nofollow", "dest-nofollow")
    assert container.sees("readlink /etc/name; cat /etc/x") == "file"


@pytest.mark.pyrun_only("crun 1.8 has no relative form, runc none")
def test_idmap_with_its_maps(container: Container) -> None:
    folder = container.path / "shared"
    folder.mkdir()
    (folder / "mine").touch()
    container.user_namespace()
    container.mount("/mnt", "bind", str(folder), "bind", "idmap=uids=0-100005-10;gids=0-100006-10")
    assert container.sees("stat -c %u:%g /mnt/mine") == "5:6"


@pytest.mark.pyrun_only("about pyrun's words")
@pytest.mark.parametrize("maps", ["uids=0-1", "uids=0-1-1", "what", "uids=0-1-1;gids=a-b-c", "uids=0-1-0;gids=0-1-1"])
def test_idmap_that_is_none(container: Container, maps: str) -> None:
    container.mount("/mnt", "bind", "/tmp", "bind", f"idmap={maps}")
    container.refused("/options/1")


@pytest.mark.pyrun_only("runc refuses it, crun 1.8 too where the host's is not bound")
def test_the_hosts_sysfs_in_a_user_namespace(container: Container) -> None:
    container.user_namespace()
    container.without_namespace("network")
    container.without_mount("/sys")
    container.mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
    said = container.sees("ls /sys; touch /sys/x 2>&1; touch /sys/fs/cgroup/x 2>&1; grep ' /sys ' /proc/mounts")
    assert "kernel" in said
    assert said.count("Read-only file system") == 2
    assert "nosuid,nodev,noexec" in said
