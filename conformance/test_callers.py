"""How the callers in use (podman with conmon, containerd's shim, dockerd, CRI-O, people) put what they want. The spec
says nothing of a command line; these forms are what a runtime must take to be put in another's place."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from conformance.harness import Container, Listener, Runtime


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


@pytest.mark.parametrize(
    "words",
    [
        ("--debug",),
        ("--log-format=text",),
        ("--rootless=false",),
        ("--rootless", "auto"),
        ("--cgroup-manager=cgroupfs",),
        ("--cgroup-manager", "cgroupfs"),
    ],
    ids=" ".join,
)
def test_global_options(container: Container, words: tuple[str, ...]) -> None:
    container.write()
    options = {"options": words, "cwd": container.path}
    container.runtime.ok("create", "--bundle", container.path, container.id, **options)
    assert container.start_and_wait() == 0
    container.runtime.ok("delete", container.id, **options)


@pytest.mark.parametrize(
    "words", [("--log-format", "xml"), ("--cgroup-manager", "nonsense"), ("--nonsense",)], ids=" ".join
)
def test_global_options_that_are_none(container: Container, words: tuple[str, ...]) -> None:
    container.write()
    done = container.runtime("create", "--bundle", container.path, container.id, options=words)
    assert done.code != 0
    assert not container.exists()


def test_without_cgroups(container: Container) -> None:
    """podman's --cgroups=disabled."""
    container.write()
    options = ("--cgroup-manager=disabled",)
    container.runtime.ok("create", "--bundle", container.path, container.id, options=options)
    assert Path(f"/proc/{container.pid}/cgroup").read_text() == Path("/proc/self/cgroup").read_text()
    container.runtime.ok("start", container.id, options=options)
    container.runtime.ok("delete", "--force", container.id, options=options)


@pytest.mark.parametrize("form", ["--config={}", "--config {}", "-f {}"])
@pytest.mark.parametrize("verb", ["create", "run"])
def test_another_name_of_the_config(container: Container, verb: str, form: str) -> None:
    container.write()
    file = (container.path / "config.json").rename(container.path.parent / "other.json")
    container.runtime.ok(verb, "--bundle", container.path, *form.format(file).split(), container.id)
    assert (container.exists()) is (verb == "create")


@pytest.mark.parametrize("form", ["--pid-file={}", "--pid-file {}"])
def test_forms_of_the_pid_file(container: Container, form: str) -> None:
    container.create(*form.format(container.path / "pid").split())
    assert (container.path / "pid").read_text() == str(container.pid)


@pytest.mark.systemd
def test_run_detached(container: Container) -> None:
    """It returns when the program runs, whose parent is the caller."""
    container.sh("sleep 1000")
    container.write()
    flags = ("--detach", "--pid-file", container.path / "pid", "--bundle", container.path)
    container.runtime.ok("run", *flags, container.id)
    pid = int((container.path / "pid").read_text())
    assert (container.status, container.pid) == ("running", pid)
    assert f"\nPPid:\t{os.getpid()}\n" in Path(f"/proc/{pid}/status").read_text()
    container.runtime.ok("delete", "-f", container.id)
    assert container.wait(pid) == -9


@pytest.mark.parametrize("flag", ["--no-pivot", "--no-new-keyring", "-no-pivot", "-no-new-keyring"])
def test_flags_of_create(container: Container, flag: str) -> None:
    container.create(flag)
    assert container.start_and_wait() == 0


@pytest.mark.parametrize("flag", ["--no-subreaper", "-no-subreaper"])
def test_no_subreaper(container: Container, flag: str) -> None:
    assert container.run("exit 5", flag).code == 5


@pytest.mark.parametrize("form", ["--bundle={}", "--bundle {}", "-b {}"])
def test_options_of_create_after_the_id(container: Container, form: str) -> None:
    """Where runc takes them: its library puts options first."""
    container.write()
    container.runtime.ok("create", container.id, *form.format(container.path).split())
    assert container.status == "created"


@pytest.mark.parametrize("arguments", [("--force",), ("-f",)])
@pytest.mark.parametrize("after", [False, True])
def test_options_of_delete_after_the_id(container: Container, arguments: tuple[str, ...], after: bool) -> None:
    pid = container.up()
    words = (container.id, *arguments) if after else (*arguments, container.id)
    done = container.runtime("delete", *words)
    assert done.code == 0, done
    assert container.wait(pid) == -9


def test_delete_force_twice(container: Container) -> None:
    """The shim cleans up after every delete."""
    container.create()
    container.delete("--force")
    done = container.runtime("delete", "--force", container.id)
    assert (done.code, done.out, done.err) == (0, "", "")


def test_delete_and_then_delete_force(container: Container) -> None:
    container.create()
    container.start_and_wait()
    container.delete()
    container.delete("--force")


def test_what_is_said_of_an_unknown_id(runtime: Runtime) -> None:
    """podman and containerd look for these words."""
    assert re.search("does not exist|No such file", runtime("state", "unknown").err)


@pytest.mark.systemd
def test_the_pid_file_has_no_newline(container: Container) -> None:
    """go-runc hands the whole of it to Atoi."""
    file = container.path / "pid"
    container.create("--pid-file", str(file))
    assert file.read_text() == str(container.pid)
    assert sorted(os.listdir(container.path)) == ["config.json", "pid", "rootfs"]


@pytest.mark.systemd
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


