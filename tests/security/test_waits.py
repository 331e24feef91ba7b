"""Every wait ends, or can be ended; and who starts a program is told whether it has run."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from errors import says
from harness import Container, message

pytestmark = pytest.mark.pyrun_only("the peers wait, or do not tell")


@pytest.mark.parametrize("kind", ["createRuntime", "startContainer"])
def test_delete_force_ends_who_hangs(container: Container, tmp_path: Path, kind: str) -> None:
    """A hook without a timeout holds create, or start, and with it the lock."""
    container.sh("sleep 100")
    os.mkfifo(tmp_path / "fifo")
    if kind == "createRuntime":
        container.hook(kind, f"read nothing < {tmp_path}/fifo")
    else:
        container.config["hooks"] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", "sleep 1000"]}]}
    container.write()
    verbs = [("create", "--bundle", str(container.path), container.id), ("start", container.id)]
    with open(container.path / "out", "wb") as out:
        if kind == "startContainer":
            container.runtime.ok(*verbs.pop(0))
        hung = subprocess.Popen(container.runtime.command(*verbs[0]), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    while not any("read nothing" in line or "sleep 1000" in line for line in below(hung.pid)):
        assert hung.poll() is None
        time.sleep(0.01)
    done = container.runtime("delete", "--force", container.id, timeout=60)
    assert done.code == 0, done
    if kind == "createRuntime":
        says("held", done.err)
    hung.wait(10)
    assert not container.exists()


def below(pid: int) -> list[str]:
    """The command lines of what the process has started, and of what that has: others on this machine may have the
    same."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in map(int, children):
            try:
                found.append(Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
            found += below(child)
    return found


FORBIDDING: dict[str, dict[str, Any]] = {
    "kill": {"names": ["execve"], "action": "SCMP_ACT_KILL_PROCESS"},
    "kill the thread": {"names": ["execve"], "action": "SCMP_ACT_KILL"},
    "trap": {"names": ["execve"], "action": "SCMP_ACT_TRAP"},
    "errno": {"names": ["execve"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
}


@pytest.mark.parametrize("how", FORBIDDING)
@pytest.mark.parametrize("rest", ["SCMP_ACT_ALLOW", "SCMP_ACT_KILL_PROCESS"])
def test_start_tells_that_the_program_has_not_run(container: Container, how: str, rest: str) -> None:
    """Whatever the profile allows besides."""
    container.sh("exit 0")
    container.linux["seccomp"] = {"defaultAction": rest, "syscalls": [FORBIDDING[how]]}
    container.create()
    done = container.runtime("start", container.id)
    assert done.code == 1
    line = message(done.err.strip())
    assert ("execve" in line) if how == "errno" else ("has not run" in line and "seccomp" in line)
    assert container.status == "stopped"
