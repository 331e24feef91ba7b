"""The root of a container with a user namespace and CAP_SYS_ADMIN, against what the host's mounts forbid."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Container, libc

MNT_DETACH = 2
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
CAPABILITIES = ("CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_SYS_CHROOT")


def mount(source: str, target: Path, kind: str | None, flags: int) -> None:
    words = [source.encode(), bytes(target), kind.encode() if kind else None]
    assert libc.mount(*words, flags, None) == 0


@pytest.fixture
def shielded(container: Container) -> Iterator[Path]:
    """A folder of the host, world-writable, on a mount that is ro, nosuid, nodev and noexec; with a mount upon it."""
    folder = container.path / "shielded"
    folder.mkdir()
    mount("shielded", folder, "tmpfs", 0)
    folder.chmod(0o777)
    (folder / "below").mkdir()
    mount("above", folder / "below", "tmpfs", 0)
    mount("none", folder, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    yield folder
    libc.umount2(bytes(folder), MNT_DETACH)


@pytest.mark.parametrize("option", ["rw", "suid", "dev", "exec"])
def test_flags_of_the_hosts_mounts_are_locked(container: Container, shielded: Path, option: str) -> None:
    container.user_namespace()
    container.capabilities(*CAPABILITIES)
    container.mount("/data", "bind", str(shielded), "rbind")
    keep = {"rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec"}
    options = ",".join(option if name == option else kept for name, kept in keep.items())
    seen = container.sees(
        f"mount -o remount,bind,{options} /data 2>/dev/null && echo undone; "
        "touch /data/x 2>/dev/null && echo written; grep ' /data ' /proc/mounts"
    )
    assert "undone" not in seen
    assert "written" not in seen
    assert "ro,nosuid,nodev,noexec" in seen
    assert os.listdir(shielded) == ["below"]


def test_what_is_mounted_upon_a_bind_stays(container: Container, shielded: Path) -> None:
    container.user_namespace()
    container.capabilities(*CAPABILITIES)
    container.mount("/data", "bind", str(shielded), "rbind")
    assert container.sees("umount /data/below 2>/dev/null && echo revealed; grep -c /data /proc/mounts") == "2"


@pytest.mark.pyrun_only("runc locks only what the host has")
def test_what_the_config_forbids_is_locked_too(container: Container) -> None:
    folder = container.path / "plain"
    folder.mkdir()
    folder.chmod(0o777)
    container.user_namespace()
    container.capabilities(*CAPABILITIES)
    container.mount("/data", "bind", str(folder), "bind", "ro")
    seen = container.sees("mount -o remount,bind,rw /data 2>/dev/null; touch /data/x 2>/dev/null || echo refused")
    assert seen == "refused"
    assert os.listdir(folder) == []


def test_files_are_bound_as_well_as_folders(container: Container) -> None:
    file = container.path / "file"
    file.write_text("content")
    container.user_namespace()
    container.mount("/file", "bind", str(file), "bind")
    container.mount("/folder/deep", "bind", str(container.rootfs / "etc"), "rbind")
    assert container.sees("cat /file; cat /folder/deep/passwd | head -c 4") == "contentroot"


def test_no_stage_is_left_inside(container: Container) -> None:
    container.user_namespace()
    container.mount("/data", "bind", str(container.rootfs / "etc"), "bind")
    points = container.sees("cut -d' ' -f5 /proc/self/mountinfo").split()
    assert points.count("/") == 1
    assert points.count("/data") == 1
