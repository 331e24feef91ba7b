"""Reading mountinfo and /proc/self/cgroup."""

from __future__ import annotations

import pytest

from pyrun.cgroups.host import Hierarchy, detect

TMPFS = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
HYBRID = TMPFS + (
    "32 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "34 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    "35 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
)
HYBRID_OWN = "4:memory:/process/x\n3:name=systemd:/\n2:cpu,cpuacct:/user (deleted)\n1:net_cls:/\n0::/init.scope\n"
UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"


def trees(mountinfo: str, own: str) -> list[tuple[tuple[str, ...], str, str, str]]:
    return [(t.controllers, t.mountpoint, t.root, t.own) for t in detect(mountinfo, own).trees]


def test_hybrid_is_version_1_with_the_unified_tree() -> None:
    assert detect(HYBRID, HYBRID_OWN).mode == "v1"
    assert trees(HYBRID, HYBRID_OWN) == [
        (("memory",), "/sys/fs/cgroup/memory", "/", "/process/x"),
        (("name=systemd",), "/sys/fs/cgroup/systemd", "/", "/"),
        (("cpu", "cpuacct"), "/sys/fs/cgroup/cpu,cpuacct", "/", "/user"),
        ((), "/sys/fs/cgroup/unified", "/", "/init.scope"),
    ]


def test_version_2() -> None:
    assert detect(UNIFIED, "0::/user.slice/s.scope\n").mode == "v2"
    assert trees(UNIFIED, "0::/user.slice/s.scope\n") == [((), "/sys/fs/cgroup", "/", "/user.slice/s.scope")]


def test_version_2_with_an_old_tree_elsewhere_is_version_2() -> None:
    extra = "99 23 0:77 / /mnt/freezer rw - cgroup cgroup rw,freezer\n"
    assert trees(UNIFIED + extra, "1:freezer:/\n0::/\n") == [((), "/sys/fs/cgroup", "/", "/")]


def test_a_mount_over_sys_fs_cgroup_hides_what_was_there() -> None:
    assert detect(UNIFIED + TMPFS, "0::/\n").mode == "none"
    assert detect(HYBRID + UNIFIED, HYBRID_OWN).mode == "v2"


@pytest.mark.parametrize("mountinfo", ["", TMPFS, "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"])
def test_none(mountinfo: str) -> None:
    found = detect(mountinfo, "2:cpu:/\n0::/\n")
    assert (found.mode, found.trees) == ("none", [])


def test_copies_in_other_places_are_not_taken() -> None:
    copy = "20 19 0:32 /c /var/lib/c/rootfs/sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    assert trees(copy + HYBRID, "4:memory:/\n") == [(("memory",), "/sys/fs/cgroup/memory", "/", "/")]


def test_a_space_in_the_mount_point() -> None:
    line = "20 19 0:32 / /mnt/a\\040b\\134 rw - cgroup cgroup rw,memory\n"
    assert trees(line, "4:memory:/\n") == [(("memory",), "/mnt/a b\\", "/", "/")]


@pytest.mark.parametrize(
    ("root", "own", "below"),
    [
        ("/", "/", ""),
        ("/", "/a/b", "/a/b"),
        ("/docker/x", "/docker/x", ""),
        ("/docker/x", "/docker/x/y", "/y"),
        ("/docker/x", "/docker/xy", ""),  # another cgroup: not to be seen through this mount
        ("/docker/x", "/", ""),
        ("/..", "/", ""),  # the mount was made above this cgroup namespace
        ("/", "/../other", ""),
    ],
)
def test_own_below_mount(root: str, own: str, below: str) -> None:
    assert Hierarchy(("memory",), "/m", root, own).own_below_mount == below
