"""run --seccomp-record: a profile is learned from a run, which is not changed by that."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import PYRUN, Container, open_to_all

import pyrun

pytestmark = [
    pytest.mark.pyrun_only("no peer has it"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]
LIBRARY = Path(pyrun.__file__).parents[1]
SECONDS = 30  # more than it ever takes


def names(file: Path) -> set[str]:
    [rule] = json.loads(file.read_text())["syscalls"]
    return {*rule["names"]}


def compiled(container: Container, source: str, *options: str) -> None:
    """/program in the container."""
    file = container.path / "program.c"
    file.write_text(source)
    command = ["gcc", *options, "-static", "-nostdlib", "-O1", "-o", container.path / "rootfs/program", file]
    if not shutil.which("gcc") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no compiler for such a program")
    container.args = ["/program"]


@pytest.fixture
def tmp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where recording has its socket, whose path must be short; nobody else's is there."""
    made = Path(tempfile.mkdtemp(prefix="t-"))
    monkeypatch.setenv("TMPDIR", str(made))
    yield made
    shutil.rmtree(made)


def test_a_profile_that_is_learned(container: Container, tmp_path: Path, tmp: Path) -> None:
    """It allows what was done, also by children, and no more."""
    script = "cd /tmp && ls / > /dev/null; (sleep 0.01); echo a | cat"
    file = tmp_path / "profile.json"
    done = container.run(script, "--seccomp-record", str(file))
    assert (done.code, done.out, done.err) == (0, "a\n", ""), done
    profile = json.loads(file.read_text())
    [rule] = profile["syscalls"]
    assert len(profile["architectures"]) == 1
    assert rule["names"] == sorted(rule["names"]) and {"execve", "chdir", "exit_group"} <= {*rule["names"]}
    assert not {"mkdir", "mount", "ptrace"} & {*rule["names"]}
    container.linux["seccomp"] = profile
    assert container.sees(script) == "a"
    assert "Operation not permitted" in container.run("mkdir /tmp/x").err
    assert not [*tmp.iterdir()] and not [*tmp_path.glob(".profile*")]


def test_a_profile_of_what_fails(container: Container, tmp_path: Path) -> None:
    """There is none, and one that was there is as it was."""
    container.args = ["/nowhere"]
    container.write()
    file = tmp_path / "profile.json"
    file.write_text("before")
    done = container.runtime("run", "--seccomp-record", file, "--bundle", container.path, container.id)
    assert done.code == 1 and "/process/args/0" in done.err and not container.exists()
    assert file.read_text() == "before" and not [*tmp_path.glob(".profile*")]
    done = container.runtime("run", "--detach", "--seccomp-record", file, "--bundle", container.path, container.id)
    assert done.code == 1 and "not with --detach" in done.err
    done = container.runtime("run", "--seccomp-record", "/nowhere/x", "--bundle", container.path, container.id)
    assert done.code == 1 and "open /nowhere/x: ENOENT" in done.err


