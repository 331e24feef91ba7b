"""mounts: what /proc/self/mountinfo of the container says of each option of the spec's table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from conformance.harness import Container, MountLine, mount_at, mount_lines


@pytest.mark.must(28)
def test_the_default_mounts(container: Container) -> None:
    found = {line.point: line for line in mount_lines(container)}
    kinds = {"/proc": "proc", "/dev": "tmpfs", "/dev/pts": "devpts", "/dev/shm": "tmpfs", "/dev/mqueue": "mqueue"}
    assert {point: found[point].kind for point in kinds} == kinds
    assert found["/sys"].kind == "sysfs"
    assert {"ro", "nosuid", "nodev", "noexec"} <= found["/sys"].options
    assert {"nosuid", "noexec"} <= found["/dev/pts"].options
    assert {"mode=620", "gid=5", "ptmxmode=666"} <= found["/dev/pts"].super_options
    assert {"size=65536k"} <= found["/dev/shm"].super_options
    assert {"mode=755"} <= found["/dev"].super_options


# options of a tmpfs, what must be among the mount's options, what must not, what must be among the superblock's
TMPFS: list[tuple[list[str], set[str], set[str], set[str]]] = [
    ([], {"rw", "relatime"}, {"nosuid", "nodev", "noexec"}, {"rw"}),
    (["defaults"], {"rw", "relatime"}, {"nosuid", "nodev", "noexec"}, {"rw"}),
    (["ro"], {"ro"}, {"rw"}, set()),
    (["ro", "rw"], {"rw"}, {"ro"}, {"rw"}),
    (["nosuid"], {"nosuid"}, set(), set()),
    (["nosuid", "suid"], set(), {"nosuid"}, set()),
    (["nodev"], {"nodev"}, set(), set()),
    (["nodev", "dev"], set(), {"nodev"}, set()),
    (["noexec"], {"noexec"}, set(), set()),
    (["noexec", "exec"], set(), {"noexec"}, set()),
    (["noatime"], {"noatime"}, {"relatime"}, set()),
    (["noatime", "atime"], {"relatime"}, {"noatime"}, set()),
    (["nodiratime"], {"nodiratime"}, set(), set()),
    (["nodiratime", "diratime"], set(), {"nodiratime"}, set()),
    (["relatime"], {"relatime"}, {"noatime"}, set()),
    (["norelatime"], {"relatime"}, {"noatime"}, set()),
    (["strictatime"], set(), {"relatime", "noatime"}, set()),
    (["nostrictatime"], {"relatime"}, {"noatime"}, set()),
    (["sync"], set(), set(), {"sync"}),
    (["sync", "async"], set(), set(), {"rw"}),
    (["dirsync"], set(), set(), {"dirsync"}),
    (["lazytime"], set(), set(), {"lazytime"}),
    (["lazytime", "nolazytime"], set(), set(), {"rw"}),
    (["silent"], {"rw"}, set(), set()),
    (["silent", "loud"], {"rw"}, set(), set()),
    (["iversion"], {"rw"}, set(), set()),
    (["iversion", "noiversion"], {"rw"}, set(), set()),
    (["size=64k", "mode=711"], set(), set(), {"size=64k", "mode=711"}),
    (["async", "sync"], set(), set(), {"sync"}),
    (["suid", "nosuid", "dev", "nodev", "exec", "noexec"], {"nosuid", "nodev", "noexec"}, set(), set()),
    (["strictatime", "relatime"], {"relatime"}, set(), set()),
    (["nosymfollow"], {"nosymfollow"}, set(), set()),
    (["nosuid", "nodev", "noexec", "ro", "noatime"], {"nosuid", "nodev", "noexec", "ro", "noatime"}, set(), set()),
]


@pytest.mark.must(50)
@pytest.mark.parametrize(
    ("options", "there", "absent", "superblock"), TMPFS, ids=[",".join(options) for options, *_ in TMPFS]
)
def test_options_of_a_tmpfs(
    container: Container, options: list[str], there: set[str], absent: set[str], superblock: set[str]
) -> None:
    container.mount("/tmp", "tmpfs", "tmpfs", *options)
    line = mount_at(container, "/tmp")
    assert line.kind == "tmpfs"
    assert there <= line.options
    assert not absent & line.options
    assert superblock <= line.super_options


@pytest.mark.must(50)
@pytest.mark.parametrize(
    ("option", "tags"),
    [
        ("private", set()),
        ("rprivate", set()),
        ("slave", {"master"}),
        ("rslave", {"master"}),
        ("shared", {"shared"}),
        ("rshared", {"shared"}),
        ("unbindable", {"unbindable"}),
        ("runbindable", {"unbindable"}),
    ],
)
def test_propagation_of_a_bind(container: Container, shared: Path, option: str, tags: set[str]) -> None:
    if "shared" in option:
        container.linux["rootfsPropagation"] = "shared"
    container.mount("/tmp", "bind", str(shared), "rbind", option)
    found = {line.point: line.tags for line in mount_lines(container) if line.point.startswith("/tmp")}
    assert tags <= found["/tmp"]
    assert "shared" in tags or "shared" not in found["/tmp"]
    if option.startswith("r") and option != "rshared":
        assert tags <= found["/tmp/below"]


@pytest.mark.must(50)
def test_a_shared_bind_gives_back(container: Container, shared: Path) -> None:
    """What the container mounts in it appears on the host."""
    (shared / "new").mkdir()
    container.linux["rootfsPropagation"] = "shared"
    container.capabilities("CAP_SYS_ADMIN")
    container.process["noNewPrivileges"] = False
    container.mount("/tmp", "bind", str(shared), "rbind", "rshared")
    container.sees("mount -t tmpfs inside /tmp/new")
    assert os.path.ismount(shared / "new")


@pytest.mark.must(50)
@pytest.mark.parametrize("option", ["rprivate", "rslave", ""])
def test_other_binds_keep_to_themselves(container: Container, shared: Path, option: str) -> None:
    (shared / "new").mkdir()
    container.capabilities("CAP_SYS_ADMIN")
    container.mount("/tmp", "bind", str(shared), "rbind", *filter(None, [option]))
    container.sees("mount -t tmpfs inside /tmp/new")
    assert not os.path.ismount(shared / "new")


@pytest.mark.must(50)
def test_bind_leaves_out_what_is_below(container: Container, shared: Path) -> None:
    container.mount("/tmp", "bind", str(shared), "bind")
    assert container.sees("cat /tmp/mark; cat /tmp/below/mark 2>&1 || true").startswith("topcat: can't open")


@pytest.mark.must(50)
def test_rbind_takes_it_along(container: Container, shared: Path) -> None:
    container.mount("/tmp", "bind", str(shared), "rbind")
    assert container.sees("cat /tmp/mark /tmp/below/mark") == "topbelow"


@pytest.mark.must(50)
def test_a_copy_that_is_unbindable(container: Container, shared: Path) -> None:
    """By the option alone, without the word bind: nobody can bind it again."""
    container.capabilities("CAP_SYS_ADMIN")
    container.mount("/tmp", "bind", str(shared), "bind", "unbindable")
    container.mount("/copy", "tmpfs", "tmpfs")
    assert container.run("mount --bind /tmp /copy").code != 0


@pytest.mark.must(50)
@pytest.mark.parametrize("option", ["nosuid", "nodev", "noexec", "ro", "noatime", "nodiratime"])
def test_options_of_a_bind(container: Container, shared: Path, option: str) -> None:
    """Of the mount that is made, not of its source, nor of what is mounted below it."""
    container.mount("/tmp", "bind", str(shared), "rbind", option)
    found = {line.point: line.options for line in mount_lines(container) if line.point.startswith("/tmp")}
    assert option in found["/tmp"]
    assert option not in found["/tmp/below"]
    host = [MountLine(line) for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    assert [line.options & {option} for line in host if line.point == str(shared)] == [set()]


@pytest.mark.must(50)
@pytest.mark.parametrize("option", ["rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnodiratime"])
def test_recursive_options_of_a_bind(container: Container, shared: Path, option: str) -> None:
    container.mount("/tmp", "bind", str(shared), "rbind", option)
    found = {line.point: line.options for line in mount_lines(container) if line.point.startswith("/tmp")}
    assert {point for point, options in found.items() if option.removeprefix("r") in options} == {"/tmp", "/tmp/below"}


@pytest.mark.must(28)
def test_tmpcopyup(container: Container) -> None:
    """The tmpfs begins with what the image has there."""
    container.config["root"]["readonly"] = False
    container.script("/folder/below/file", "mine", 0o644)
    os.chown(container.rootfs / "folder/below/file", 7, 8)
    container.mount("/folder", "tmpfs", "tmpfs", "tmpcopyup")
    script = "cat /folder/below/file; echo; stat -c '%a %u %g' /folder/below/file; echo x > /folder/new"
    assert container.sees(script) == "mine\n644 7 8"
    assert not (container.rootfs / "folder/new").exists()


@pytest.mark.must(50)
def test_remount_changes_what_is_there(container: Container) -> None:
    container.mount("/tmp", "tmpfs", "tmpfs")
    container.mount("/tmp", "tmpfs", "tmpfs", "remount", "ro", "noexec")
    assert {"ro", "noexec"} <= mount_at(container, "/tmp").options


SELINUX = Path("/sys/fs/selinux/enforce").exists()
LABEL = "system_u:object_r:svirt_sandbox_file_t:s0:c715,c811"


@pytest.mark.must(28)
@pytest.mark.skipif(SELINUX, reason="SELinux is there")
def test_a_mount_label_without_selinux(container: Container) -> None:
    """There are no contexts to set: nothing happens."""
    container.linux["mountLabel"] = LABEL
    container.mount("/tmp", "tmpfs", "tmpfs")
    done = container.run("grep tmpfs /proc/self/mountinfo")
    assert (done.code, "context=" in done.out) == (0, False)


@pytest.mark.must(28)
@pytest.mark.skipif(not SELINUX, reason="no SELinux here")
def test_a_mount_label(container: Container) -> None:
    container.linux["mountLabel"] = LABEL
    container.mount("/tmp", "tmpfs", "tmpfs")
    assert LABEL in container.sees("grep ' /tmp ' /proc/self/mountinfo")


@pytest.mark.must(48)
def test_the_order_is_kept(container: Container) -> None:
    """A later mount hides an earlier one, or stands in it."""
    container.mount("/tmp", "tmpfs", "first")
    container.mount("/tmp/below", "tmpfs", "second")
    container.mount("/tmp/below", "tmpfs", "third")
    found = [line.source for line in mount_lines(container) if line.point.startswith("/tmp")]
    assert found == ["first", "second", "third"]


@pytest.mark.must(49)
def test_a_relative_destination(container: Container) -> None:
    container.mount("tmp", "tmpfs", "mine")
    done = container.run("grep ' /tmp ' /proc/self/mountinfo")
    assert done.code == 0
    assert "mine" in done.out


@pytest.mark.must(28)
def test_a_bind_of_a_file(container: Container) -> None:
    (container.path / "file").write_text("mine")
    container.script("/etc/target", "image")
    container.mount("/etc/target", "bind", str(container.path / "file"), "bind", "ro")
    assert container.sees("cat /etc/target; (echo x > /etc/target) 2>&1 || true").startswith(
        "mine/bin/sh: can't create"
    )
    assert (container.rootfs / "etc/target").read_text() == "image"


@pytest.mark.must(30, 80)
@pytest.mark.parametrize(
    ("kind", "source", "options"),
    [
        ("nonsense", "x", []),
        ("tmpfs", "tmpfs", ["nonsense"]),
        ("tmpfs", "tmpfs", ["size=64x"]),
        ("bind", "/no/such", ["bind"]),
    ],
)
def test_what_cannot_be_mounted(container: Container, kind: str, source: str, options: list[str]) -> None:
    container.mount("/tmp", kind, source, *options)
    container.refused()


@pytest.fixture
def owned(container: Container) -> Path:
    """A folder with a file of user 1000's."""
    folder = container.path / "owned"
    folder.mkdir()
    (folder / "file").write_text("mine")
    os.chown(folder / "file", 1000, 1000)
    return folder


