"""ctr's checkpoints: containerd's shim pauses, writes and resumes a task, and restores one of an image that it made."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import archives
import pytest
from conftest import CGROUPS, COUNT, SECONDS, until
from containerd import IMAGE, Containerd
from counter import CONNECTED, counts, went_on


@pytest.fixture(scope="module")
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """Its snapshots are overlays, which can't lie in one."""
    runtime = request.config.getoption("runtime")
    kept = Path("/var/lib/containerd")
    kept.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "containerd", kept], check=True)
    made = Containerd({Path(runtime).name: runtime}, tmp_path_factory.mktemp("containerd"))
    made.seconds = SECONDS * 3
    try:
        made.daemon.start()
        made.ok("image", "import", archives.archive(archives.files(tmp_path_factory.mktemp("files")), IMAGE, ["sh"]))
        yield made
    finally:
        made.daemon.stop()
        subprocess.run(["umount", "--lazy", kept], check=True)


@pytest.fixture
def ctr(daemon: Containerd, request: pytest.FixtureRequest) -> Iterator[Containerd]:
    yield daemon
    for name in daemon("task", "ls", "-q").stdout.split():
        daemon("task", "rm", "--force", name)
    for name in daemon("container", "ls", "-q").stdout.split():
        daemon("container", "rm", name)
    assert list(CGROUPS.glob("default/*/")) == []


def _run(ctr: Containerd, name: str, script: str = COUNT, *options: str) -> int:
    """A task that counts. Returns its pid. Each has a name of its own: by that containerd stages what it stores, and it
    may take what an earlier one has left there."""
    ctr.ok("run", "-d", *options, *ctr.flags, IMAGE, name, "sh", "-c", script)
    pid = _pid(ctr, name)
    counts(pid, above=2)
    return pid


def _row(ctr: Containerd, name: str) -> list[str]:
    """Of a task: its name, pid and status; [] for none."""
    rows = [line.split() for line in ctr.ok("task", "ls").splitlines()[1:]]
    return next((row for row in rows if row[0] == name), [])


def _pid(ctr: Containerd, name: str) -> int:
    return int(_row(ctr, name)[1])


def _remove(ctr: Containerd, name: str) -> None:
    ctr.ok("task", "kill", "--signal", "SIGKILL", name)
    until("its end", lambda: _row(ctr, name)[2] == "STOPPED")
    ctr("task", "rm", name)  # ctr has the code of the task for its own
    ctr.ok("container", "rm", name)


@pytest.mark.beyond(crun="containerd checkpoints by options of runc's")
def test_left_running(ctr: Containerd, tmp_path: Path) -> None:
    pid = _run(ctr, "left")
    ctr.ok("task", "checkpoint", "--image-path", tmp_path / "image", "--work-path", tmp_path / "work", "left")
    assert (tmp_path / "image/inventory.img").exists()
    assert (tmp_path / "work/dump.log").exists()
    assert _row(ctr, "left") == ["left", str(pid), "RUNNING"]
    went_on(pid, counts(pid))


@pytest.mark.beyond(crun="containerd checkpoints by options of runc's")
def test_stopped(ctr: Containerd, tmp_path: Path) -> None:
    """With --exit the task ends; the shim's resume and delete come when the runtime knows of it no more."""
    _run(ctr, "stopped")
    paths = ("--image-path", tmp_path / "image", "--work-path", tmp_path / "work")
    ctr.ok("task", "checkpoint", "--exit", *paths, "stopped")
    until("its end", lambda: _row(ctr, "stopped")[2] == "STOPPED")
    ctr("task", "rm", "stopped")
    assert _row(ctr, "stopped") == []
    ctr.ok("container", "rm", "stopped")


@pytest.mark.beyond(crun="containerd checkpoints by options of runc's")
def test_checkpoint_and_restore(ctr: Containerd) -> None:
    """By an image in containerd's store: processes, what they have written, and the image below that."""
    pid = _run(ctr, "first")
    before = counts(pid)
    ctr.ok("container", "checkpoint", "--task", "--rw", "--image", "first", "local/first:saved")
    _remove(ctr, "first")
    ctr.ok("container", "restore", "--rw", "--live", "second", "local/first:saved")
    assert _row(ctr, "second")[2] == "RUNNING"
    went_on(_pid(ctr, "second"), before)
    assert ctr.ok("task", "exec", "--exec-id", "one", "second", "cat", "/tmp/begun") == "begun"
    ctr.ok("task", "pause", "second")
    ctr.ok("task", "resume", "second")
    counts(_pid(ctr, "second"))
    _remove(ctr, "second")


def test_what_can_not_be_written(ctr: Containerd, tmp_path: Path) -> None:
    """TCP is not taken unasked: the task goes on, and ctr says where the reason is."""
    pid = _run(ctr, "held", f"ip link set lo up; {CONNECTED}", "--cap-add", "CAP_NET_ADMIN")
    paths = ("--image-path", tmp_path / "image", "--work-path", tmp_path / "work")
    done = ctr("task", "checkpoint", *paths, "held")
    assert done.returncode == 1
    assert "dump.log" in done.stderr
    assert _row(ctr, "held") == ["held", str(pid), "RUNNING"]  # busybox's nc does not go on after it, with runc neither
