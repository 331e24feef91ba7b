"""Where conformance/ only sees that a config is refused: the words, and the place in the config."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable

import pytest
from harness import Container, another_file_in_a_devices_place

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
