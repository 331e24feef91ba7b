"""Where conformance/ only sees that a config is refused: the words, and the place in the config."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Container, Runtime, another_file_in_a_devices_place

pytestmark = pytest.mark.pyrun_only("about pyrun's words")
AT_CREATE = ("prestart", "createRuntime", "createContainer")

# hooks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", AT_CREATE)
@pytest.mark.parametrize(
    ("script", "words"), [("echo out; echo words >&2; exit 3", "words"), ("kill -9 $$", "killed by signal 9")]
)
def test_a_hook_that_fails(container: Container, kind: str, script: str, words: str) -> None:
    container.hook(kind, script)
    container.refused(f"/hooks/{kind}/0", words)


@pytest.mark.parametrize("kind", AT_CREATE)
@pytest.mark.parametrize(
    ("path", "words"), [("/no/such", "no such file or directory"), ("/etc/passwd", "permission denied")]
)
def test_a_hook_that_cannot_run(container: Container, kind: str, path: str, words: str) -> None:
    container.config["hooks"] = {kind: [{"path": path}]}
    container.refused(f"/hooks/{kind}/0", words)


@pytest.mark.parametrize("kind", ["startContainer", "poststart"])
def test_a_hook_of_start_that_fails(container: Container, kind: str) -> None:
    container.hook(kind, "echo words; exit 3")
    container.sh("sleep 1000")
    container.create()
    pid = container.pid
    done = container.runtime("start", container.id)
    assert done.code == 1
    assert f"/hooks/{kind}/0" in done.err
    assert "words" in done.err
    container.wait(pid)


def test_a_poststop_hook_that_fails_is_a_warning(container: Container) -> None:
    container.hook("poststop", "exit 3")
    container.create()
    done = container.runtime("delete", container.id)
    assert done.code == 0
    assert "level=warning" in done.err
    assert "/hooks/poststop/0" in done.err


def test_a_relative_hook(container: Container) -> None:
    container.config["hooks"] = {"prestart": [{"path": "bin/true"}]}
    container.refused("/hooks/prestart/0/path", "absolute")


# namespaces -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "pid", "mount"])
def test_a_namespace_of_another_type(container: Container, kind: str) -> None:
    wrong = "/proc/self/ns/net" if kind != "network" else "/proc/self/ns/uts"
    index = len(container.linux["namespaces"]) - 1
    container.namespace(kind, wrong)
    container.refused(f"/linux/namespaces/{index}/path", f"not a {kind} namespace")


@pytest.mark.parametrize(
    ("path", "words"),
    [("/no/such", "no such file or directory"), ("/dev/null", "not a file of a namespace"), ("/etc/passwd", "")],
)
def test_no_namespace_at_all(container: Container, path: str, words: str) -> None:
    index = len(container.linux["namespaces"]) - 1
    container.namespace("ipc", path)
    container.refused(f"/linux/namespaces/{index}/path", words)


# the rest -------------------------------------------------------------------------------------------------------------


def capability(container: Container) -> None:
    container.capabilities("CAP_NONSENSE", "CAP_KILL")


def relative_destination(container: Container) -> None:
    container.mount("tmp", "tmpfs", "mine")


@pytest.mark.parametrize(
    ("change", "words"), [(capability, "CAP_NONSENSE"), (relative_destination, "/mounts/7/destination")]
)
def test_warnings(container: Container, change: Callable[[Container], None], words: str) -> None:
    change(container)
    done = container.run("true")
    assert done.code == 0
    assert "level=warning" in done.err
    assert words in done.err


@pytest.mark.parametrize(("kind", "words"), [("missing", "no such file or directory"), ("file", "not a directory")])
def test_no_root(container: Container, kind: str, words: str) -> None:
    if kind == "file":
        (container.path / kind).write_text("")
    container.config["root"]["path"] = kind
    container.refused(words, "/root/path")


@pytest.mark.parametrize("kind", ["file", "other device", "directory", "symlink"])
def test_another_file_in_a_devices_place(container: Container, kind: str) -> None:
    another_file_in_a_devices_place(container, kind)
    container.refused("/linux/devices/0", "/dev/kmsg is there already and is another file")


@pytest.mark.parametrize("path", ["../x", "/a/../../x"])
def test_a_cgroups_path_that_climbs(container: Container, path: str) -> None:
    container.linux["cgroupsPath"] = path
    container.refused("/linux/cgroupsPath")


def test_start_without_a_process(container: Container) -> None:
    del container.config["process"]
    container.create()
    done = container.runtime("start", container.id)
    assert done.code == 1
    assert "cannot start a container without a process" in done.err
    container.delete()


# what the spec leaves open --------------------------------------------------------------------------------------------


def test_the_umask_when_none_is_asked_for(container: Container) -> None:
    before = os.umask(0o125)
    try:
        assert "Umask:\t0022" in container.sees("cat /proc/self/status")
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("kind", "status"), [*((kind, "created") for kind in AT_CREATE), ("poststart", "running"), ("poststop", "stopped")]
)
def test_the_status_in_a_hook(container: Container, kind: str, status: str) -> None:
    container.hook(kind, f"cat > {container.path}/seen")
    assert container.run("true").code == 0
    assert json.loads((container.path / "seen").read_text())["status"] == status


def test_the_propagation_when_none_is_asked_for(container: Container) -> None:
    """A slave of the host's, where that is shared."""
    subprocess.run(["mount", "--bind", container.rootfs, container.rootfs], check=True)
    try:
        subprocess.run(["mount", "--make-shared", container.rootfs], check=True)
        root = container.sees("grep ' / / ' /proc/self/mountinfo || cat /proc/self/mountinfo").splitlines()[0]
        assert " master:" in root
    finally:
        subprocess.run(["umount", container.rootfs], check=True)


