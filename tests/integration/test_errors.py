"""What is wrong is said on one line, with its place in the config, and nothing is left of the attempt."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from harness import CHECKOUT, Container, Runtime, message

pytestmark = pytest.mark.pyrun_only("about pyrun's words")
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def edited(config: dict[str, Any], pointer: str, value: Any) -> None:
    """Set what the JSON pointer says; None removes it."""
    *parents, last = [token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/")]
    node: Any = config
    for token in parents:
        node = node[int(token)] if isinstance(node, list) else node.setdefault(token, {})
    if isinstance(node, list):
        node[int(last)] = value
    elif value is None:
        del node[last]
    else:
        node[last] = value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "line 1, column 1"),
        (b"{", "line 1, column 2"),
        (b'{"ociVersion": "1.0.2",}', "line 1"),
        (b"[]", "object"),
        (b'"x"', "object"),
        (b"null", "object"),
        (b"\xff\xfe{}", "UTF-8"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"ociVersion": "1.0.2", "ociVersion": "1.0.2"}', "/ociVersion"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1e999}', "/a"),
        (b'{"a": "\\ud800"}', "/a"),
        (b"[" * 100_000, ""),
        (b'{"a": ' + b"9" * 10_000 + b"}", "/a"),
        (b"{}", "/ociVersion"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_bad_json(container: Container, text: bytes, words: str) -> None:
    """MUST 43, 44."""
    (container.path / "config.json").write_bytes(text)
    container.refused_as_written(words)


@pytest.mark.parametrize("flag", ["", "--debug"])
def test_no_config(container: Container, flag: str) -> None:
    options = (flag,) if flag else ()
    done = container.runtime("create", "--bundle", container.path, container.id, options=options)
    assert done.code == 1
    assert f"JSON specification file {container.path}/config.json not found" in done.err


def test_no_bundle(runtime: Runtime) -> None:
    done = runtime("create", "--bundle", "/no/such", "x")
    assert (done.code, runtime.ids()) == (1, [])
    assert "not found" in done.err


def test_every_fault_is_named(container: Container) -> None:
    faults = {
        "/ociVersion": 5,
        "/process/args": "sh",
        "/process/user/uid": "root",
        "/process/terminal": 1,
        "/root/readonly": "yes",
        "/mounts/0/options": {},
        "/linux/namespaces/1/type": "nonsense",
        "/linux/maskedPaths/3": 7,
        "/linux/resources/pids": {"limit": 1.5},
    }
    for pointer, value in faults.items():
        edited(container.config, pointer, value)
    faults["/linux/resources/pids/limit"] = faults.pop("/linux/resources/pids")
    container.refused(*[f"{pointer}: " for pointer in faults])


@pytest.mark.parametrize(
    ("pointer", "value", "parts"),
    [
        ("/ociVersion", "2.0.0", ["/ociVersion"]),
        ("/ociVersion", "one", ["/ociVersion", "semantic version"]),
        ("/root", None, ["/root", "required"]),
        ("/root/path", None, ["/root/path", "required"]),
        ("/process/cwd", None, ["/process/cwd", "required"]),
        ("/process/cwd", "relative", ["/process/cwd", "absolute"]),
        ("/process/args", [], ["/process/args"]),
        ("/process/args", None, ["/process/args"]),
        ("/process/env/0", "NOEQUALS", ["/process/env/0"]),
        ("/process/env/0", "=x", ["/process/env/0"]),
        ("/process/args/0", "a\0b", ["/process/args/0"]),
        ("/process/env/0", "A=a\0b", ["/process/env/0"]),
        ("/process/cwd", "/a\0b", ["/process/cwd"]),
        ("/hostname", "a\0b", ["/hostname"]),
        ("/mounts/0/destination", "/a\0b", ["/mounts/0/destination"]),
        ("/mounts/1/options/0", "a\0b", ["/mounts/1/options/0"]),
        ("/annotations", {"a\0b": "x"}, ["/annotations"]),
        ("/annotations", {"": "x"}, ["/annotations"]),
        ("/root/path", "a\0b", ["/root/path"]),
        ("/linux/maskedPaths/0", "relative", ["/linux/maskedPaths/0", "absolute"]),
        ("/linux/readonlyPaths/0", "relative", ["/linux/readonlyPaths/0", "absolute"]),
        ("/linux/rootfsPropagation", "nonsense", ["/linux/rootfsPropagation"]),
        ("/linux/namespaces/0/path", "relative", ["/linux/namespaces/0/path", "absolute"]),
        ("/process/user/uid", -1, ["/process/user/uid"]),
        ("/process/user/uid", 1 << 32, ["/process/user/uid"]),
        ("/process/user/uid", 1.0, ["/process/user/uid"]),
        ("/process/oomScoreAdj", 1001, ["/process/oomScoreAdj"]),
        ("/linux/devices", [{"path": "/dev/x", "type": "z"}], ["/linux/devices/0/type"]),
        ("/linux/devices", [{"path": "/dev/x", "type": "c"}], ["/linux/devices/0/major"]),
        ("/linux/uidMappings", [{"containerID": 0, "hostID": 0, "size": 1}], ["/linux/uidMappings"]),
    ],
)  # fmt: skip
def test_one_fault(container: Container, pointer: str, value: Any, parts: list[str]) -> None:
    edited(container.config, pointer, value)
    container.refused(*parts)


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/process/apparmorProfile", "some"),
        ("/process/selinuxLabel", "a:b:c:d"),
        ("/linux/intelRdt", {"closID": "x"}),
    ],
)
def test_what_this_host_lacks_is_named(container: Container, pointer: str, value: Any) -> None:
    """Nothing is accepted and ignored."""
    if pointer == "/process/apparmorProfile" and Path("/sys/module/apparmor/parameters/enabled").exists():
        pytest.skip("AppArmor is here")
    edited(container.config, pointer, value)
    container.refused(pointer)


def test_unknown_properties_are_ignored(container: Container) -> None:
    """MUST 79."""
    container.config["com.example.unknown"] = {"any": ["thing"]}
    container.process["unknown"] = 1
    container.linux["namespaces"][0]["unknown"] = "x"
    assert container.sees("echo hello") == "hello"


@pytest.mark.parametrize("verb", ["create", "run"])
def test_nothing_is_left_of_a_late_failure(container: Container, verb: str) -> None:
    """Whatever had been made by then: cgroup, mounts, state; the leak check of every test looks after it."""
    container.linux["resources"]["pids"] = {"limit": 10}
    container.args = ["/no/such"]
    container.refused("/process/args/0", verb=verb)


@pytest.mark.parametrize("verb", ["create", "run"])
@pytest.mark.parametrize("identifier", ["", ".", "..", "a/b", "a b", "a\n", "é", "x" * 256, "/etc", "$(id)"])
def test_ids_that_are_none(container: Container, verb: str, identifier: str) -> None:
    container.write()
    done = container.runtime(verb, "--bundle", container.path, "--", identifier)
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert "invalid container ID format" in done.err
    assert container.runtime.ids() == []


@pytest.mark.parametrize("identifier", ["a", "A-b_c.d+1", "-dash", "0", "x" * 200])
def test_ids_that_are_some(container: Container, identifier: str) -> None:
    container.write()
    container.runtime.ok("run", "--bundle", container.path, "--", identifier)


# the log --------------------------------------------------------------------------------------------------------------


def test_text_on_stderr(runtime: Runtime) -> None:
    done = runtime("state", "unknown")
    assert re.fullmatch(rf'time="{TIME}" level=error msg="container does not exist"\n', done.err)


def test_json_in_a_file(runtime: Runtime, tmp_path: Path) -> None:
    """containerd reads the last line of the file, podman the whole; both want stderr too."""
    log = tmp_path / "log"
    done = runtime("state", "unknown", options=("--log", str(log), "--log-format", "json"))
    assert done.err == "container does not exist\n"
    [line] = log.read_text().splitlines()
    entry = json.loads(line)
    assert entry["level"] == "error"
    assert entry["msg"] == "container does not exist"
    assert re.fullmatch(TIME, entry["time"])
    runtime("state", "other", options=(f"--log={log}", "--log-format=json"))
    assert len(log.read_text().splitlines()) == 2


def test_text_in_a_file(runtime: Runtime, tmp_path: Path) -> None:
    log = tmp_path / "log"
    runtime("state", "unknown", options=("--log", str(log)))
    assert message(log.read_text().strip()) == "container does not exist"


def test_success_is_silent(container: Container, tmp_path: Path) -> None:
    """go-runc reads stdout and stderr as one; a warning goes nowhere with --log."""
    container.capabilities("CAP_NONSENSE")
    container.write()
    log = tmp_path / "log"
    options = ("--log", str(log), "--log-format", "json")
    done = container.runtime("create", "--bundle", container.path, container.id, options=options)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert log.read_text() == ""


@pytest.mark.parametrize("options", [("--log-format", "xml"), ("--log", "/no/such/file"), ("--root", "/")])
def test_bad_global_options(runtime: Runtime, options: tuple[str, ...]) -> None:
    done = runtime("state", "x", options=options)
    assert done.code == 1
    assert len(done.err.splitlines()) == 1


# usage ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nonsense"], 3, "nonsense"),
        (["state"], 1, 'requires exactly 1 argument(s)'),
        (["create"], 1, 'requires exactly 1 argument(s)'),
        (["start", "a", "b"], 1, 'requires exactly 1 argument(s)'),
        (["kill"], 1, "argument(s)"),
        (["state", "--nonsense", "x"], 1, "--nonsense"),
        (["--nonsense"], 1, "--nonsense"),
        (["create", "x", "--bundle"], 1, "flag needs an argument: --bundle"),
        (["create", "--preserve-fds", "x", "y"], 1, "--preserve-fds"),
        (["run", "--detach=maybe", "x"], 1, "--detach"),
        (["--cgroup-manager", "magic", "state", "x"], 1, "--cgroup-manager is cgroupfs, systemd or disabled"),
        (["--systemd-cgroup", "--cgroup-manager=cgroupfs", "state", "x"], 1, "--cgroup-manager is cgroupfs,"),
    ],
)  # fmt: skip
def test_usage(runtime: Runtime, arguments: list[str], code: int, words: str) -> None:
    done = runtime(*arguments)
    assert done.code == code
    assert words in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["create", "--help"], ["run", "-h"]])
def test_help(runtime: Runtime, arguments: list[str]) -> None:
    out = runtime.ok(*arguments)
    assert "Usage: pyrun" in out
    assert "--bundle" in out or "create" in out


def test_version(runtime: Runtime) -> None:
    lines = runtime.ok("--version").splitlines()
    assert re.fullmatch(r"pyrun version \S+", lines[0])
    known = "[0-9a-f]{40}(-dirty)?" if (CHECKOUT / ".git").exists() else r"v\d.*"
    assert re.fullmatch(f"commit: {known}", lines[1])
    assert re.fullmatch(r"spec: 1\.\d\.\d", lines[2])
    assert lines[3].startswith("python: ")
    assert re.fullmatch(r"libseccomp: \d+\.\d+\.\d+", lines[4])
    assert len(lines) == 5


def test_output_to_a_full_disk_is_an_error(container: Container) -> None:
    container.create()
    with open("/dev/full", "wb") as full:
        assert container.runtime("state", container.id, stdout=full).code == 1
