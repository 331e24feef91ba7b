"""How the callers in use (podman with conmon, containerd's shim, dockerd, CRI-O, people) put what they want. The spec
says nothing of a command line; these forms are what a runtime must take to be put in another's place."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from conformance.harness import Container, Listener, Runtime, hear

LOOP = 'trap "exit 3" TERM; echo up; while true; do sleep 0.01; done'


def up(container: Container, script: str = LOOP) -> int:
    """Created and started, and past its first words; returns the pid."""
    read, write = os.pipe()
    container.sh(script)
    container.create(stdout=write)
    os.close(write)
    container.start()
    assert hear(read) == b"up\n"
    os.close(read)
    return container.pid


@pytest.mark.parametrize("form", ["--bundle={}", "--bundle {}", "-b {}", "-bundle {}", "-bundle={}"])
def test_forms_of_an_option(container: Container, form: str) -> None:
    container.write()
    container.runtime.ok("create", *form.format(container.path).split(), container.id)
    assert container.status == "created"


@pytest.mark.parametrize("form", ["--root={}", "--root {}", "-root {}", "-root={}"])
def test_forms_of_a_global_option(runtime: Runtime, form: str) -> None:
    command = [runtime.binary, *form.format(runtime.root).split(), "state", "none"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode != 0
    assert re.search("does not exist|No such file", done.stderr), done.stderr


@pytest.mark.parametrize("flag", ["--no-pivot", "--no-new-keyring", "-no-pivot", "-no-new-keyring"])
def test_flags_of_create(container: Container, flag: str) -> None:
    container.create(flag)
    assert container.start_and_wait() == 0


@pytest.mark.parametrize("flag", ["--no-subreaper", "-no-subreaper"])
def test_no_subreaper(container: Container, flag: str) -> None:
    assert container.run("exit 5", flag).code == 5


@pytest.mark.parametrize("arguments", [("--force",), ("-f",)])
@pytest.mark.parametrize("after", [False, True])
def test_options_after_the_id(container: Container, arguments: tuple[str, ...], after: bool) -> None:
    """Where the runtime in place takes them."""
    pid = up(container)
    words = (container.id, *arguments) if after else (*arguments, container.id)
    done = container.runtime("delete", *words)
    assert done.code == 0, done
    assert container.wait(pid) == -9


def test_delete_force_twice(container: Container) -> None:
    """The shim cleans up after every delete."""
    container.create()
    container.delete("--force")
    container.delete("--force")


def test_delete_and_then_delete_force(container: Container) -> None:
    container.create()
    container.start_and_wait()
    container.delete()
    container.delete("--force")


@pytest.mark.parametrize("signal", ["9", "KILL", "SIGKILL"])
def test_kill_all(container: Container, signal: str) -> None:
    """As for containers with the host's pid namespace: the children of init go too."""
    container.without_namespace("pid")
    read, write = os.pipe()
    container.sh("sleep 1000 & echo up; wait")
    container.create(stdout=write)
    os.close(write)
    pid = container.pid
    container.start()
    assert hear(read) == b"up\n"
    container.runtime.ok("kill", "--all", container.id, signal)
    container.wait(pid)
    assert hear(read) == b""  # nobody holds its other end
    os.close(read)


@pytest.mark.parametrize("signal", ["15", "TERM", "SIGTERM", "term", "sigterm"])
def test_names_of_a_signal(container: Container, signal: str) -> None:
    pid = up(container)
    container.kill(signal)
    assert container.wait(pid) == 3


def test_kill_sends_sigterm_by_default(container: Container) -> None:
    pid = up(container)
    container.runtime.ok("kill", container.id)
    assert container.wait(pid) == 3


def test_what_kill_says_of_a_stopped_container(container: Container) -> None:
    """containerd looks for the words to tell "over" from "broken"."""
    container.create()
    container.start_and_wait()
    done = container.runtime("kill", container.id, "KILL")
    assert done.code != 0
    assert re.search("process already finished|container not running|no such process", done.err, re.IGNORECASE)


