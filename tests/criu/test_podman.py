"""podman container checkpoint and restore, with the runtime below it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import archives
import pytest
from conftest import CARRIED, COUNT, SECONDS, Box
from counter import CONNECTED, counts, text, went_on

_LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
IMAGE = "localhost/box:latest"


class Podman:
    def __init__(self, runtime: str) -> None:
        self.command = ["podman", "--runtime", runtime, "--cgroup-manager", "cgroupfs"]
        self.is_pyruns = Path(runtime).name == "pyrun"

    def __call__(self, *arguments: object, fails: bool = False) -> str:
        """What it prints; with `fails`, its errors."""
        done = subprocess.run(
            [*self.command, *map(str, arguments)], capture_output=True, text=True, timeout=SECONDS * 3, check=False
        )
        if (done.returncode != 0) != fails:
            pytest.fail(f"{arguments}: {done.returncode}\n{done.stderr}", pytrace=False)
        return done.stderr if fails else done.stdout

    def run(self, *what: object, name: str = "web") -> None:
        self("run", "-d", "--name", name, "--network", "none", *_LIMITS, *what)

    def checkpoint(self, *options: object, **others: bool) -> str:
        return self("container", "checkpoint", *options, "web", **others)

    def restore(self, *options: object) -> str:
        return self("container", "restore", *options)

    def pid(self, name: str = "web") -> int:
        return int(self.field("Pid", name))

    def field(self, field: str, name: str = "web") -> str:
        """Of its state."""
        return self("inspect", "--format", f"{{{{.State.{field}}}}}", name).strip()


@pytest.fixture
def podman(box: Box) -> Iterator[Podman]:
    made = Podman(box.runtime)
    try:
        yield made
    finally:
        subprocess.run(
            [*made.command, "rm", "--force", "--all", "--time", "0"], capture_output=True, timeout=SECONDS * 3
        )


@pytest.fixture
def image(podman: Podman, tmp_path: Path) -> str:
    """That of containers which can be exported; others have their root where they were made."""
    if subprocess.run(["podman", "image", "exists", IMAGE], check=False).returncode:
        podman("import", archives.files(tmp_path / "files"), IMAGE)
    return IMAGE


def _counting(podman: Podman, image: str) -> int:
    """Run one. Returns its pid."""
    podman.run(image, "sh", "-c", COUNT)
    counts(podman.pid(), above=2)
    return podman.pid()


def _written(podman: Podman, image: str, *options: object) -> int:
    """Run one that counts, write it, and remove it. Returns how far it had come at least."""
    before = counts(_counting(podman, image))
    podman.checkpoint(*options)
    podman("rm", "--force", "--time", "0", "web")
    return before


def test_checkpoint_and_restore(box: Box, podman: Podman) -> None:
    """Its conmon gives pipes for stdio: what is said after restore is in the log as well."""
    script = COUNT.replace("mv /tmp/.n /tmp/n", "mv /tmp/.n /tmp/n; echo said $i")
    podman.run("--rootfs", box.root, "sh", "-c", script)
    box.counts(above=2)
    podman.checkpoint()
    before = int(box.text("n"))
    assert (podman.field("Status"), podman.field("Checkpointed")) == ("exited", "true")
    podman.restore("web")
    box.went_on(before)
    assert podman.field("Status") == "running"
    assert podman("exec", "web", "sh", "-c", "echo inside") == "inside\n"
    assert f"said {before + 1}\n" in podman("logs", "web")
    podman("rm", "--force", "--time", "0", "web")
    assert box.processes() == []


def test_left_running(box: Box, podman: Podman) -> None:
    podman.run("--rootfs", box.root, "sh", "-c", COUNT)
    box.counts(above=2)
    podman.checkpoint("--leave-running")
    assert podman.field("Status") == "running"
    box.went_on(int(box.text("n")))


@pytest.mark.parametrize("name", ["web", "other"])
@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_export_and_import(podman: Podman, image: str, tmp_path: Path, name: str, compression: str) -> None:
    """What it has written since its image goes with it."""
    before = _written(podman, image, "--compress", compression, "--export", tmp_path / "tar")
    podman.restore("--import", tmp_path / "tar", *(["--name", name] if name != "web" else []))
    went_on(podman.pid(name), before)
    assert text(podman.pid(name), "begun") == "begun\n"
    assert podman("exec", name, "sh", "-c", "echo inside") == "inside\n"


def test_export_of_one_that_goes_on(podman: Podman, image: str, tmp_path: Path) -> None:
    """Both count then, each for itself."""
    pid = _counting(podman, image)
    before = counts(pid)
    podman.checkpoint("--leave-running", "--export", tmp_path / "tar")
    assert podman.pid() == pid
    podman.restore("--import", tmp_path / "tar", "--name", "other")
    for name in ("web", "other"):
        went_on(podman.pid(name), before)


def test_without_its_files(podman: Podman, image: str, tmp_path: Path) -> None:
    """--ignore-rootfs: its processes go on among those of the image."""
    before = _written(podman, image, "--ignore-rootfs", "--export", tmp_path / "tar")
    podman.restore("--ignore-rootfs", "--import", tmp_path / "tar")
    went_on(podman.pid(), before)
    assert text(podman.pid(), "begun") == ""


def test_kept(podman: Podman, image: str) -> None:
    """--keep: CRIU's logs and figures stay, of both."""
    before = counts(_counting(podman, image))
    podman.checkpoint("--keep")
    kept = Path(podman("inspect", "--format", "{{.StaticDir}}", "web").strip())
    assert {"dump.log", "stats-dump"} <= {path.name for path in kept.iterdir()}
    podman.restore("--keep", "web")
    went_on(podman.pid(), before)
    assert {"dump.log", "stats-dump", "restore.log", "stats-restore"} <= {path.name for path in kept.iterdir()}


