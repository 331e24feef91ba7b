"""pyrun is killed at any moment: `delete --force` removes whatever there is, and nothing is left."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from harness import Container, cgroups, processes

pytestmark = [
    pytest.mark.pyrun_only("peers leave things behind"),
    pytest.mark.skipif(not shutil.which("strace"), reason="strace kills it at a system call of choice"),
]
# What changes the world, and what waits for others: where a kill matters.
CALLS = ("mkdir", "mkdirat", "mknodat", "openat", "open", "write", "rename", "renameat", "clone", "clone3", "vfork",
         "sendto", "sendmsg", "recvmsg", "poll", "close", "unlink", "unlinkat", "rmdir", "wait4", "flock", "connect",
         "pidfd_open", "pidfd_send_signal", "dup2", "fcntl", "memfd_create", "socketpair", "exit_group",
         "umount2", "prctl", "ftruncate", "mknod", "ioctl", "readv", "statx", "sendmmsg")  # fmt: skip


def calls_of(container: Container, *arguments: str) -> list[tuple[str, int]]:
    """The system calls of a command from the point where it begins to act on the container: (name, how manieth)."""
    log = container.path / "trace"
    command = ["strace", "-qq", "-o", str(log), *container.runtime.command(*arguments)]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command, check=True, timeout=60, **streams)  # type: ignore[call-overload]
    counts: dict[str, int] = {}
    found = []
    acting = False
    for line in log.read_text().splitlines():
        match = re.match(r"(\w+)\(", line)
        if not match:
            continue
        name = match[1]
        counts[name] = counts.get(name, 0) + 1
        acting = acting or (str(container.runtime.root) in line and "execve" not in line)
        if acting and name in CALLS:
            found.append((name, counts[name]))
    return found


def kill_at(container: Container, name: str, count: int, *arguments: str) -> bool:
    """Run the command until its count-th call of that name, and kill it there; False when it made fewer of them (how
    often it waits is a matter of chance)."""
    inject = f"inject={name}:signal=KILL:when={count}"
    command = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={name}", "-e", inject]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    arguments_ = [*command, *container.runtime.command(*arguments)]
    done = subprocess.run(arguments_, check=False, timeout=60, **streams)  # type: ignore[call-overload]
    assert done.returncode in (-9, 0), (name, count)
    return bool(done.returncode == -9)


def nothing_left_after_delete(container: Container, where: str) -> None:
    """Whatever state it is in, delete --force takes it."""
    state = container.runtime("state", container.id)
    assert state.code in (0, 1), where
    assert "Traceback" not in state.err, where
    done = container.runtime("delete", "--force", container.id)
    assert done.code == 0, (where, done)
    assert container.runtime.ids() == [], where
    assert cgroups(container.id) == [], where
    for pid in processes():
        # It dies with its parent, but that takes a moment.
        pidfd = os.pidfd_open(pid)
        os.close(pidfd)
        assert container.wait(pid) in (-9, 1), (where, Path(f"/proc/{pid}/status").read_text())


@pytest.mark.parametrize("part", range(4))
def test_create(container: Container, part: int) -> None:
    container.linux["cgroupsPath"] = f"/{container.id}/inner"
    container.linux["resources"]["pids"] = {"limit": 100}
    container.write()
    arguments = ("create", "--bundle", str(container.path), container.id)
    calls = calls_of(container, *arguments)
    container.delete("--force")
    processes()
    assert len(calls) > 50
    killed = 0
    for name, count in calls[part::4]:
        killed += kill_at(container, name, count, *arguments)
        nothing_left_after_delete(container, f"{name} {count}")
    assert killed > 0.9 * len(calls[part::4])


@pytest.mark.parametrize("what", ["copies and a user namespace", "notifications"])
def test_create_with_more(container: Container, what: str, tmp_path: Path) -> None:
    """Children that copy, id maps, an agent: every third call is enough here."""
    listening = socket.socket(socket.AF_UNIX)
    if what == "notifications":
        listening.bind(str(tmp_path / "agent"))
        listening.listen(1000)
        rule = {"names": ["acct"], "action": "SCMP_ACT_NOTIFY"}
        path = str(tmp_path / "agent")
        container.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "syscalls": [rule]}
    else:
        container.user_namespace()
        container.script("/data/file", "content")
        container.mount("/data", "tmpfs", "tmpfs", "tmpcopyup")
    container.write()
    arguments = ("create", "--bundle", str(container.path), container.id)
    calls = calls_of(container, *arguments)
    container.delete("--force")
    processes()
    for name, count in calls[::3]:
        kill_at(container, name, count, *arguments)
        nothing_left_after_delete(container, f"{name} {count}")
    listening.close()


@pytest.mark.parametrize("verb", ["start", "delete"])
def test_start_and_delete(container: Container, verb: str) -> None:
    container.sh("sleep 1000")
    container.create()
    calls = calls_of(container, verb, container.id)
    if verb == "start":
        container.delete("--force")
    processes()
    killed = 0
    for name, count in calls:
        container.create()
        killed += kill_at(container, name, count, verb, container.id)
        nothing_left_after_delete(container, f"{name} {count}")
    assert killed > 0.9 * len(calls)


def test_the_death_of_the_runtime_ends_a_half_made_init(container: Container) -> None:
    """Before `created` nobody would look after it: it dies with its parent."""
    fifo = container.path / "fifo"
    os.mkfifo(fifo)
    container.hook("createRuntime", f"echo > {fifo}; exec sleep 1000")
    container.write()
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = container.runtime.command("create", "--bundle", container.path, container.id)
    with subprocess.Popen(command, **streams) as process:  # type: ignore[call-overload]
        fifo.read_text()
        state = container.state()
        assert state["status"] == "creating"
        process.kill()
    assert container.wait(state["pid"]) in (-9, 1)  # by the signal, or by the end of file, which comes a moment before
    assert container.status == "stopped"
    container.delete("--force")
    [hook] = processes()
    os.kill(hook, 9)
    container.wait(hook)


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP"])
def test_a_signal_during_create_undoes_it(container: Container, name: str) -> None:
    fifo = container.path / "fifo"
    os.mkfifo(fifo)
    container.hook("createRuntime", f"echo > {fifo}; exec sleep 1000")
    container.write()
    command = container.runtime.command("create", "--bundle", container.path, container.id)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        fifo.read_text()
        process.send_signal(getattr(signal, f"SIG{name}"))
        assert process.stderr
        said = process.stderr.read()
    assert process.returncode != 0
    assert "Traceback" not in said
    assert not container.exists()
    for hook in processes():
        os.kill(hook, 9)
        container.wait(hook)


@pytest.mark.parametrize("verb", ["kill", "delete"])
def test_a_container_that_is_frozen_elsewhere(container: Container, verb: str) -> None:
    """On cgroup v1 somebody has moved init to another freezer cgroup, which is frozen."""
    freezer = Path("/sys/fs/cgroup/freezer")
    if not freezer.is_dir():
        pytest.skip("cgroup v2: SIGKILL ends what is frozen")
    container.unlike(runc="1.1 waits", crun="1.8 waits")
    other = freezer / f"other-{os.getpid()}"
    pid = container.up()
    other.mkdir()
    try:
        (other / "cgroup.procs").write_text(str(pid))
        (other / "freezer.state").write_text("FROZEN")
        if verb == "kill":
            container.kill()
        else:
            container.delete("--force")
        container.wait(pid)
    finally:
        (other / "freezer.state").write_text("THAWED")
        other.rmdir()
