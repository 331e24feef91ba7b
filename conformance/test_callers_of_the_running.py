"""What the callers in use do with a container that runs, in their own forms: kill, exec, list, ps, pause, update."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance.harness import Container, Listener, hear, start_with_a_child

V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()


# kill -----------------------------------------------------------------------------------------------------------------


@pytest.mark.systemd
@pytest.mark.parametrize("name", ["9", "KILL", "SIGKILL"])
def test_kill_all(container: Container, name: str) -> None:
    """As for containers with the host's pid namespace: the children of init go too."""
    pid, read = start_with_a_child(container)
    container.runtime.ok("kill", "--all", container.id, name)
    container.wait(pid)
    assert hear(read) == b""  # nobody holds its other end
    os.close(read)


@pytest.mark.systemd
@pytest.mark.parametrize("name", ["15", "TERM", "SIGTERM", "term", "sigterm"])
def test_names_of_a_signal(container: Container, name: str) -> None:
    pid = container.up()
    container.kill(name)
    assert container.wait(pid) == 3


@pytest.mark.systemd
def test_kill_sends_sigterm_by_default(container: Container) -> None:
    pid = container.up()
    container.runtime.ok("kill", container.id)
    assert container.wait(pid) == 3


def test_what_kill_says_of_a_stopped_container(container: Container) -> None:
    """containerd looks for the words to tell "over" from "broken"."""
    container.create()
    container.start_and_wait()
    done = container.runtime("kill", container.id, "KILL")
    assert done.code != 0
    assert re.search("process already finished|container not running|no such process", done.err, re.IGNORECASE)


def test_kill_all_of_a_stopped_container(container: Container) -> None:
    """containerd's for init without a pid namespace, which has ended by then: over, or one of the words for it."""
    container.create()
    container.start_and_wait()
    done = container.runtime("kill", "--all", container.id, "9")
    over = re.search("process already finished|container not running|no such process", done.err, re.IGNORECASE)
    assert done.code == 0 or over


@pytest.mark.parametrize("words", [("--all", "{}", "9"), ("-a", "{}", "9"), ("{}", "9", "--all")], ids=" ".join)
def test_forms_of_kill_all(container: Container, words: tuple[str, ...]) -> None:
    pid = container.up()
    container.runtime.ok("kill", *(word.format(container.id) for word in words))
    assert container.wait(pid) == -9


# exec -----------------------------------------------------------------------------------------------------------------


def process_file(container: Container, script: str, **more: Any) -> Path:
    """What conmon and the shim hand over."""
    process = {**container.process, "args": ["/bin/sh", "-c", script], **more}
    file = container.path / "process"
    file.write_text(json.dumps(process))
    return file


@pytest.mark.parametrize("form", ["--process {}", "--process={}", "-p {}"])
@pytest.mark.parametrize("detach", ["--detach", "-d"])
def test_exec_detached(container: Container, form: str, detach: str) -> None:
    """conmon's and the shim's: a file that holds the process, a pid file, and the caller as the parent."""
    container.up()
    file = process_file(container, "sleep 1000")
    pid_file = container.path / "exec.pid"
    container.runtime.ok("exec", "--pid-file", pid_file, *form.format(file).split(), detach, container.id)
    file.unlink()  # go-runc does that at once
    pid = int(pid_file.read_text())
    assert pid_file.read_text() == str(pid)  # no newline
    assert f"\nPPid:\t{os.getpid()}\n" in Path(f"/proc/{pid}/status").read_text()
    assert os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink(f"/proc/{container.pid}/ns/mnt")
    os.kill(pid, signal.SIGKILL)
    assert container.wait(pid) == -9


def test_the_exit_code_of_a_detached_exec(container: Container) -> None:
    container.up()
    flags = ("--process", process_file(container, "exit 6"), "--detach", "--pid-file", container.path / "exec.pid")
    container.runtime.ok("exec", *flags, container.id)
    assert container.wait(int((container.path / "exec.pid").read_text())) == 6