@pytest.mark.parametrize(
    "words", [("state",), ("start",), ("kill",), ("delete",), ("exec",), ("pause",), ("resume",)], ids=" ".join
)
def test_every_command_logs_its_error(container: Container, words: tuple[str, ...]) -> None:
    """One object, the last of the log's; the words are on stderr as well, where podman looks without a log."""
    log = container.path / "log.json"
    arguments = {"exec": ("unknown", "/bin/true"), "kill": ("unknown", "9")}.get(words[0], ("unknown",))
    done = container.runtime(*words, *arguments, options=("--log", str(log), "--log-format", "json"))
    assert done.code != 0
    [entry] = map(json.loads, log.read_text().splitlines())
    assert entry["level"] == "error"
    assert entry["msg"].strip() in done.err
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", entry["time"])


def test_debugging_keeps_the_error_last(container: Container) -> None:
    """The shim takes the last object with level error."""
    log = container.path / "log.json"
    container.args = ["/no/such"]
    container.write()
    options = ("--debug", "--log", str(log), "--log-format", "json")
    assert container.runtime("create", "--bundle", container.path, container.id, options=options).code != 0
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    [error] = [entry for entry in entries if entry["level"] == "error"]
    assert "/no/such" in error["msg"]


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


def test_the_word_version_is_in_one_line_only(runtime: Runtime) -> None:
    """dockerd takes the last line that has it for the name and the version."""
    done = subprocess.run([runtime.binary, "--version"], capture_output=True, text=True, check=True, timeout=20)
    assert [line.count("version") for line in done.stdout.splitlines()].count(1) == 1
    assert done.stdout.splitlines()[0].split()[1] == "version"


@pytest.mark.parametrize("form", ["--version", "-v"])
def test_the_version_alone(runtime: Runtime, form: str) -> None:
    done = subprocess.run([runtime.binary, form], capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    assert " version " in done.stdout


def test_the_state_that_callers_read(container: Container) -> None:
    """go-runc reads stdout and stderr as one, and the time in RFC 3339's form."""
    container.create()
    done = container.runtime("state", container.id)
    state = json.loads(done.out + done.err)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", state["created"])
    assert os.path.samefile(state["rootfs"], container.rootfs)
    assert isinstance(state["pid"], int)


def test_the_features(runtime: Runtime) -> None:
    """containerd, CRI-O and dockerd ask for them: a document, whatever stands in it."""
    done = runtime("features")
    assert done.code == 0, done
    assert json.loads(done.out)["ociVersionMin"]


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


@pytest.mark.systemd
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


@pytest.mark.parametrize("form", ["--console-socket={}", "--console-socket {}"])
def test_forms_of_the_console_socket(container: Container, listener: Listener, form: str) -> None:
    container.process["terminal"] = True
    container.process["consoleSize"] = {"height": 33, "width": 77}
    container.sh("stty size")
    container.create(*form.format(listener.path).split())
    assert listener.receive()
    assert container.start_and_wait() == 0
    assert listener.read_to_end() == "33 77\n"


def test_a_terminal_without_a_console_socket(container: Container) -> None:
    container.process["terminal"] = True
    container.refused()


@pytest.mark.systemd
def test_run_returns_the_exit_code(container: Container) -> None:
    assert container.run("exit 42").code == 42
    assert not container.exists()


@pytest.mark.parametrize("number", [1, 2, 6, 9, 10, 13, 14, 15])
def test_a_signalled_program_is_128_and_more(container: Container, number: int) -> None:
    container.without_namespace("pid")  # else init is spared by its own signals
    assert container.run(f"kill -{number} $$").code == 128 + number


@pytest.mark.parametrize("form", ["--preserve-fds 2", "--preserve-fds=2"])
def test_preserved_descriptors(container: Container, form: str) -> None:
    container.args = ["/bin/ls", "/proc/self/fd"]
    read, write = os.pipe()
    try:
        # The numbers must begin at 3.
        script = f'exec "$@" 3<&{read} 4>&{write}'
        container.write()
        command = container.runtime.command("run", *form.split(), "--bundle", container.path, container.id)
        done = subprocess.run(
            ["bash", "-c", script, "bash", *command], pass_fds=(read, write), capture_output=True, text=True, check=True
        )
    finally:
        os.close(read)
        os.close(write)
    assert {"0", "1", "2", "3", "4"} <= set(done.stdout.split())


def test_sockets_of_the_caller(container: Container) -> None:
    """sd_listen_fds(3): they come first, and are the program's own."""
    container.sh('ls /proc/self/fd; echo "$LISTEN_FDS" "$LISTEN_PID" "$$"')
    container.write()
    read, write = os.pipe()
    command = container.runtime.command("run", "--bundle", container.path, container.id)
    try:
        done = subprocess.run(
            ["bash", "-c", f'LISTEN_PID=$$ exec "$@" 3<&{read}', "bash", *command],
            pass_fds=(read,), capture_output=True, text=True, check=True, env={**os.environ, "LISTEN_FDS": "1"},
        )  # fmt: skip
    finally:
        os.close(read)
        os.close(write)
    *fds, count, pid, own = done.stdout.split()
    assert {"0", "1", "2", "3"} <= set(fds)
    assert (count, pid) == ("1", own)


def test_a_config_to_begin_with(runtime: Runtime) -> None:
    """`spec` writes one that can be run, and never over another."""
    folder = runtime.folder / "new"
    folder.mkdir()
    runtime.ok("spec", cwd=folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["process"]["args"] == ["sh"]
    assert config["root"]["path"] == "rootfs"
    (folder / "config.json").write_text("mine")
    assert runtime("spec", "--bundle", folder).code != 0
    assert (folder / "config.json").read_text() == "mine"
