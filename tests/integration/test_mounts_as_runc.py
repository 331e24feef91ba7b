"""Mounts that callers of runc rely on, and that the specification leaves open."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Container, mount_at


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
        ("etc/resolv.conf", "/run/systemd/resolve/stub-resolv.conf"),
        ("etc/resolv.conf", "../../../../../run/there"),
        ("etc/resolv.conf", "other"),
    ],
)
@pytest.mark.parametrize("user_namespace", [False, True])
def test_a_destination_that_leads_nowhere_is_made(
    container: Container, link: str, target: str, user_namespace: bool
) -> None:
    """A symlink of the image is followed inside the root, and what is missing is made there."""
    container.unlike(runc="1.1 makes a file of the link's name", crun="1.8 says ENOENT")
    if user_namespace:
        container.user_namespace()
        subprocess.run(["chown", "-R", "100000:100000", container.rootfs], check=True)
    (container.rootfs / "etc").mkdir(exist_ok=True)
    (container.rootfs / link).unlink(missing_ok=True)
    (container.rootfs / link).symlink_to(target)
    (container.path / "mine").write_text("mine\n")
    container.mount(f"/{link}", "bind", str(container.path / "mine"), "bind", "ro")
    assert container.sees(f"cat /{link}; readlink /{link}").split() == ["mine", target]


def test_a_directory_that_leads_nowhere(container: Container) -> None:
    container.unlike(crun="1.8 says ENOENT", runc="1.1 says not a directory")
    (container.rootfs / "data").symlink_to("volumes/data")
    (container.path / "mine").mkdir()
    container.mount("/data/below", "bind", str(container.path / "mine"), "bind")
    container.mount("/data/tmp", "tmpfs", "tmpfs")
    assert mount_at(container, "/volumes/data/below")
    assert mount_at(container, "/volumes/data/tmp").kind == "tmpfs"


@pytest.mark.parametrize("target", ["/proc/1/cwd", "/proc/sys/kernel/new", "loop", "/"])
def test_what_leads_where_nothing_may_be_mounted(container: Container, target: str) -> None:
    if target == "/proc/1/cwd":
        container.unlike(runc="1.1 mounts over the root")
    (container.rootfs / "loop").symlink_to("loop2")
    (container.rootfs / "loop2").symlink_to("loop")
    (container.rootfs / "link").symlink_to(target)
    (container.path / "mine").mkdir()
    container.mount("/link", "bind", str(container.path / "mine"), "bind")
    container.refused("/mounts/7")


def test_a_source_that_an_earlier_mount_makes(container: Container) -> None:
    container.unlike(crun="1.8 opens all sources before")
    container.mount("/tmp", "tmpfs", "tmpfs", "nosuid", "size=64k")
    container.mount("/run", "bind", str(container.rootfs / "tmp"), "bind", "ro")
    assert container.sees("echo x > /tmp/x; cat /run/x; touch /run/y 2>&1 || true").split("\n")[0] == "x"


@pytest.mark.pyrun_only("no peer of this age can")
def test_a_source_that_an_earlier_mount_makes_in_a_user_namespace(container: Container) -> None:
    container.user_namespace()
    container.mount("/tmp", "tmpfs", "tmpfs", "nosuid", "size=64k")
    container.mount("/run", "bind", str(container.rootfs / "tmp"), "bind")
    assert container.sees("echo x > /tmp/x; cat /run/x") == "x"


def test_options_of_a_filesystem_have_no_effect_on_a_bind(container: Container) -> None:
    (container.path / "mine").mkdir()
    container.mount("/tmp", "bind", str(container.path / "mine"), "bind", "mode=755", "size=1k")
    done = container.run("true")
    assert done.code == 0, done
    if container.runtime.name == "pyrun":
        assert "/mounts/7/options/1" in done.err and "/mounts/7/options/2" in done.err


def test_the_same_path_masked_twice(container: Container) -> None:
    (container.rootfs / "hidden").mkdir()
    (container.rootfs / "hidden/x").touch()
    (container.rootfs / "file").write_text("x")
    container.unlike(runc="1.1 masks again", crun="1.8 masks again")
    container.linux["maskedPaths"] = ["/hidden", "/file", "/hidden", "/./file", "/hidden/"]
    assert (
        container.sees("cat /file; ls /hidden; grep -c ' /hidden ' /proc/mounts; grep -c ' /file ' /proc/mounts")
        == "1\n1"
    )


@pytest.fixture
def flagged(container: Container) -> Iterator[Path]:
    """A mount of the host's with flags of its own."""
    top = container.path / "flagged"
    top.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nosuid,nodev,noexec,noatime,mode=755", "top", top], check=True)
    try:
        yield top
    finally:
        subprocess.run(["umount", top], check=True)


