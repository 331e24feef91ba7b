"""What pyrun kills, removes and unmounts is what it has made, known by what it is, and never by its name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Container, mounts

V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
TOP = Path("/sys/fs/cgroup" if V2 else "/sys/fs/cgroup/freezer")
HIERARCHIES = [TOP] if V2 else sorted(path for path in TOP.parent.iterdir() if (path / "cgroup.procs").exists())


def cgroup_of(container: Container, name: str) -> Path:
    container.linux["cgroupsPath"] = name
    return TOP / name.lstrip("/")


def remove(name: str) -> None:
    for top in HIERARCHIES:
        if (path := top / name.lstrip("/")).exists():
            for below, _, _ in os.walk(path, topdown=False):
                os.rmdir(below)


def leave(stranger: subprocess.Popen[bytes], path: Path) -> None:
    """Take the process out again, and the cgroup away."""
    (TOP / "cgroup.procs").write_text(str(stranger.pid))
    remove(path.name)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is nobody's business."""
    process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    yield process
    assert process.poll() is None, "it was killed"
    process.kill()
    process.wait()


@pytest.mark.parametrize("nested", [False, True], ids=["in the same cgroup", "in one below"])
@pytest.mark.parametrize("shared", [False, True], ids=["", "without pid namespaces"])
@pytest.mark.parametrize("command", ["delete", "delete --force", "kill --all"])
def test_the_next_in_a_cgroup_lives(
    container: Container, new_container: Callable[[], Container], command: str, nested: bool, shared: bool
) -> None:
    container.unlike(crun="1.8 kills by cgroup")
    if shared:
        container.unlike(runc="1.1 kills by cgroup")
    if command == "kill --all":
        container.unlike(runc="1.1 kills by cgroup")
    path = f"/test-{os.getpid()}-shared"
    cgroup_of(container, path)
    second = new_container()
    cgroup_of(second, f"{path}/below" if nested else path)
    for one in (container, second):
        one.args = ["sleep", "1000"]
        if shared:
            one.without_namespace("pid")
    container.create()
    container.start()
    container.kill()
    while container.status != "stopped":
        os.sched_yield()
    second.create()
    second.start()
    verb, *flags = command.split()
    container.runtime(verb, *flags, container.id, *(["KILL"] if verb == "kill" else []))
    assert second.status == "running"
    second.delete("--force")
    container.runtime("delete", "--force", container.id)
    remove(path)


@pytest.mark.parametrize("shared", [False, True], ids=["", "without a pid namespace"])
def test_a_cgroup_that_was_there(container: Container, stranger: subprocess.Popen[bytes], shared: bool) -> None:
    """An administrator's: what was put into it since is not killed, and it stays."""
    container.unlike(runc="1.1 removes it", crun="1.8 kills by cgroup")
    path = cgroup_of(container, f"/test-{os.getpid()}-there")
    for top in HIERARCHIES:
        (top / path.name).mkdir()
    for top in HIERARCHIES:
        if "cpuset" in top.name:
            for file in ("cpuset.cpus", "cpuset.mems"):
                (top / path.name / file).write_text((top / file).read_text())
    container.args = ["sleep", "1000"]
    if shared:
        container.without_namespace("pid")
    container.create()
    container.start()
    (path / "cgroup.procs").write_text(str(stranger.pid))
    container.delete("--force")
    assert stranger.poll() is None
    assert path.exists()
    leave(stranger, path)


def test_a_stranger_in_the_containers_cgroup(container: Container, stranger: subprocess.Popen[bytes]) -> None:
    """delete goes through, and says why the cgroup stays."""
    container.unlike(runc="1.1 fails", crun="1.8 kills it")
    path = cgroup_of(container, f"/test-{os.getpid()}-moved")
    container.args = ["sleep", "1000"]
    container.create()
    (path / "cgroup.procs").write_text(str(stranger.pid))
    done = container.runtime("delete", "--force", container.id)
    assert done.code == 0
    assert "cgroup stays" in done.err
    assert not container.exists()
    leave(stranger, path)


@pytest.mark.pyrun_only("its state")
@pytest.mark.parametrize("shared", [False, True], ids=["", "without a pid namespace"])
def test_a_create_that_died_before_it_had_a_cgroup(
    container: Container, stranger: subprocess.Popen[bytes], shared: bool
) -> None:
    """Its state names one, in which there are others by now."""
    path = cgroup_of(container, f"/test-{os.getpid()}-promised")
    container.args = ["sleep", "1000"]
    if shared:
        container.without_namespace("pid")
    container.create()
    file = container.runtime.root / container.id / "state.json"
    state = json.loads(file.read_text())
    init = state["pid"]
    os.kill(init, signal.SIGKILL)
    container.wait(init)
    # As a SIGKILL between the first writing and the making leaves it.
    for row in state["cgroup"]["directories"]:
        row[4] = []
    state |= {"creating": True, "pid": 0, "started": 0}
    file.write_text(json.dumps(state))
    (path / "cgroup.procs").write_text(str(stranger.pid))
    container.delete("--force")
    assert stranger.poll() is None
    assert path.exists()
    leave(stranger, path)


