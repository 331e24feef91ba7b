"""A startContainer hook is looked up in the container: a program of the image's choice, so it must not have more rights
than the container's own. (runc and crun run it as the container's user, in the container's cgroups.)"""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from harness import Container, processes


@pytest.fixture
def seen(container: Container) -> Path:
    """Where the hook writes what it sees."""
    folder = container.path / "seen"
    folder.mkdir()
    folder.chmod(0o777)
    container.mount("/seen", "bind", str(folder), "bind")
    return folder / "out"


def hook(container: Container, script: str) -> None:
    path = "/bin/sh"
    entry = {"path": path, "args": ["sh", "-c", f"({script}) > /seen/out 2>&1"], "env": ["PATH=/bin"]}
    container.config.setdefault("hooks", {})["startContainer"] = [entry]


@pytest.mark.parametrize("uid", [0, 1000])
def test_it_is_the_containers_user(container: Container, seen: Path, uid: int) -> None:
    container.process["user"] = {"uid": uid, "gid": uid, "additionalGids": [7]}
    container.process["noNewPrivileges"] = True
    lines = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs)' /proc/self/status"
    hook(container, lines)
    assert container.sees(lines).split() == seen.read_text().split()


def test_it_is_in_the_containers_cgroups(container: Container, seen: Path) -> None:
    container.linux["cgroupsPath"] = f"/{container.id}"
    container.without_namespace("cgroup")
    hook(container, "cat /proc/self/cgroup")
    own = container.sees("cat /proc/self/cgroup")
    assert container.id in own
    assert seen.read_text().strip() == own


def test_it_has_no_device(container: Container, seen: Path) -> None:
    """Not even with CAP_MKNOD, which most images have: the rules are those of the cgroup."""
    container.capabilities("CAP_MKNOD")
    container.without_mount("/dev")
    container.mount("/dev", "tmpfs", "tmpfs", "mode=755")
    hook(container, "mknod /dev/kmsg c 1 11 && head -c 1 /dev/kmsg && echo read; true")
    container.sees("true")
    assert "read" not in seen.read_text()


def test_it_has_the_containers_filter(container: Container, seen: Path) -> None:
    container.unlike(runc="1.1 without noNewPrivileges does otherwise", crun="loads it later")
    container.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    hook(container, "grep Seccomp: /proc/self/status")
    own = container.sees("grep Seccomp: /proc/self/status")
    assert own.split() == ["Seccomp:", "2"]
    assert seen.read_text().strip() == own


def test_its_limits_are_the_containers(container: Container, seen: Path) -> None:
    container.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 78}]
    hook(container, "ulimit -n; ulimit -Hn")
    container.sees("true")
    assert seen.read_text().split() == ["77", "78"]


def test_in_a_user_namespace(container: Container, seen: Path) -> None:
    container.user_namespace()
    container.process["user"] = {"uid": 5, "gid": 6}
    hook(container, "id -u; id -g; grep CapEff /proc/self/status")
    container.sees("true")
    assert seen.read_text().split() == ["5", "6", "CapEff:", "0" * 16]


@pytest.mark.pyrun_only("peers leave the hook behind")
@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"])
def test_a_signal_ends_the_hook_too(container: Container, kind: str, tmp_path: Path) -> None:
    """In a pid namespace an unreaped hook would keep init from ending, and pyrun would wait for ever."""
    fifo = tmp_path / "fifo"
    if kind == "startContainer":
        fifo = container.rootfs / "fifo"
    subprocess.run(["mkfifo", fifo], check=True)
    inside = "/fifo" if kind == "startContainer" else fifo
    path = {"path": "/bin/sh", "args": ["sh", "-c", f"echo > {inside}; sleep 1000; true"]}
    container.config["hooks"] = {kind: [path]}
    container.sh("sleep 1000")
    container.write()
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = container.runtime.command("run", "--detach", "--bundle", container.path, container.id)
    with subprocess.Popen(command, **streams) as process:  # type: ignore[call-overload]
        fifo.read_text()
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(10) == 128 + signal.SIGTERM
        finally:
            process.kill()
    for pid in processes():
        assert container.wait(pid) == -9, Path(f"/proc/{pid}/cmdline").read_text()
    assert not container.exists()
