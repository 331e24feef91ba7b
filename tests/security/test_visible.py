"""What a container's program can reach through a process of the runtime's, while that comes into its pid namespace.

The program has every capability, CAP_SYS_PTRACE too, or each in turn, and looks without rest. The length of a trial is
that of PYRUN_WATCH, in seconds."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Container

from pyrun.spec.capabilities import CAPABILITIES

SECONDS = float(os.environ.get("PYRUN_WATCH", "2"))
ALL = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_KILL", "CAP_SETUID", "CAP_SETGID",
    "CAP_SETPCAP", "CAP_NET_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN",
]  # fmt: skip
PEERS = "1.1.5 joins the pid namespace with all its rights: attach"


@pytest.fixture(scope="module")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("watcher") / "watcher"
    subprocess.run(["gcc", "-O2", "-static", "-o", made, Path(__file__).with_name("watcher.c")], check=True)
    return made


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    path = tmp_path / "canary"
    path.write_text("of the host")
    return path


def watch(
    container: Container, watcher: Path, canary: Path, capabilities: list[str], until: str = f"{SECONDS:g}"
) -> None:
    """The container's program will be the watcher; what it finds goes to /found. until: SECONDS [MOST] of watcher.c."""
    (container.rootfs / "watcher").write_bytes(watcher.read_bytes())
    (container.rootfs / "watcher").chmod(0o755)
    container.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), capabilities)
    container.config["root"]["readonly"] = False
    container.sh(f"exec /watcher {canary} {until} > /found")


def available(capability: str) -> bool:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapPrm")]
    return bool(int(line.split()[1], 16) >> CAPABILITIES[capability] & 1)


def found(container: Container) -> list[str]:
    *findings, seen = (container.rootfs / "found").read_text().splitlines()
    assert int(seen.split()[1]) >= 3, "has seen too few to tell"
    return findings


@pytest.mark.parametrize("user", [False, True], ids=["", "in a user namespace"])
@pytest.mark.parametrize("filtered", [False, True], ids=["", "with a seccomp profile"])
@pytest.mark.parametrize(
    "capabilities", [ALL, ["CAP_SYS_PTRACE"], ["CAP_SYS_ADMIN"]], ids=["all", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN"]
)
def test_exec(
    container: Container, watcher: Path, canary: Path, capabilities: list[str], user: bool, filtered: bool
) -> None:
    container.unlike(runc=PEERS)
    watch(container, watcher, canary, capabilities)
    if user:
        container.user_namespace()
    if filtered:
        container.process["noNewPrivileges"] = False
        rule = {"names": ["acct"], "action": "SCMP_ACT_ERRNO"}
        container.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    container.create()
    container.start()
    while container.status == "running":
        container.runtime("exec", container.id, "/bin/true")
    assert found(container) == []


@pytest.mark.parametrize("user", [False, True], ids=["", "in a user namespace"])
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_exec_beside_each_capability(
    container: Container, watcher: Path, canary: Path, capability: str, user: bool
) -> None:
    container.unlike(runc=PEERS)
    if not user and not available(capability):
        pytest.skip(f"{capability} can't be granted by who has not got it")
    watch(container, watcher, canary, [capability], "60 4")
    if user:
        container.user_namespace()
    container.create()
    container.start()
    while container.status == "running":
        container.runtime("exec", container.id, "/bin/sleep", "0.05")  # long enough to be seen
    assert found(container) == []


def test_start_container_hooks(container: Container, watcher: Path, canary: Path) -> None:
    """A program that was executed before `start` watches the hooks."""
    watch(container, watcher, canary, ALL)
    for _ in range(40):
        container.hook("startContainer", "true")
    (container.rootfs / "bin/watch").write_text(f"#!/bin/sh\nexec /watcher {canary} {SECONDS:g} > /found\n")
    (container.rootfs / "bin/watch").chmod(0o755)
    container.args = ["true"]
    container.create()
    running = subprocess.Popen(container.runtime.command("exec", container.id, "/bin/watch"))
    while not (container.rootfs / "found").exists() and running.poll() is None:
        time.sleep(0.01)
    container.runtime("start", container.id)
    running.kill()
    running.wait()
    findings = (container.rootfs / "found").read_text().splitlines()
    assert [line for line in findings if not line.startswith("seen")] == []


@pytest.mark.parametrize("user", [False, True], ids=["", "with a user namespace"])
def test_create_into_a_joined_pid_namespace(
    container: Container, new_container: Callable[[], Container], watcher: Path, canary: Path, user: bool
) -> None:
    """As in a pod that shares its processes."""
    container.unlike(runc=PEERS, crun="1.8 is inside with the host's root")
    watch(container, watcher, canary, ALL)
    container.create()
    container.start()
    other = new_container()
    if user:
        other.user_namespace()
        other.without_mount("/proc")
        other.linux["maskedPaths"] = other.linux["readonlyPaths"] = []
    other.namespace("pid", f"/proc/{container.pid}/ns/pid")
    other.hook("createContainer", "true")
    other.capabilities(*ALL)
    other.args = ["true"]
    rounds = 0
    while container.status == "running":
        rounds += other.run().code == 0
    assert [line for line in found(container) if line != "root another root"] == []  # the other container's own
    assert rounds > 2