@pytest.mark.pyrun_only("its state")
def test_a_cgroup_made_again_by_somebody_else(container: Container, stranger: subprocess.Popen[bytes]) -> None:
    path = cgroup_of(container, f"/test-{os.getpid()}-again")
    container.args = ["sleep", "1000"]
    container.without_namespace("pid")
    container.create()
    init = container.pid
    os.kill(init, signal.SIGKILL)
    container.wait(init)
    remove(path.name)
    path.mkdir()
    (path / "cgroup.procs").write_text(str(stranger.pid))
    container.delete()
    assert path.exists()
    leave(stranger, path)


def without_mounts(container: Container) -> None:
    container.without_namespace("mount")
    container.config["mounts"] = []
    container.linux["maskedPaths"] = container.linux["readonlyPaths"] = []
    container.config["root"]["readonly"] = False


@pytest.mark.parametrize("killed", [False, True], ids=["fails", "is killed"])
def test_what_was_mounted_at_the_root_stays(container: Container, killed: bool) -> None:
    """Without a mount namespace the root is mounted on the host: a create that ends before takes nothing off."""
    container.unlike(runc="refuses to", crun="1.8 leaves mounts on the host")
    without_mounts(container)
    subprocess.run(["mount", "--bind", container.rootfs, container.rootfs], check=True)
    try:
        before = mounts()
        container.args = ["sleep", "1000"]
        container.write()
        if killed:
            container.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $PPID"]}]}
            container.write()
        else:
            container.linux["sysctl"] = {"kernel.domainname": "x" * 100}
            container.config["process"]["args"] = ["/does/not/exist"]
            container.write()
        assert container.runtime("create", "--bundle", container.path, container.id).code != 0
        container.runtime("delete", "--force", container.id)
        assert mounts() == before
    finally:
        subprocess.run(["umount", container.rootfs], check=True)


def test_what_was_mounted_upon_it_stays(container: Container) -> None:
    container.unlike(runc="refuses to", crun="1.8 leaves mounts on the host")
    without_mounts(container)
    container.args = ["sleep", "1000"]
    container.create()
    subprocess.run(["mount", "-t", "tmpfs", "others", container.rootfs], check=True)
    container.delete("--force")
    assert any(str(container.rootfs) in line for line in map(str, mounts())), "another's mount was taken off"
    subprocess.run(["umount", container.rootfs], check=True)
    subprocess.run(["umount", container.rootfs], check=False, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("path", ["/", "/.", "/proc/../", "link"])
def test_the_hosts_root_is_no_root(container: Container, path: str) -> None:
    container.unlike(runc="refuses to", crun="1.8 takes it")
    without_mounts(container)
    container.config["root"]["path"] = path
    if path == "link":
        (container.path / "link").symlink_to("/")
    before = mounts()
    assert "/root/path" in container.refused()
    assert mounts() == before


@pytest.mark.parametrize("how", ["disabled", "moved"])
def test_kill_reaches_init_whatever_its_cgroup_holds(container: Container, how: str) -> None:
    container.unlike(runc="1.1 kills by cgroup", crun="1.8 kills by cgroup")
    container.without_namespace("pid")
    container.args = ["sleep", "1000"]
    if how == "disabled":
        if "resources" in container.linux:
            del container.linux["resources"]
        container.runtime.wide = (*container.runtime.wide, "--cgroup-manager=disabled")  # type: ignore[misc]
    container.create()
    container.start()
    pid = container.pid
    if how == "moved":
        (TOP / "cgroup.procs").write_text(str(pid))
    container.kill("KILL")
    assert container.wait(pid) == -9
    container.delete()


def test_what_create_has_mounted_is_taken_off(container: Container) -> None:
    """The usual end, without a mount namespace."""
    container.unlike(runc="refuses to", crun="1.8 leaves mounts on the host")
    without_mounts(container)
    before = mounts()
    container.args = ["sleep", "1000"]
    container.create()
    assert mounts() != before
    container.delete("--force")
    assert mounts() == before


@pytest.mark.pyrun_only("its words")
def test_exec_enters_no_cgroup_of_somebody_else(container: Container) -> None:
    """The container has been moved away, and its cgroup made again."""
    path = cgroup_of(container, f"/test-{os.getpid()}-entered")
    container.args = ["sleep", "1000"]
    container.create()
    container.start()
    for top in HIERARCHIES:
        (top / "cgroup.procs").write_text(str(container.pid))
    remove(path.name)
    path.mkdir()
    done = container.runtime("exec", container.id, "true")
    assert done.code == 255
    assert "another's by now" in done.err
    container.delete("--force")
    assert path.exists()
    remove(path.name)