@pytest.mark.parametrize("tty", [("--tty",), ()], ids=["podman", "shim"])
def test_exec_with_a_terminal(container: Container, listener: Listener, tty: tuple[str, ...]) -> None:
    container.up()
    file = process_file(container, "[ -t 0 ] && [ -t 1 ] && echo tty", terminal=True)
    words = (*tty, "--process", str(file), "--console-socket", str(listener.path), "--detach")
    container.runtime.ok("exec", *words, "--pid-file", container.path / "exec.pid", container.id)
    assert 0 < len(listener.receive()) < 4096
    assert listener.read_to_end() == "tty\n"
    assert container.wait(int((container.path / "exec.pid").read_text())) == 0


@pytest.mark.parametrize(
    ("flags", "script", "out"),
    [
        ("--cwd /tmp", "pwd", "/tmp"),
        ("--cwd=/tmp", "pwd", "/tmp"),
        ("--env A=1 --env B=2", 'echo "$A$B"', "12"),
        ("-e A=1 -e=B=2", 'echo "$A$B"', "12"),
        ("--user 1000:1001", 'echo "$(id -u):$(id -g)"', "1000:1001"),
        ("-u 1000", "id -u", "1000"),
        ("--user=1000 --additional-gids 5", "grep -q 'Groups:.*5' /proc/self/status && echo yes", "yes"),
        ("--cap CAP_SYS_NICE", "grep CapBnd /proc/self/status | cut -c 13-", "20800420"),
        ("--no-new-privs", "grep NoNewPrivs /proc/self/status | cut -f 2", "1"),
    ],
    ids=lambda value: value if value.startswith("-") else "",
)
def test_flags_of_exec(container: Container, flags: str, script: str, out: str) -> None:
    container.up()
    words = container.runtime.ok("exec", *flags.split(), container.id, "/bin/sh", "-c", script)
    assert words.strip().endswith(out)


def test_what_exec_leaves_to_its_program(container: Container) -> None:
    """Options behind the id are the program's."""
    container.up()
    assert container.runtime.ok("exec", container.id, "/bin/sh", "-c", 'echo "$0 $@"', "--cwd", "-t") == "--cwd -t\n"


def test_exec_in_the_foreground(container: Container) -> None:
    container.up()
    done = container.runtime("exec", container.id, "/bin/sh", "-c", "echo hello; exit 4")
    assert (done.code, done.out) == (4, "hello\n")


def test_a_signalled_exec(container: Container) -> None:
    container.up()
    assert container.runtime("exec", container.id, "/bin/sh", "-c", "kill -9 $$").code == 137


@pytest.mark.parametrize("detach", [(), ("--detach",)], ids=["foreground", "detached"])
@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("/no/such", "no such file or directory|executable file not found in"),
        ("nonsense", "no such file or directory|executable file not found in"),
        ("/etc", "permission denied|operation not permitted"),
    ],
)
def test_what_exec_says_of_no_program(container: Container, detach: tuple[str, ...], program: str, words: str) -> None:
    """podman makes its exit code of these words; docker that of a failed exec from 255."""
    container.up()
    log = container.path / "log.json"
    flags = (*detach, container.id, program)
    done = container.runtime("exec", *flags, options=("--log-format=json", "--log", str(log)))
    assert done.code == 255
    [entry] = map(json.loads, log.read_text().splitlines())
    assert re.search(words, entry["msg"], re.IGNORECASE)
    assert re.search(words, done.err, re.IGNORECASE)


def test_exec_in_a_stopped_container(container: Container) -> None:
    container.create()
    container.start_and_wait()
    assert container.runtime("exec", container.id, "/bin/true").code != 0


def test_exec_in_an_unknown_container(container: Container) -> None:
    done = container.runtime("exec", "unknown", "/bin/true")
    assert done.code != 0
    assert re.search("does not exist|No such file", done.err)


# ps and list ----------------------------------------------------------------------------------------------------------


def test_list_as_json(container: Container) -> None:
    container.create()
    for form in (("--format", "json"), ("--format=json",), ("-f", "json")):
        [found] = json.loads(container.runtime.ok("list", *form))
        assert (found["id"], found["pid"], found["status"]) == (container.id, container.pid, "created")
        assert found["bundle"] == str(container.path)


def test_list_quietly(container: Container) -> None:
    container.create()
    for form in ("-q", "--quiet"):
        assert container.runtime.ok("list", form).split() == [container.id]


