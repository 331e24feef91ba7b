"""podman container checkpoint and restore, with the runtime below it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from conftest import COUNT, SECONDS, Box

_LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


class Podman:
    def __init__(self, runtime: str) -> None:
        self.command = ["podman", "--runtime", runtime, "--cgroup-manager", "cgroupfs"]

    def __call__(self, *arguments: object) -> str:
        done = subprocess.run(
            [*self.command, *map(str, arguments)], capture_output=True, text=True, timeout=SECONDS * 3, check=False
        )
        if done.returncode:
            pytest.fail(f"{arguments}: {done.returncode}\n{done.stderr}", pytrace=False)
        return done.stdout


@pytest.fixture
def podman(box: Box) -> Iterator[Podman]:
    made = Podman(box.runtime)
    try:
        yield made
    finally:
        subprocess.run(
            [*made.command, "rm", "--force", "--all", "--time", "0"], capture_output=True, timeout=SECONDS * 3
        )


def test_checkpoint_and_restore(box: Box, podman: Podman) -> None:
    """Its conmon gives pipes for stdio: what is said after restore is in the log as well."""
    script = COUNT.replace("mv /tmp/.n /tmp/n", "mv /tmp/.n /tmp/n; echo said $i")
    podman("run", "-d", "--name", "web", "--network", "none", *_LIMITS, "--rootfs", box.root, "sh", "-c", script)
    box.counts(above=2)
    podman("container", "checkpoint", "web")
    before = int(box.text("n"))
    assert podman("inspect", "--format", "{{.State.Status}} {{.State.Checkpointed}}", "web") == "exited true\n"
    podman("container", "restore", "web")
    box.went_on(before)
    assert podman("inspect", "--format", "{{.State.Status}}", "web") == "running\n"
    assert podman("exec", "web", "sh", "-c", "echo inside") == "inside\n"
    assert f"said {before + 1}\n" in podman("logs", "web")
    podman("rm", "--force", "--time", "0", "web")
    assert box.processes() == []


def test_left_running(box: Box, podman: Podman) -> None:
    podman("run", "-d", "--name", "web", "--network", "none", *_LIMITS, "--rootfs", box.root, "sh", "-c", COUNT)
    box.counts(above=2)
    podman("container", "checkpoint", "--leave-running", "web")
    assert podman("inspect", "--format", "{{.State.Status}}", "web") == "running\n"
    box.went_on(int(box.text("n")))