def test_what_is_said_of_an_unknown_id(runtime: Runtime) -> None:
    """podman and containerd look for these words."""
    assert re.search("does not exist|No such file", runtime("state", "unknown").err)


def test_the_pid_file_has_no_newline(container: Container) -> None:
    """go-runc hands the whole of it to Atoi."""
    file = container.path / "pid"
    container.create("--pid-file", str(file))
    assert file.read_text() == str(container.pid)


def test_init_is_the_callers_child(container: Container) -> None:
    """conmon and the shim wait for it as subreapers."""
    container.create()
    assert f"\nPPid:\t{os.getpid()}\n" in Path(f"/proc/{container.pid}/status").read_text()


def test_a_missing_program_is_an_error_of_create(container: Container) -> None:
    """And podman makes exit code 127 of its words."""
    container.args = ["/no/such"]
    words = container.refused()
    assert re.search("executable file not found in|no such file or directory", words, re.IGNORECASE)


def test_a_program_that_is_none_is_an_error_of_create(container: Container) -> None:
    """And podman makes exit code 126 of its words."""
    container.args = ["/etc"]
    words = container.refused()
    assert re.search("permission denied|operation not permitted", words, re.IGNORECASE)


@pytest.mark.parametrize(
    "options", [("--log-format=json", "--log", "{}"), ("--log", "{}", "--log-format", "json")], ids=["podman", "shim"]
)
def test_the_log_is_one_json_object(container: Container, options: tuple[str, ...]) -> None:
    """podman reads the file as one object, the shim its lines; both want level and msg."""
    log = container.path / "log.json"
    container.args = ["/no/such"]
    container.write()
    words = tuple(option.format(log) for option in options)
    done = container.runtime("create", "--bundle", container.path, container.id, options=words)
    assert done.code != 0
    [line] = log.read_text().splitlines()
    entry = json.loads(line)
    assert entry["level"] == "error"
    assert "/no/such" in entry["msg"]
    assert entry["time"]


def test_the_log_is_appended_to(container: Container) -> None:
    log = container.path / "log.json"
    log.write_text('{"level":"info","msg":"before","time":"2024-01-01T00:00:00Z"}\n')
    container.runtime("state", "unknown", options=("--log", str(log), "--log-format", "json"))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[0]["msg"] == "before"
    assert lines[-1]["level"] == "error"


def test_success_writes_no_log(container: Container) -> None:
    log = container.path / "log.json"
    container.write()
    options = ("--log", str(log), "--log-format", "json")
    container.runtime.ok("create", "--bundle", container.path, container.id, options=options)
    assert not log.exists() or log.read_text() == ""


def test_the_version(runtime: Runtime) -> None:
    """dockerd and go-runc read it by lines: NAME version X, spec: Y."""
    done = subprocess.run([runtime.binary, "--version"], capture_output=True, text=True, check=True, timeout=20)
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"\S+ version \S.*", lines[0])
    assert any(re.fullmatch(r"spec: \d+\.\d+\.\d+\S*", line) for line in lines)


def test_without_path_and_home(container: Container) -> None:
    """podman's own calls have no more than XDG_RUNTIME_DIR."""
    container.write()
    environment = {"XDG_RUNTIME_DIR": "/run/user/0"}
    container.runtime.ok("create", "--bundle", container.path, container.id, env=environment)
    container.runtime.ok("kill", container.id, "9", env=environment)
    container.runtime.ok("delete", "--force", container.id, env=environment)


def test_the_environment_of_a_hook_has_nothing_more(container: Container) -> None:
    container.hook("prestart", f"tr '\\0' '\\n' < /proc/$$/environ > {container.path}/environ; exit 0", env=["A=1"])
    container.write()
    container.runtime.ok("create", "--bundle", container.path, container.id, env={"PATH": "/usr/bin:/bin"})
    assert (container.path / "environ").read_text().split() == ["A=1"]