def test_list_as_a_table(container: Container) -> None:
    container.create()
    head, line = container.runtime.ok("list").splitlines()
    columns = head.split()
    assert {"PID", "STATUS", "BUNDLE", "CREATED", "OWNER"} <= set(columns)
    assert container.id in line.split() and str(container.pid) in line.split() and "created" in line.split()


@pytest.mark.parametrize("form", ["--format json", "--format=json", "-f json"])
def test_ps_as_json(container: Container, form: str) -> None:
    """Init, its children, and what was executed beside it."""
    pid = container.up("sleep 1000 & echo up; wait")
    flags = ("--process", process_file(container, "sleep 1000"), "--detach", "--pid-file", container.path / "exec.pid")
    container.runtime.ok("exec", *flags, container.id)
    second = int((container.path / "exec.pid").read_text())
    found = json.loads(container.runtime.ok("ps", *form.split(), container.id))
    os.kill(second, signal.SIGKILL)
    container.wait(second)  # a pid namespace does not end before all of its processes are waited for
    assert len(found) == 3
    assert {pid, second} < set(found)


@pytest.mark.parametrize("words", [("{}",), ("{}", "-ef"), ("--format", "table", "{}", "-e", "-o", "pid,comm")])
def test_ps_as_a_table(container: Container, words: tuple[str, ...]) -> None:
    """Of the host's ps(1)."""
    if subprocess.run(["ps", "-ef"], capture_output=True, check=False).returncode:
        pytest.skip("no ps that works here")
    pid = container.up()
    head, *lines = container.runtime.ok("ps", *(word.format(container.id) for word in words)).splitlines()
    assert "PID" in head.split()
    assert [line for line in lines if str(pid) in line.split()]
    assert not [line for line in lines if str(os.getpid()) in line.split()[:2]]


# pause and resume -----------------------------------------------------------------------------------------------------


