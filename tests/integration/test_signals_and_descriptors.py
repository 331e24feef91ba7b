"""What `run` forwards and returns; which descriptors the container gets."""

from __future__ import annotations

import fcntl
import functools
import os
import signal
import subprocess
from pathlib import Path

import pytest
from harness import Container

WAIT = "while true; do sleep 0.01; done"


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1", "USR2", "QUIT", "CONT", "ALRM"])
def test_run_forwards(container: Container, name: str) -> None:
    container.sh(f'trap "echo caught; exit 9" {name}; echo up; {WAIT}')
    container.write()
    command = container.runtime.command("run", "--bundle", container.path, container.id)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        process.send_signal(getattr(signal, f"SIG{name}"))
        assert process.stdout.read() == b"caught\n"
        assert process.wait(20) == 9
    assert not container.exists()


def test_a_signal_that_kills(container: Container) -> None:
    container.unlike(crun="")
    container.sh("echo up; exec sleep 1000")
    container.without_namespace("pid")
    container.write()
    command = container.runtime.command("run", "--bundle", container.path, container.id)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"up\n"
        process.terminate()
        assert process.wait(20) == 128 + 15


def test_a_container_that_others_delete_meanwhile(container: Container) -> None:
    container.sh("echo up; sleep 1000")
    container.write()
    command = container.runtime.command("run", "--bundle", container.path, container.id)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"up\n"
        container.runtime.ok("delete", "--force", container.id)
        code = process.wait(20)
    container.unlike(crun="", runc="says that it is gone")
    assert code == 137


def test_it_listens_while_another_runs_in_the_foreground(container: Container) -> None:
    """The lock is not held by `run` while it waits."""
    container.sh(f'trap "exit 4" TERM; echo up; {WAIT}')
    container.write()
    command = container.runtime.command("run", "--bundle", container.path, container.id)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"up\n"
        assert container.status == "running"
        container.kill("TERM")
        assert process.wait(20) == 4


@pytest.mark.parametrize("flag", ["", "--no-subreaper"])
def test_orphans_become_children_of_run(container: Container, flag: str) -> None:
    """In the host's pid namespace: so that they don't become those of whoever called it."""
    container.without_namespace("pid")
    container.unlike(crun="1.8 takes the flag for nothing")
    # The substitution ends when the parent of the orphan has been waited for: only then is it one.
    container.sh(f"orphan=$(sh -c 'sleep 1000 > /dev/null & echo $!'); echo $orphan; {WAIT}")
    container.write()
    flags = [flag] if flag else []
    command = container.runtime.command("run", "--bundle", container.path, *flags, container.id)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        orphan = int(process.stdout.readline())
        status = Path(f"/proc/{orphan}/status").read_text()
        assert f"PPid:\t{os.getpid() if flag else process.pid}\n" in status
        container.kill("KILL")
        process.wait(20)
    if flag:
        container.wait(orphan)


# descriptors ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def inherited() -> list[int]:
    """Descriptors 3 to 19, all of folders of the host, as a careless caller leaves them open."""
    return list(range(3, 20))


def seen(container: Container, numbers: list[int], *flags: str) -> dict[int, str]:
    """The program's descriptors, when the runtime inherited the numbers."""
    container.args = ["/bin/ls", "-l", "/proc/self/fd"]
    container.write()
    command = container.runtime.command("run", "--bundle", container.path, *flags, container.id)
    pid = os.fork()
    if not pid:
        try:
            out = os.open(container.path / "listing", os.O_CREAT | os.O_RDWR)
            folder = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(out, 1)
            folder = fcntl.fcntl(folder, fcntl.F_DUPFD, 100)
            os.closerange(3, 100)
            for number in numbers:
                os.dup2(folder, number, inheritable=True)
            os.closerange(max([3, *numbers]) + 1, 200)
            os.execv(command[0], command)
        finally:
            os._exit(99)
    assert container.wait(pid) == 0
    links = [line.split(" -> ") for line in (container.path / "listing").read_text().splitlines() if " -> " in line]
    return {int(before.split()[-1]): target for before, target in links}


