"""containerd by ctr: its shim drives the runtime through go-runc."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from containerd import IMAGE, Containerd
from managers import eventually, memory_limit


@pytest.fixture
def ctr(containerd: Containerd) -> Iterator[Containerd]:
    yield containerd
    for name in containerd("task", "ls", "-q").stdout.split():
        containerd("task", "rm", "--force", name)
    for name in containerd("container", "ls", "-q").stdout.split():
        containerd("container", "rm", name)
    left = [path for path, _, _ in os.walk("/sys/fs/cgroup") if "/default/" in path]
    assert left == []


@pytest.fixture
def box(ctr: Containerd) -> str:
    """A task that runs."""
    ctr.ok("run", "-d", *ctr.flags, IMAGE, "box", "sleep", "1000")
    return "box"


def test_run(ctr: Containerd) -> None:
    assert ctr.ok("run", "--rm", *ctr.flags, IMAGE, "one", "echo", "hello") == "hello"


@pytest.mark.parametrize("code", [0, 3, 255])
def test_exit_codes(ctr: Containerd, code: int) -> None:
    assert ctr("run", "--rm", *ctr.flags, IMAGE, "one", "sh", "-c", f"exit {code}").returncode == code


def test_what_can_not_be_run(ctr: Containerd) -> None:
    """The runtime's own words come through the log."""
    done = ctr("run", "--rm", *ctr.flags, IMAGE, "one", "/nowhere")
    assert done.returncode == 1
    assert "OCI runtime create failed" in done.stderr
    assert "no such file or directory" in done.stderr


def test_exec(ctr: Containerd, box: str) -> None:
    assert ctr.ok("task", "exec", "--exec-id", "e1", box, "sh", "-c", "echo inside; id -u").split() == ["inside", "0"]
    assert ctr("task", "exec", "--exec-id", "e2", box, "sh", "-c", "exit 9").returncode == 9
    assert ctr("task", "exec", "--exec-id", "e3", box, "nowhere").returncode == 1


def test_processes(ctr: Containerd, box: str) -> None:
    lines = ctr.ok("task", "ps", box).splitlines()
    assert lines[0].split()[0] == "PID"
    assert len(lines) == 2


def test_pause_and_resume(ctr: Containerd, box: str) -> None:
    ctr.ok("task", "pause", box)
    assert "PAUSED" in ctr.ok("task", "ls")
    ctr.ok("task", "resume", box)
    assert "RUNNING" in ctr.ok("task", "ls")


def test_metrics(ctr: Containerd, box: str) -> None:
    metrics = json.loads(ctr.ok("task", "metrics", "--format", "json", box))
    assert "memory" in json.dumps(metrics).lower()


def test_kill_and_delete(ctr: Containerd, box: str) -> None:
    ctr.ok("task", "kill", "--signal", "SIGKILL", box)
    assert eventually(lambda: "STOPPED" in ctr("task", "ls").stdout)
    ctr.ok("task", "rm", box)
    ctr.ok("container", "rm", box)


def test_kill_all(ctr: Containerd) -> None:
    ctr.ok("run", "-d", *ctr.flags, IMAGE, "many", "sh", "-c", "sleep 1000 & sleep 1000 & wait")
    ctr.ok("task", "kill", "--all", "--signal", "SIGKILL", "many")
    assert eventually(lambda: "STOPPED" in ctr("task", "ls").stdout)


def test_kill_of_a_stopped_task(ctr: Containerd, box: str) -> None:
    ctr.ok("task", "kill", "--signal", "SIGKILL", box)
    assert eventually(lambda: "STOPPED" in ctr("task", "ls").stdout)
    assert "process already finished" in ctr("task", "kill", box).stderr


def test_remove_by_force(ctr: Containerd, box: str) -> None:
    ctr.ok("task", "rm", "--force", box)


def test_a_tty(ctr: Containerd) -> None:
    line = " ".join(map(str, [*ctr.command, "run", "--rm", "-t", *ctr.flags, IMAGE, "tty", "tty"]))
    command = ["script", "-qec", line, "/dev/null"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert "/dev/pts/0" in done.stdout, done


def test_memory_limit(ctr: Containerd) -> None:
    ctr.ok("run", "-d", "--memory-limit", str(64 << 20), *ctr.flags, IMAGE, "small", "sleep", "1000")
    assert memory_limit("small") == str(64 << 20)


def test_the_shim_is_killed(ctr: Containerd, box: str) -> None:
    """containerd then has the runtime delete what is left."""
    pid = ctr.ok("task", "ls").splitlines()[1].split()[1]
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    assert "containerd-shim" in Path(f"/proc/{parent}/cmdline").read_text()
    os.kill(int(parent), 9)
    assert eventually(lambda: box not in ctr("task", "ls").stdout)
    assert eventually(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text())


def test_restart_of_containerd(ctr: Containerd, box: str) -> None:
    """Tasks go on, and are known again."""
    ctr.daemon.stop()
    ctr.daemon.start()
    assert "RUNNING" in ctr.ok("task", "ls")
    assert ctr.ok("task", "exec", "--exec-id", "after", box, "echo", "still here") == "still here"