def frozen(container: Container) -> bool:
    """What the kernel says of the container's cgroup."""
    for line in Path(f"/proc/{container.pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if V2 and not controllers:
            return "frozen 1" in Path(f"/sys/fs/cgroup{path}/cgroup.events").read_text()
        if controllers == "freezer":
            return Path(f"/sys/fs/cgroup/freezer{path}/freezer.state").read_text() == "FROZEN\n"
    raise AssertionError("no freezer")


def test_pause_and_resume(container: Container) -> None:
    """Done when they return."""
    container.up()
    container.runtime.ok("pause", container.id)
    assert (container.status, frozen(container)) == ("paused", True)
    container.runtime.ok("resume", container.id)
    assert (container.status, frozen(container)) == ("running", False)


def test_pause_of_a_created_container(container: Container) -> None:
    container.create()
    container.runtime.ok("pause", container.id)
    assert container.status == "paused"
    container.runtime.ok("resume", container.id)
    assert container.status == "created"
    assert container.start_and_wait() == 0


def test_exec_in_a_paused_container(container: Container) -> None:
    """It would hang."""
    container.up()
    container.runtime.ok("pause", container.id)
    assert container.runtime("exec", container.id, "/bin/true").code != 0
    container.runtime.ok("resume", container.id)


@pytest.mark.parametrize("flags", [("--force",), ("-f",)])
def test_delete_of_a_paused_container(container: Container, flags: tuple[str, ...]) -> None:
    pid = container.up()
    container.runtime.ok("pause", container.id)
    container.delete(*flags)
    assert container.wait(pid) == -9


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_pause_and_resume_of_a_stopped_container(container: Container, verb: str) -> None:
    container.create()
    container.start_and_wait()
    assert container.runtime(verb, container.id).code != 0
    assert container.status == "stopped"


def test_resume_of_a_running_container(container: Container) -> None:
    container.up()
    assert container.runtime("resume", container.id).code != 0
    assert container.status == "running"


# update ---------------------------------------------------------------------------------------------------------------


def read(container: Container, file: str) -> str:
    """A file of the container's cgroup, whichever hierarchy has it."""
    [found] = [path for path in Path("/sys/fs/cgroup").rglob(file) if container.id in path.parts]
    return found.read_text().strip()


@pytest.fixture
def limited(container: Container) -> Container:
    container.linux["cgroupsPath"] = f"/{container.id}"
    container.up()
    return container


@pytest.mark.parametrize("form", ["--resources=FILE", "--resources FILE", "-r FILE", "--resources -", "-r -"])
def test_update_by_document(limited: Container, form: str) -> None:
    """podman's file, and the shim's stdin."""
    file = limited.path / "resources"
    file.write_text('{"memory": {"limit": 67108864}, "cpu": {"shares": 512}, "pids": {"limit": 33}}')
    with open(file, "rb") as stdin:
        limited.runtime.ok("update", *form.replace("FILE", str(file)).split(), limited.id, stdin=stdin)
    assert read(limited, "pids.max") == "33"
    assert read(limited, "memory.max" if V2 else "memory.limit_in_bytes") == "67108864"
    assert read(limited, "cpu.weight" if V2 else "cpu.shares") == ("59" if V2 else "512")


@pytest.mark.parametrize(
    ("flags", "v1", "v2"),
    [
        ("--memory 64000000", ("memory.limit_in_bytes", "64000000"), ("memory.max", "64000000")),
        ("--memory=67108864", ("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864")),
        ("--memory 67108864 --memory-swap 134217728", ("memory.memsw.limit_in_bytes", "134217728"),
         ("memory.swap.max", "67108864")),
        ("--memory-reservation 33554432", ("memory.soft_limit_in_bytes", "33554432"), ("memory.low", "33554432")),
        ("--cpu-share 512", ("cpu.shares", "512"), ("cpu.weight", "59")),
        ("--cpu-period 200000 --cpu-quota 50000", ("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 200000")),
        ("--cpuset-cpus 0 --cpuset-mems=0", ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
        ("--pids-limit 44", ("pids.max", "44"), ("pids.max", "44")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_update_by_flags(limited: Container, flags: str, v1: tuple[str, str], v2: tuple[str, str]) -> None:
    file, value = v2 if V2 else v1
    if V2 and file.partition(".")[0] not in Path("/sys/fs/cgroup/cgroup.controllers").read_text().split():
        pytest.skip("no such controller in this kernel")
    limited.runtime.ok("update", *flags.split(), limited.id)
    assert read(limited, file) == value


def test_update_keeps_the_rest(limited: Container) -> None:
    limited.runtime.ok("update", "--pids-limit", "44", limited.id)
    limited.runtime.ok("update", "--cpu-share", "512", limited.id)
    assert read(limited, "pids.max") == "44"
    assert limited.status == "running"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pids": {"limit": "many"}}'])
def test_update_that_is_none(limited: Container, text: str) -> None:
    file = limited.path / "resources"
    file.write_text(text)
    before = read(limited, "pids.max")
    assert limited.runtime("update", "--resources", file, limited.id).code != 0
    assert read(limited, "pids.max") == before


# events ---------------------------------------------------------------------------------------------------------------


def test_statistics(limited: Container) -> None:
    """One JSON object, of type stats."""
    event = json.loads(limited.runtime.ok("events", "--stats", limited.id))
    assert (event["type"], event["id"]) == ("stats", limited.id)
    data = event["data"]
    assert data["cpu"]["usage"]["total"] > 0
    assert data["memory"]["usage"]["usage"] > 0
    assert data["pids"]["current"] >= 1


@pytest.mark.parametrize("form", ["--interval=1s", "--interval 1s"])
def test_events_go_on(limited: Container, form: str) -> None:
    command = limited.runtime.command("events", *form.split(), limited.id)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as events:
        assert events.stdout
        try:
            assert json.loads(hear(events.stdout.fileno()).splitlines()[0])["type"] == "stats"
        finally:
            events.kill()


# A pod ----------------------------------------------------------------------------------------------------------------


def test_several_in_one_pod(new_container: Callable[[], Container]) -> None:
    """The first one holds the namespaces that the others join, as CRI's sandbox does."""
    sandbox, member = new_container(), new_container()
    pid = sandbox.up()
    for kind, name in {"network": "net", "ipc": "ipc", "uts": "uts"}.items():
        member.namespace(kind, f"/proc/{pid}/ns/{name}")
    del member.config["hostname"]
    assert member.sees("hostname") == "conformance"
    assert sandbox.status == "running"
    sandbox.delete("--force")
