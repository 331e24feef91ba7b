"""root and linux.rootfsPropagation."""

from __future__ import annotations

import os
import subprocess

import pytest

from conformance.harness import Container, hear, mount_at


@pytest.mark.must(2)
@pytest.mark.parametrize("absolute", [False, True])
def test_the_path(container: Container, absolute: bool) -> None:
    container.config["root"]["path"] = str(container.rootfs) if absolute else "rootfs"
    container.script("/mark", "here")
    assert container.sees("cat /mark") == "here"


@pytest.mark.must(47)
@pytest.mark.parametrize("readonly", [False, True])
def test_readonly(container: Container, readonly: bool) -> None:
    container.config["root"]["readonly"] = readonly
    assert container.sees("touch /file 2>&1 || true") == ("touch: /file: Read-only file system" if readonly else "")
    assert (container.rootfs / "file").exists() is not readonly
    assert ("ro" if readonly else "rw") in mount_at(container, "/").options


@pytest.mark.must(28)
@pytest.mark.parametrize(
    ("propagation", "field"),
    [
        ("shared", "shared"),
        ("rshared", "shared"),
        ("slave", "master"),
        ("rslave", "master"),
        ("private", ""),
        ("rprivate", ""),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
    ],
)
def test_propagation_on_a_shared_host(container: Container, propagation: str, field: str) -> None:
    """What mountinfo says of `/` when the host's mount of it is shared (mount_namespaces(7))."""
    subprocess.run(["mount", "--bind", container.rootfs, container.rootfs], check=True)
    try:
        subprocess.run(["mount", "--make-shared", container.rootfs], check=True)
        if propagation:
            container.linux["rootfsPropagation"] = propagation
        found = mount_at(container, "/").tags
        assert field in found if field else not found
        assert "shared" not in found or "shared" in propagation
    finally:
        subprocess.run(["umount", container.rootfs], check=True)


@pytest.mark.must(28)
@pytest.mark.parametrize(("propagation", "seen"), [("rshared", True), ("rslave", True), ("rprivate", False)])
def test_later_mounts_of_the_host(container: Container, propagation: str, seen: bool) -> None:
    """What is mounted on the host in a shared bind source later appears in the container of a slave, not of a private
    root."""
    shared = container.path / "shared"
    (shared / "below").mkdir(parents=True)
    subprocess.run(["mount", "--bind", shared, shared], check=True)
    subprocess.run(["mount", "--make-shared", shared], check=True)
    try:
        container.linux["rootfsPropagation"] = propagation
        container.mount("/tmp", "bind", str(shared), "rbind", *(["rprivate"] if not seen else ["rslave"]))
        container.sh("ls /tmp/below")
        read, write = os.pipe()
        container.create(stdout=write)
        os.close(write)
        subprocess.run(["mount", "-t", "tmpfs", "later", shared / "below"], check=True)
        (shared / "below" / "mark").write_text("")
        container.start_and_wait()
        assert hear(read) == (b"mark\n" if seen else b"")
        os.close(read)
        container.delete()
    finally:
        subprocess.run(["umount", "-R", shared], check=True)


@pytest.mark.must(28)
@pytest.mark.parametrize("propagation", ["shared", "slave", "private", "unbindable"])
def test_mounts_cross_the_root(container: Container, propagation: str) -> None:
    """None come out: a shared root has a peer group of its own. The host's come into a slave, not into a private one;
    whether they come into a shared one is not said."""
    container.config["root"]["readonly"] = False
    container.capabilities("CAP_SYS_ADMIN")
    container.linux["rootfsPropagation"] = propagation
    for name in ("inside", "outside"):
        (container.rootfs / name).mkdir()
    subprocess.run(["mount", "--bind", container.rootfs, container.rootfs], check=True)
    subprocess.run(["mount", "--make-shared", container.rootfs], check=True)
    try:
        container.up("mount -t tmpfs mine /inside; echo up; sleep 1000")
        assert not os.path.ismount(container.rootfs / "inside")
        subprocess.run(["mount", "-t", "tmpfs", "theirs", container.rootfs / "outside"], check=True)
        seen = container.runtime.ok("exec", container.id, "/bin/cat", "/proc/self/mountinfo")
        assert (" /outside " in seen) is (propagation == "slave") or propagation == "shared"
        container.delete("--force")
    finally:
        subprocess.run(["umount", "-R", container.rootfs], check=True)


@pytest.mark.must(28)
@pytest.mark.parametrize(("propagation", "seen"), [("shared", True), ("private", False)])
def test_mounts_within_the_root(container: Container, propagation: str, seen: bool) -> None:
    """What is mounted below a shared root is seen in its copies: nested containers rely on it."""
    container.config["root"]["readonly"] = False
    container.capabilities("CAP_SYS_ADMIN")
    container.linux["rootfsPropagation"] = propagation
    for name in ("copy", "inside"):
        (container.rootfs / name).mkdir()
    script = "mount --bind / /copy && mount -t tmpfs mine /inside && grep -c ' /copy/inside ' /proc/self/mountinfo"
    assert container.run(script).out == ("1\n" if seen else "0\n")


@pytest.mark.must(28)
def test_an_unbindable_root(container: Container) -> None:
    container.config["root"]["readonly"] = False
    container.capabilities("CAP_SYS_ADMIN")
    container.linux["rootfsPropagation"] = "unbindable"
    (container.rootfs / "copy").mkdir()
    assert container.run("mount --bind / /copy").code != 0


@pytest.mark.must(46)
@pytest.mark.parametrize("kind", ["missing", "file"])
def test_no_such_folder(container: Container, kind: str) -> None:
    path = container.path / kind
    if kind == "file":
        path.write_text("")
    container.config["root"]["path"] = kind
    container.refused()