def mapped(container: Container, owned: Path, *options: str, **mappings: int) -> dict[str, Any]:
    entry = container.mount("/tmp", "bind", str(owned), "rbind", *options)
    for key, host in mappings.items():
        entry[key] = [{"containerID": 0, "hostID": host, "size": 65536}]
    return entry


@pytest.mark.must(51)
@pytest.mark.parametrize("option", ["idmap", "ridmap", ""])
def test_the_mappings_of_a_mount(container: Container, owned: Path, option: str) -> None:
    """The id on disk 1000 is 101000 through the mapping, which is 1000 again inside."""
    container.user_namespace(100000, 65536)
    mapped(container, owned, *filter(None, [option]), uidMappings=100000, gidMappings=100000)
    assert container.sees("stat -c %u:%g /tmp/file") == "1000:1000"
    assert (owned / "file").stat().st_uid == 1000


@pytest.mark.must(51)
@pytest.mark.parametrize("option", ["idmap", "ridmap"])
def test_the_mappings_of_the_user_namespace(container: Container, owned: Path, option: str) -> None:
    """Or an error."""
    container.user_namespace(100000, 65536)
    mapped(container, owned, option)
    done = container.run("stat -c %u:%g /tmp/file")
    assert done.code != 0 or done.out == "1000:1000\n"


@pytest.mark.must(51)
def test_no_mappings_at_all(container: Container, owned: Path) -> None:
    mapped(container, owned, "idmap")
    container.refused()


@pytest.mark.must(52)
@pytest.mark.parametrize("key", ["uidMappings", "gidMappings"])
def test_one_mapping_without_the_other(container: Container, owned: Path, key: str) -> None:
    container.user_namespace(100000, 65536)
    mapped(container, owned, **{key: 100000})
    container.refused()
