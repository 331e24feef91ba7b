"""exec: one more program, with all that the container's own has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness import Container, Done, message

pytestmark = pytest.mark.systemd

NAMESPACES = "for n in cgroup ipc mnt net pid uts; do stat -L -c %i /proc/self/ns/$n; done"


@pytest.fixture
def running(container: Container) -> Container:
    container.sh("sleep 1000")
    container.create()
    container.start()
    return container


def execute(container: Container, *arguments: object, **popen: Any) -> Done:
    """exec with options, if any, and a command; the id goes between them."""
    at = next((i for i, word in enumerate(arguments) if word == "--"), 0)
    options, command = arguments[:at], arguments[at + 1 :] if arguments[at : at + 1] == ("--",) else arguments
    return container.runtime("exec", *options, container.id, *command, **popen)


def prints(container: Container, script: str, *options: object) -> str:
    done = execute(container, *options, "--", "sh", "-c", script)
    assert (done.code, done.err) == (0, ""), done
    return done.out.strip()


def test_it_is_in_every_namespace_of_init(running: Container) -> None:
    inside = prints(running, NAMESPACES).split()
    pid = running.state()["pid"]
    assert inside == [
        str(Path(f"/proc/{pid}/ns/{n}").stat().st_ino) for n in ["cgroup", "ipc", "mnt", "net", "pid", "uts"]
    ]


def test_it_is_in_every_cgroup_of_init(running: Container) -> None:
    pid = running.state()["pid"]
    outside = execute(running, "-d", "--pid-file", running.path / "pid", "--", "sleep", "1000")
    assert outside.code == 0, outside
    other = int((running.path / "pid").read_text())
    assert Path(f"/proc/{other}/cgroup").read_text() == Path(f"/proc/{pid}/cgroup").read_text()
    running.kill("KILL")
    # In this order: the init of a pid namespace ends when all in it are reaped.
    running.wait(other)
    running.wait(pid)


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143), ("true", 0)])
def test_the_exit_code_is_the_programs(running: Container, script: str, code: int) -> None:
    assert execute(running, "sh", "-c", script).code == code


def test_what_the_options_change(running: Container) -> None:
    options = ("--user", "1000:5", "--env", "A=1", "--env", "B=2", "--cwd", "/dev")
    assert prints(running, "id -u; id -g; echo $A$B; pwd", *options).split() == ["1000", "5", "12", "/dev"]


def test_what_they_leave(container: Container) -> None:
    container.process["env"].append("INHERITED=yes")
    container.process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    container.sh("sleep 1000")
    container.create()
    container.start()
    assert prints(container, "echo $INHERITED; ulimit -c").split() == ["yes", "0"]
    own = [line for line in prints(container, "cat /proc/1/status").splitlines() if line.startswith(("Cap", "NoNew"))]
    assert own == [line for line in prints(container, "cat /proc/self/status").splitlines() if line in own]


def test_more_capabilities(running: Container) -> None:
    """In no inheritable set, and so in no ambient one (CVE-2022-29162)."""
    seen = dict(
        line.split() for line in prints(running, "grep Cap /proc/self/status", "--cap", "CAP_NET_ADMIN").split("\n")
    )
    assert {name for name, bits in seen.items() if int(bits, 16) >> 12 & 1} == {"CapPrm:", "CapEff:", "CapBnd:"}
    assert int(seen["CapInh:"], 16) == int(seen["CapAmb:"], 16) == 0


def test_a_process_from_a_file(running: Container) -> None:
    file = running.path / "process.json"
    file.write_text(json.dumps({"args": ["/bin/sh", "-c", "pwd; echo $X"], "cwd": "/proc", "env": ["X=y"], "user": {}}))
    done = running.runtime("exec", "--process", file, running.id)
    assert (done.code, done.out.split()) == (0, ["/proc", "y"]), done


def test_in_a_user_namespace(container: Container) -> None:
    container.namespace("user")
    container.linux["uidMappings"] = container.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 10}]
    container.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 77}]
    container.sh("sleep 1000")
    container.create()
    container.start()
    assert prints(container, "id -u; cat /proc/self/uid_map; ulimit -n").split() == ["0", "0", "100000", "10", "77"]


def test_under_a_seccomp_profile(container: Container) -> None:
    denied = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    container.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [denied]}
    container.sh("sleep 1000")
    container.create()
    container.start()
    assert "not permitted" in prints(container, "mkdir /dev/shm/x 2>&1; true")


def test_it_waits_for_no_start(container: Container) -> None:
    container.create()
    assert prints(container, "echo before start") == "before start"


def test_a_terminal_of_its_own(running: Container) -> None:
    assert "/dev/pts/" in execute(running, "-t", "--", "sh", "-c", "tty", stdin=None).out


@pytest.mark.parametrize(
    ("options", "command", "words"),
    [
        ([], ["nope"], "executable file not found in $PATH"),
        ([], ["/etc/nope"], "no such file or directory"),
        ([], ["/bin"], "permission denied"),
        (["--cwd", "/nope"], ["true"], "no such file or directory"),
        (["--user", "1000x"], ["true"], "numeric"),
        (["--user", "-1"], ["true"], "numeric"),
        (["--user", "1:2:3"], ["true"], "numeric"),
        (["--user", "4294967296"], ["true"], "numeric"),
        (["--apparmor", "x"], ["true"], "apparmor is not enabled"),
        (["--process-label", "x"], ["true"], "selinux is not in force"),
        (["--pidfd-socket", "/nope"], ["true"], "no such file or directory"),
        (["--env", "NOVALUE"], ["true"], "/env/"),
        ([], [], "/args"),
        (["--cwd", "/proc/self/fd/3"], ["true"], "cwd"),
        (["-d", "-t"], ["true"], "console socket"),
        (["--preserve-fds", "x"], ["true"], "--preserve-fds takes a number"),
        (["--cwd", "/\udcff"], ["true"], "no such file or directory"),
    ],
)
@pytest.mark.pyrun_only("its own words")
def test_what_goes_wrong(running: Container, options: list[str], command: list[str], words: str) -> None:
    done = running.runtime("exec", *options, running.id, *command)
    assert done.code == 255
    (line,) = done.err.splitlines()
    assert message(line).startswith("exec failed: ") or "--preserve-fds" in options
    assert words in message(line)


@pytest.mark.pyrun_only("its own words")
def test_a_stopped_container(container: Container) -> None:
    container.process["args"] = ["true"]
    container.create()
    container.start_and_wait()
    done = container.runtime("exec", container.id, "true")
    assert done.code == 255
    assert "cannot exec in a stopped container" in done.err


def test_no_descriptor_of_the_runtimes_is_left(running: Container) -> None:
    assert prints(running, "ls /proc/$$/fd; true").split() == ["0", "1", "2"]
