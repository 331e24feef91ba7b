"""root and linux.rootfsPropagation."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from harness import Container

pytestmark = pytest.mark.guest


def test_the_path_may_be_a_link(container: Container) -> None:
    (container.path / "link").symlink_to("rootfs")
    container.config["root"]["path"] = "link"
    container.script("/mark", "here")
    done = container.run("cat /mark")
    if done.code:
        container.unlike(runc="runc wants a path without links")
    assert done.out == "here"


def test_nothing_of_the_hosts_mounts_is_seen(container: Container) -> None:
    points = [line.split()[4] for line in container.sees("cat /proc/self/mountinfo").splitlines()]
    assert points[0] == "/"
    assert not [point for point in points if point.startswith(("/mnt", "/work", "/tmp"))]


def test_mounts_below_the_root_come_along(container: Container) -> None:
    below = container.rootfs / "tmp"
    subprocess.run(["mount", "-t", "tmpfs", "below", below], check=True)
    try:
        (below / "mark").write_text("here")
        assert container.sees("cat /tmp/mark") == "here"
    finally:
        subprocess.run(["umount", below], check=True)


def test_without_pivot(container: Container) -> None:
    container.script("/mark", "here")
    assert container.sees("cat /mark", "--no-pivot") == "here"
    assert container.sees("cd /../../..; ls mark", "--no-pivot") == "mark"


def test_the_image_is_not_changed(container: Container) -> None:
    """A read-only root with the default mounts: create makes no file in it but missing mount points."""

    def files() -> set[str]:
        return {str(path) for path in Path(container.rootfs).rglob("*")}

    before = files()
    container.sees("true")
    assert files() == before


@pytest.mark.pyrun_only("a container in the host's mount namespace is odd for peers")
def test_without_a_mount_namespace(container: Container) -> None:
    """The root is mounted where everybody sees it; delete takes it off again."""
    container.without_namespace("mount")
    container.config["mounts"] = []
    container.linux.update(maskedPaths=[], readonlyPaths=[])
    container.config["root"]["readonly"] = False
    container.script("/mark", "here")
    assert container.sees("cat /mark; pwd") == "here/"