# --- what a command line and a log say


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stat"], "pyrun: no such command: 'stat': did you mean state? (pyrun [OPTIONS] COMMAND [ARGS...]; "),
        (
            ["create", "--bundel", "x", "y"],
            "no such option: --bundel: did you mean --bundle? (pyrun create [OPTIONS] ID; ",
        ),
        (["help", "craete"], "did you mean create?"),
        (["qqq"], "pyrun: no such command: 'qqq' (pyrun"),
    ],
)
def test_usage_is_a_line_and_says_what_may_have_been_meant(runtime: Runtime, arguments: list[str], words: str) -> None:
    done = runtime(*arguments)
    assert words in done.err
    assert done.err.count("\n") == 1


def test_help_and_version_are_commands_too(runtime: Runtime) -> None:
    assert runtime.ok("help") == runtime.ok("--help")
    assert runtime.ok("help", "create") == runtime.ok("create", "--help")
    assert runtime.ok("version") == runtime.ok("--version")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(runtime: Runtime, shell: str) -> None:
    assert "_PYRUN_COMPLETE" in runtime.ok("completion", shell)
    assert "bash, zsh and fish" in runtime("completion", "tcsh").err


def test_completion_knows_commands_options_and_containers(container: Container) -> None:
    container.create()

    def completed(line: str) -> list[str]:
        words = line.split(" ")
        environ = {
            **os.environ,
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            "_PYRUN_COMPLETE": "bash_complete",
        }
        return subprocess.run(
            [container.runtime.binary], env=environ, capture_output=True, text=True, check=True
        ).stdout.split()

    assert completed("pyrun st") == ["plain,start", "plain,state"]
    assert "plain,--pid-file" in completed("pyrun create --pi")
    assert completed(f"pyrun --root {container.runtime.root} kill {container.id[:4]}") == [f"plain,{container.id}"]