def test_the_current_folder_is_the_default_bundle(container: Container) -> None:
    container.write()
    container.runtime.ok("create", container.id, cwd=container.path)
    assert os.path.samefile(container.state()["bundle"], container.path)


def test_a_console_socket_gets_one_message(container: Container, listener: Listener) -> None:
    """Some data, one descriptor, and then the end."""
    container.process["terminal"] = True
    container.sh("[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo tty")
    container.create("--console-socket", str(listener.path))
    assert 0 < len(listener.receive()) < 4096
    assert container.start_and_wait() == 0
    assert listener.read_to_end() == "tty\n"


def test_run_returns_the_exit_code(container: Container) -> None:
    assert container.run("exit 42").code == 42
    assert not container.exists()


def test_a_signalled_program_is_128_and_more(container: Container) -> None:
    container.without_namespace("pid")
    assert container.run("kill -9 $$").code == 137


def test_list_as_json(container: Container) -> None:
    container.create()
    for form in (("--format", "json"), ("--format=json",), ("-f", "json")):
        [found] = json.loads(container.runtime.ok("list", *form))
        assert (found["id"], found["pid"], found["status"]) == (container.id, container.pid, "created")


def test_list_quietly(container: Container) -> None:
    container.create()
    assert (
        container.runtime.ok("list", "-q").split() == container.runtime.ok("list", "--quiet").split() == [container.id]
    )


def test_ps_as_json(container: Container) -> None:
    pid = up(container)
    assert pid in json.loads(container.runtime.ok("ps", "--format", "json", container.id))


@pytest.mark.parametrize("words", [("pause",), ("resume",)], ids=["pause", "resume"])
def test_pause_and_resume(container: Container, words: tuple[str, ...]) -> None:
    up(container)
    container.runtime.ok("pause", container.id)
    assert container.status == "paused"
    container.runtime.ok("resume", container.id)
    assert container.status == "running"


@pytest.mark.parametrize("form", ["--resources=FILE", "--resources FILE", "-r FILE", "--resources -"])
def test_update(container: Container, form: str) -> None:
    container.linux["cgroupsPath"] = f"/{container.id}"
    up(container)
    file = container.path / "resources"
    file.write_text('{"pids": {"limit": 33}}')
    with open(file, "rb") as stdin:
        container.runtime.ok("update", *form.replace("FILE", str(file)).split(), container.id, stdin=stdin)
    found = [path for path in Path("/sys/fs/cgroup").rglob("pids.max") if container.id in str(path)]
    assert [path.read_text() for path in found] == ["33\n"]


def test_exec_detached(container: Container) -> None:
    """conmon's and the shim's: a file that holds the process, a pid file, and the caller as the parent."""
    up(container)
    process = {**container.process, "args": ["/bin/sh", "-c", "exit 6"]}
    (container.path / "process").write_text(json.dumps(process))
    flags = ("--process", container.path / "process", "--detach", "--pid-file", container.path / "exec.pid")
    container.runtime.ok("exec", *flags, container.id)
    assert container.wait(int((container.path / "exec.pid").read_text())) == 6


def test_exec_in_the_foreground(container: Container) -> None:
    up(container)
    done = container.runtime("exec", container.id, "/bin/sh", "-c", "echo hello; exit 4")
    assert (done.code, done.out) == (4, "hello\n")


def test_preserved_descriptors(container: Container) -> None:
    container.args = ["/bin/ls", "/proc/self/fd"]
    read, write = os.pipe()
    try:
        # The numbers must begin at 3.
        script = f'exec "$@" 3<&{read} 4>&{write}'
        container.write()
        command = container.runtime.command("run", "--preserve-fds", "2", "--bundle", container.path, container.id)
        done = subprocess.run(
            ["bash", "-c", script, "bash", *command], pass_fds=(read, write), capture_output=True, text=True, check=True
        )
    finally:
        os.close(read)
        os.close(write)
    assert {"0", "1", "2", "3", "4"} <= set(done.stdout.split())
