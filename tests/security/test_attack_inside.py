"""What a container can do to the runtime's later commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness import Container

V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()


@pytest.mark.parametrize("user", [False, True], ids=["", "in a user namespace"])
def test_exec_without_a_mount_namespace_stays_inside(container: Container, user: bool) -> None:
    """chroot(2) is all that keeps the program inside then: exec has to do it too."""
    container.unlike(runc="refuses to", crun="leaves mounts on the host")
    if user:
        container.user_namespace()
    container.without_namespace("mount")
    container.without_mount("/proc", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/pts", "/dev/shm", "/dev")
    container.linux["maskedPaths"] = container.linux["readonlyPaths"] = []
    container.config["root"]["readonly"] = False
    container.script("/etc/mark", "inside")
    container.args = ["sleep", "1000"]
    container.write()
    done = container.runtime("create", "--bundle", container.path, container.id)
    if user:
        # A user namespace has no right to mount in the host's mount namespace.
        assert done.code == 1
        return
    assert done.code == 0, done
    assert container.runtime.ok("exec", container.id, "cat", "/etc/mark") == "inside"
    container.start()
    assert container.runtime.ok("exec", container.id, "cat", "/etc/mark") == "inside"
    container.delete("--force")


def test_a_start_container_hook_stays_inside_too(container: Container) -> None:
    container.unlike(runc="refuses to", crun="leaves mounts on the host")
    container.without_namespace("mount")
    container.without_mount("/proc", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/pts", "/dev/shm", "/dev")
    container.linux["maskedPaths"] = container.linux["readonlyPaths"] = []
    container.config["root"]["readonly"] = False
    container.hook("startContainer", "echo hook > /mark")
    container.run("true")
    assert (container.rootfs / "mark").read_text() == "hook\n"
    assert not Path("/mark").exists()


def test_a_pid_file_goes_through_no_link(container: Container, tmp_path: Path) -> None:
    """Where others can write, such as /tmp, somebody may have put a link in its way."""
    container.unlike(runc="1.1 follows it")
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".pid").symlink_to(tmp_path / "precious")
    container.args = ["sleep", "1000"]
    container.create("--pid-file", str(tmp_path / "pid"))
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "pid").read_text() == str(container.pid)
    container.delete("--force")


@pytest.mark.pyrun_only("the peers go by paths")
def test_cgroups_nested_deeper_than_a_path(container: Container) -> None:
    """Made as a container with delegated cgroups could make them: kill and delete still find all of them."""
    container.without_namespace("pid")  # else all end with init, and what else is in the cgroup is not ours to kill
    container.args = ["sleep", "1000"]
    container.create()
    top = None
    for line in Path(f"/proc/{container.pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if (V2 and not names) or "freezer" in names.split(","):
            top = f"/sys/fs/cgroup{path}" if V2 else f"/sys/fs/cgroup/freezer{path}"
    assert top
    name = "n" * 200
    fd = os.open(top, os.O_RDONLY)
    for _ in range(40):  # 8,000 bytes: twice what a path may have
        os.mkdir(name, dir_fd=fd)
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    child = os.fork()
    if not child:
        os.execvp("sleep", ["sleep", "1000"])
    procs = os.open("cgroup.procs", os.O_WRONLY, dir_fd=fd)
    os.write(procs, str(child).encode())
    os.close(procs)
    os.close(fd)
    container.runtime.ok("kill", "--all", container.id, "KILL")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    container.delete("--force")
    assert not os.path.exists(top)


@pytest.mark.pyrun_only("the peers fail with other words")
@pytest.mark.parametrize("options", [[], ["remount", "ro"], ["bind", "remount", "ro"]], ids=" ".join)
def test_a_link_to_the_root_is_no_mount_point(container: Container, options: list[str]) -> None:
    """An image that has a link to / where the config mounts: what was meant for the container would hit the file system
    that its root is on."""
    (container.rootfs / "scratch").symlink_to("/")
    if not options:
        container.mount("/scratch", "tmpfs")
    else:
        container.mount("/scratch", "none", "none", *options)
    container.refused("/mounts/", "destination")
    (container.path / "still-writable").touch()


@pytest.mark.pyrun_only("the peers follow it")
def test_a_remount_goes_by_no_link(container: Container, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (container.rootfs / "scratch").symlink_to("/tmp")
    container.mount("/tmp", "bind", str(volume), "bind")
    container.mount("/scratch", "tmpfs", "tmpfs", "remount", "ro")
    container.refused("/mounts/", "symbolic link")
    (volume / "still-writable").touch()


@pytest.mark.skipif(V2, reason="on cgroup v2 SIGKILL ends frozen processes too")
@pytest.mark.pyrun_only("runc waits, crun leaves it behind")
@pytest.mark.parametrize("by", ["kill", "delete"])
def test_a_container_that_has_frozen_itself(container: Container, by: str) -> None:
    container.args = ["sleep", "1000"]
    container.create()
    container.start()
    pid = container.pid
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if names == "freezer":
            inner = Path(f"/sys/fs/cgroup/freezer{path}/in")
    inner.mkdir()
    (inner / "cgroup.procs").write_text(str(pid))
    (inner / "freezer.state").write_text("FROZEN")
    if by == "kill":
        container.kill("KILL")
        assert container.wait(pid) == -9
    container.delete("--force")
    assert not inner.exists()


def test_what_lies_beside_a_pid_file(container: Container, tmp_path: Path) -> None:
    container.unlike(runc="1.1 writes over it")
    (tmp_path / ".profile").write_text("mine")
    container.args = ["sleep", "1000"]
    container.create("--pid-file", str(tmp_path / "profile"))
    assert (tmp_path / ".profile").read_text() == "mine"
    container.delete("--force")
    container.write()
    done = container.runtime("create", "--pid-file", str(tmp_path), "--bundle", container.path, container.id)
    assert done.code == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == [".profile"]