def test_chain_of_dumps(podman: Podman, image: str, tmp_path: Path) -> None:
    """--pre-checkpoint, and what has changed since: two archives, which belong together."""
    pid = _counting(podman, image)
    podman.checkpoint("--pre-checkpoint", "--export", tmp_path / "first")
    assert podman.pid() == pid
    before = counts(pid)
    podman.checkpoint("--with-previous", "--export", tmp_path / "second")
    podman("rm", "--force", "--time", "0", "web")
    podman.restore("--import-previous", tmp_path / "first", "--import", tmp_path / "second")
    went_on(podman.pid(), before)


def test_image_of_a_checkpoint(podman: Podman, image: str) -> None:
    before = _written(podman, image, "--create-image", "saved")
    podman.restore("--name", "other", "saved")
    went_on(podman.pid("other"), before)
    podman("rm", "--force", "--time", "0", "other")
    podman("rmi", "saved")


@pytest.mark.beyond(runc="connections over the loopback device, which it leaves down")
def test_connections(podman: Podman, image: str, tmp_path: Path) -> None:
    podman.run(image, "sh", "-c", CONNECTED)
    before = counts(podman.pid(), above=2)
    podman.checkpoint("--tcp-established", "--export", tmp_path / "tar")
    podman("rm", "--force", "--time", "0", "web")
    podman.restore("--tcp-established", "--import", tmp_path / "tar")
    went_on(podman.pid(), before)


def test_what_can_not_be_written(podman: Podman, image: str) -> None:
    """TCP is not taken unasked; podman has pyrun's words, and runc's and crun's are in a log."""
    podman.run(image, "sh", "-c", CONNECTED)
    counts(podman.pid(), above=2)
    said = podman.checkpoint(fails=True)
    assert "Connected TCP socket" in said or not podman.is_pyruns
    assert podman.field("Status") == "running"
    went_on(podman.pid(), counts(podman.pid()))


def test_left_for_another_machine(podman: Podman, image: str) -> None:
    before = _written(podman, image, "--export", CARRIED / "podman.tar")
    (CARRIED / "podman.before").write_text(str(before))
    podman("save", "--output", CARRIED / "image.tar", image)


@pytest.mark.second_machine
def test_on_another_machine(podman: Podman) -> None:
    """A container that is not restored, first: with it Podman gives AppArmor its profile."""
    podman("load", "--input", CARRIED / "image.tar")
    podman("run", "--rm", "--network", "none", *_LIMITS, IMAGE, "true")
    podman.restore("--import", CARRIED / "podman.tar")
    went_on(podman.pid(), int((CARRIED / "podman.before").read_text()))
    assert text(podman.pid(), "begun") == "begun\n"