def test_what_file_may_be(container: Container, tmp_path: Path) -> None:
    """A file takes another's place when it is whole; nothing is written through a symlink, or in a device's place."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("mine")
    link.symlink_to(target)
    for file in (link, tmp_path, Path("/dev/null")):
        done = container.run("true", "--seccomp-record", str(file))
        assert done.code == 1 and "is not a regular file" in done.err
    assert target.read_text() == "mine" and Path("/dev/null").is_char_device()
    held = target.open()
    assert container.run("true", "--seccomp-record", str(target)).code == 0
    assert "execve" in names(target) and held.read() == "mine"
    held.close()


I386 = """
static long call(long number, long a, long b) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b) : "memory");
    return result;
}
void _start(void) { call(39, (long)"/made-by-32-bits", 0700); call(1, 7, 0); }
"""
X32 = """
static long call(long number, long a) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a) : "rcx", "r11", "memory");
    return result;
}
void _start(void) { call(NUMBER, 0); call(60, 7); }
"""
x86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="a program for x86_64")


@x86
def test_calls_of_32_bits(container: Container, tmp_path: Path) -> None:
    compiled(container, I386, "-m32")
    container.config["root"]["readonly"] = False
    file = tmp_path / "profile.json"
    done = container.run("", "--seccomp-record", str(file))
    assert done.code == 7 and (container.path / "rootfs/made-by-32-bits").is_dir(), done
    assert "there were calls of SCMP_ARCH_X86 too" in done.err
    assert json.loads(file.read_text())["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert "mkdir" in names(file)
    container.linux["seccomp"] = json.loads(file.read_text())
    assert container.run().code == 7


@x86
def test_calls_of_x32(container: Container, tmp_path: Path) -> None:
    """Whether the kernel has them or not."""
    compiled(container, X32, "-DNUMBER=(0x40000000|39)")
    done = container.run("", "--seccomp-record", str(tmp_path / "profile.json"))
    assert done.code == 7 and "there were calls of SCMP_ARCH_X32 too" in done.err, done
    assert "getpid" in names(tmp_path / "profile.json")


@x86
def test_calls_without_a_name(container: Container, tmp_path: Path) -> None:
    compiled(container, X32, "-DNUMBER=1000")
    done = container.run("", "--seccomp-record", str(tmp_path / "profile.json"))
    assert done.code == 7 and "has no name for the system calls 1000: the profile can't allow them" in done.err, done


def test_only_root(container: Container, tmp_path: Path) -> None:
    open_to_all()
    command = [PYRUN, "--root", tmp_path / "store", "run", "--seccomp-record", tmp_path / "x", container.id]
    done = subprocess.run(command, user=65534, group=65534, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "--seccomp-record takes root" in done.stderr, done
    assert not (tmp_path / "x").exists()


def test_a_policy_that_asks_for_a_profile(container: Container, tmp_path: Path) -> None:
    """It would be judged by a profile that is not in force."""
    container.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}
    container.sh("echo ran")
    container.write()
    policy, file = tmp_path / "policy.json", tmp_path / "profile.json"

    def run(rules: object) -> tuple[int, str, str]:
        policy.write_text(json.dumps(rules))
        arguments = ["run", "--seccomp-record", file, "--bundle", container.path, container.id]
        done = container.runtime(*arguments, options=("--require", str(policy)))
        return done.code, done.out, done.err

    code, out, err = run({"seccomp": True})
    assert (code, out) == (1, "") and "asks for one, by its rule seccomp" in err and not file.exists()
    code, out, err = run({"seccomp": False})
    assert (code, out) == (0, "ran\n") and "/linux/seccomp, is not in force" in err


def test_it_is_killed(container: Container, tmp_path: Path, tmp: Path) -> None:
    """The container ends with who hears its calls, and nothing is left of the recording."""
    container.sh("while true; do true; done")
    container.write()
    file = tmp_path / "profile.json"
    command = container.runtime.command("run", "--bundle", container.path, "--seccomp-record", file, container.id)
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    process = subprocess.Popen(command, **quiet)  # type: ignore[call-overload]
    end = time.monotonic() + SECONDS
    state = {"status": ""}
    while state["status"] != "running" and time.monotonic() < end:
        done = container.runtime("state", container.id)
        state = json.loads(done.out) if done.code == 0 else state
    init = os.pidfd_open(int(state["pid"]))
    try:
        process.kill()
        process.wait(timeout=SECONDS)
        assert select.select([init], [], [], SECONDS)[0], "init outlives who hears it"
    finally:
        try:
            signal.pidfd_send_signal(init, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.close(init)
    while ([*tmp.iterdir()] or [*tmp_path.glob(".profile*")]) and time.monotonic() < end:
        continue
    assert not [*tmp.iterdir()] and not [*tmp_path.glob(".profile*")] and not file.exists()
    container.runtime.ok("delete", "--force", container.id)


def patched(container: Container, file: Path, patch: str) -> subprocess.CompletedProcess[str]:
    """run --seccomp-record, where ioctl(2) does otherwise."""
    program = f"""
import errno, fcntl, sys
sys.path.insert(0, {str(LIBRARY)!r})
real, calls = fcntl.ioctl, []
def ioctl(fd, request, *rest):
    if request in (0xC0502100, 0xC0182101):
        calls.append(request)
        {patch}
    return real(fd, request, *rest)
fcntl.ioctl = ioctl
from pyrun.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
    arguments = container.runtime.command("run", "--bundle", container.path, "--seccomp-record", file, container.id)
    command = [sys.executable, "-c", program, *arguments[1:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_failure_of_the_recorder(container: Container, tmp_path: Path) -> None:
    """Nobody waits for an answer that is not given; there is no profile of half a run."""
    container.sh("while true; do ls / > /dev/null; done")
    container.write()
    file = tmp_path / "profile.json"
    done = patched(container, file, "if len(calls) == 101: raise OSError(errno.EMFILE, 'too many')")
    assert done.returncode == 1 and "can't be recorded any more" in done.stderr, done
    assert "there is no profile of this run" in done.stderr
    assert not file.exists() and not container.exists()


def test_a_signal_between(container: Container, tmp_path: Path) -> None:
    container.sh("echo ran")
    container.write()
    file = tmp_path / "profile.json"
    done = patched(container, file, "if len(calls) in (9, 12): raise InterruptedError(errno.EINTR, 'a signal')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")
    assert "execve" in names(file)


def test_no_place_for_the_socket(container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    done = container.run("true", "--seccomp-record", str(tmp_path / "profile.json"))
    assert done.code == 1 and "listen for the system calls" in done.err and "Traceback" not in done.err
    assert not container.exists() and not [*tmp_path.glob(".profile*")] and not [*long.iterdir()]