def test_an_error_in_json_has_its_parts(container: Container) -> None:
    log = container.path / "log"
    container.mount("/tmp", "bind", "/no/such/place", "bind")
    container.write()
    done = container.runtime(
        "create", "--bundle", container.path, container.id, options=("--log", str(log), "--log-format", "json")
    )
    assert done.code == 1
    said = json.loads(log.read_text())
    assert {said["level"], said["pointer"], said["errno"]} == {"error", "/mounts/7/source", "ENOENT"}
    assert said["call"].startswith("open_tree") and said["path"] == "/no/such/place"
    assert said["msg"].startswith("mount /tmp (/mounts/7/source): ")


def test_levels(container: Container) -> None:
    container.mount("x", "tmpfs", "tmpfs")  # a warning
    for options, expected in (
        ((), {"warning"}),
        (("--log-level", "error"), set()),
        (("--debug",), {"warning", "debug"}),
        (("--log-level", "debug"), {"warning", "debug"}),
        (("--log", "/dev/null"), set()),
    ):
        container.write()
        done = container.runtime("run", "--bundle", container.path, container.id, options=options)
        assert done.code == 0
        assert set(re.findall(r" level=(\w+) ", done.err)) == expected, options


def test_debug_says_what_is_done(container: Container) -> None:
    container.hook("prestart", "true")
    container.write()
    said = container.runtime("run", "--bundle", container.path, container.id, options=("--debug",)).err
    for words in (
        "bundle ",
        "namespaces: ",
        "mount 0: /proc",
        "cgroup /",
        "compiled: ",
        "READY",
        "hook /",
        "has ended",
    ):
        assert words in said, words
    assert re.search(r'msg="\d+\.\d ms: ', said)


def test_at_a_terminal_an_error_is_bare(runtime: Runtime) -> None:
    master, slave = pty.openpty()
    try:
        subprocess.run(runtime.command("state", "nobody"), stderr=slave, check=False)
        assert os.read(master, 1000) == b"pyrun: container does not exist\r\n"
    finally:
        os.close(master)
        os.close(slave)


def test_a_limit_that_can_not_be_raised(container: Container) -> None:
    """The error names it, the value, and the hard limit here."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    container.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": hard + 1}]
    container.write()
    done = container.runtime("create", "--bundle", container.path, container.id)
    if not done.code:
        pytest.skip("CAP_SYS_RESOURCE is there, and the limit below what the kernel has")
    words = f"set RLIMIT_NOFILE to 1024:{hard + 1} (/process/rlimits/0): prlimit64: EPERM (operation not permitted): "
    assert words + f"the hard limit here is {hard}, and raising it takes CAP_SYS_RESOURCE" in done.err


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        (lambda c: c.process.update(cwd="/bin/busybox"), "/process/cwd"),
        (
            lambda c: c.linux.update(rootfsPropagation="shared", sysctl={"kernel.no_such": "1"}),
            "/linux/sysctl/kernel.no_such",
        ),
        (lambda c: c.config["root"].update(path="/nowhere"), "/root/path"),
    ],
)
def test_no_error_says_a_thing_twice(container: Container, change: Callable[[Container], object], pointer: str) -> None:
    change(container)
    container.write()
    done = container.runtime("create", "--bundle", container.path, container.id)
    said = done.err
    assert done.code == 1 and said.count(pointer) == 1
    assert pointer[1:].replace("/", ".") not in said


def test_what_only_some_callers_say(container: Container) -> None:
    container.write()
    wide = ("--criu", "/usr/sbin/criu")
    create = ("create", "--no-subreaper", "--bundle", container.path, container.id)
    assert container.runtime(*create, options=wide).code == 0
    assert container.status == "created"


def test_where_spec_writes(runtime: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    assert json.loads(runtime.ok("spec", "--file", "-"))["ociVersion"]
    runtime.ok("spec", "--file", file)
    assert json.loads(file.read_text())["process"]
    done = runtime("spec", "-f", file)
    assert done.code == 1 and "File other.json exists" in done.err