def flags_of(container: Container, *options: str) -> set[str]:
    source = next(container.path.glob("flagged"))
    container.mount("/tmp", "bind", str(source), "bind", *options)
    return set(mount_at(container, "/tmp").options) & {"ro", "rw", "nosuid", "nodev", "noexec", "noatime"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "rw nosuid nodev noexec noatime"),
        (["rprivate"], "rw nosuid nodev noexec noatime"),
        (["ro"], "ro noatime"),
        (["nodev"], "rw nodev noatime"),
        (["exec"], "rw noatime"),
        (["rw", "nosuid"], "rw nosuid noatime"),
        (["relatime"], "rw"),
    ],
)
def test_flags_of_a_bind_whose_source_has_some(
    container: Container, flagged: Path, options: list[str], expected: str
) -> None:
    """None named: all are kept; any named: the others are cleared, those of atime excepted."""
    if not {*options} - {"rprivate"}:
        container.unlike(crun="1.8 clears all")
    if {"exec"} & {*options}:
        container.unlike(runc="1.1 sees no flag that is cleared", crun="1.8 sees none")
    assert flags_of(container, *options) == {*expected.split()}


@pytest.mark.pyrun_only("no peer of this age looks")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "rw nosuid nodev noexec noatime"),
        (["ro"], "ro nosuid nodev noexec noatime"),
        (["rw"], "rw nosuid nodev noexec noatime"),
    ],
)
def test_a_user_namespace_keeps_the_hosts_flags(
    container: Container, flagged: Path, options: list[str], expected: str
) -> None:
    container.user_namespace()
    assert flags_of(container, *options) == {*expected.split()}


@pytest.mark.pyrun_only("no peer of this age looks")
@pytest.mark.parametrize("option", ["exec", "dev", "suid", "rw"])
def test_a_user_namespace_may_not_undo_the_hosts_flags(container: Container, flagged: Path, option: str) -> None:
    container.user_namespace()
    if option == "rw":
        subprocess.run(["mount", "-o", "remount,bind,ro", flagged], check=True)
    container.mount("/tmp", "bind", str(flagged), "bind", option)
    container.refused("/mounts/7/options/1", "EPERM")


@pytest.mark.pyrun_only("runc 1.1 can't, crun 1.8 needs a newer kernel's help")
def test_the_ids_of_a_tmpfs_are_mapped(container: Container) -> None:
    maps = [{"containerID": 0, "hostID": 1000, "size": 10}]
    mount = container.mount("/tmp", "tmpfs", "tmpfs", "mode=777")
    mount["uidMappings"] = mount["gidMappings"] = maps
    assert container.sees("stat -c %u /tmp") == "1000"


@pytest.mark.pyrun_only("runc does so, crun 1.8 does not")
def test_default_devices_in_a_user_namespace(container: Container) -> None:
    container.user_namespace()
    assert {"nosuid", "noexec"} <= set(mount_at(container, "/dev/null").options)


@pytest.mark.parametrize(("pinning", "running"), [(0, 1), (1, 0), (0, 0), (1, 1)])
def test_a_tree_with_a_pinned_mount_namespace(container: Container, tmp_path: Path, pinning: int, running: int) -> None:
    """As snapd's /run/snapd/ns. Which namespace is the newer one goes by numbers of which each CPU has a stock, and so
    does whether move_mount(2) takes the tree. A copy of a mount namespace has no such binds, so by mount(2) it is left
    out."""
    if not {pinning, running} <= os.sched_getaffinity(0):
        pytest.skip("one CPU")
    container.unlike(crun="1.8 fails as well")
    top = tmp_path / "top"
    top.mkdir()
    (top / "mark").write_text("mine")
    container.mount("/mnt", "bind", str(top), "rbind", "ro", "nosuid")
    container.sh(
        "cat /mnt/mark; echo; touch /mnt/x 2>/dev/null || echo ro; grep ' /mnt ' /proc/mounts | grep -c nosuid"
    )
    container.write()
    command = shlex.join(container.runtime.command("run", "--bundle", container.path, container.id))
    script = f"""
        mount --bind {top} {top} && mount --make-private {top} && touch {top}/ns || exit 9
        taskset -c {pinning} unshare --mount={top}/ns true || exit 77
        for i in 1 2 3 4; do taskset -c {running} {command} || exit 1; done"""
    done = subprocess.run(
        ["taskset", "-c", "0", "unshare", "-m", "taskset", "-c", "0,1", "sh", "-c", script],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip("this one is not new enough to be pinned")
    assert done.stderr == ""
    assert done.stdout.split() == ["mine", "ro", "1"] * 4