def test_no_descriptor_of_the_caller_leaks(container: Container, inherited: list[int]) -> None:
    container.unlike(crun="")
    assert set(seen(container, inherited)) == {0, 1, 2}


@pytest.mark.parametrize("count", [1, 5, 17])
def test_preserved_descriptors(container: Container, inherited: list[int], count: int) -> None:
    found = seen(container, inherited, "--preserve-fds", str(count))
    assert set(found) == {0, 1, 2, *range(3, 3 + count)}
    assert found[3].endswith("/etc") and found[2 + count].endswith("/etc")


@pytest.mark.pyrun_only("peers fail late, or not at all")
def test_fewer_than_promised(container: Container) -> None:
    container.write()
    done = container.runtime("run", "--bundle", container.path, "--preserve-fds", "3", container.id)
    assert done.code == 1
    assert "--preserve-fds" in done.err
    assert not container.exists()


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_stdio(container: Container, closed: tuple[int, ...]) -> None:
    """The caller's stdio may be closed: no other file may take its place."""
    container.unlike(runc="1.1", crun="1.8")
    container.mount("/bundle", "bind", str(container.path), "rbind")
    container.sh("(for n in 0 1 2; do readlink /proc/$$/fd/$n; done) > /bundle/seen; true")
    container.write()
    command = container.runtime.command("run", "--bundle", container.path, container.id)
    redirections = " ".join({0: "0<&-", 1: "1>&-", 2: "2>&-"}[number] for number in closed)
    done = subprocess.run(["sh", "-c", f'exec "$@" {redirections}', "sh", *command], capture_output=True, check=False)
    assert done.returncode == 0, done
    for target in (container.path / "seen").read_text().split():
        assert target == "/dev/null" or target.startswith("pipe:"), target


def test_stdin_arrives(container: Container) -> None:
    container.sh("cat")
    container.write()
    command = container.runtime.command("run", "--bundle", container.path, container.id)
    done = subprocess.run(command, input=b"typed", capture_output=True, check=True, timeout=20)
    assert done.stdout == b"typed"


def test_null_stdio_is_the_containers_own(container: Container) -> None:
    """The host's would have the host's mount, and its owner."""
    container.unlike(crun="1.8 hands over the host's")
    container.mount("/bundle", "bind", str(container.path), "rbind")
    with open("/dev/null", "r+b") as null:
        done = container.run("stat -L -c %d /proc/$$/fd/0 /dev/null > /bundle/seen", stdin=null, stdout=null)
    assert done.code == 0
    first, second = Path(container.path / "seen").read_text().split()
    assert first == second


def test_a_caller_that_ignores_sigchld(container: Container) -> None:
    """The exit code is known all the same, and a hook's end too."""
    container.unlike(crun="1.8 loses it")
    ignoring = functools.partial(signal.signal, signal.SIGCHLD, signal.SIG_IGN)
    container.hook("createRuntime", "true")
    assert container.run("exit 7", preexec_fn=ignoring).code == 7
    container.args = ["sleep", "1000"]
    container.create(preexec_fn=ignoring)
    container.start()
    assert container.runtime("exec", container.id, "sh", "-c", "exit 8", preexec_fn=ignoring).code == 8
    container.delete("--force")


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT"])
@pytest.mark.parametrize("filtered", [False, True])
def test_a_signal_ends_a_container_that_waits_for_start(container: Container, name: str, filtered: bool) -> None:
    """As it would its program; also the first process of a pid namespace, and whatever its profile forbids."""
    container.unlike(crun="1.8 drops it", runc="" if name == "QUIT" else "1.1 drops some")
    if filtered:
        container.linux["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["exit_group"], "action": "SCMP_ACT_KILL"}],
        }
    container.create()
    pid = container.pid
    container.kill(name)
    status = container.wait(pid)
    assert status == 128 + getattr(signal, f"SIG{name}")
    assert container.status == "stopped"
