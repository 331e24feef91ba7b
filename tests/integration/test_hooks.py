"""All six hooks: when, where, with what, and what their failure means (config.md "POSIX-platform Hooks")."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from harness import Container

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
AT_CREATE = KINDS[:3]


def trail(container: Container) -> list[str]:
    file = container.path / "trail"
    return file.read_text().split() if file.exists() else []


def trace(container: Container, *kinds: str) -> None:
    """Hooks that leave their names in the bundle, and their state beside it; the folder is bound at /bundle too, for
    those that look from inside."""
    container.config["root"]["readonly"] = False
    container.mount("/bundle", "bind", str(container.path), "rbind")
    for kind in kinds:
        folder = "/bundle" if kind == "startContainer" else container.path
        script = f"echo {kind} >> {folder}/trail; cat > {folder}/state-{kind}"
        container.hook(kind, script)
        if kind == "createContainer":
            # Its path is the runtime's, but it runs in the container's mount namespace before pivot_root.
            container.config["hooks"][kind][-1]["args"][2] = script


def states(container: Container) -> dict[str, dict[str, Any]]:
    return {k: json.loads(f.read_text()) for k in KINDS if (f := container.path / f"state-{k}").exists()}


def test_the_order(container: Container) -> None:
    trace(container, *KINDS)
    container.sh("echo program >> /bundle/trail; sleep 1000")
    container.create()
    assert trail(container) == list(AT_CREATE)
    container.start()
    assert [word for word in trail(container) if word != "program"] == list(KINDS[:5])
    container.delete("--force")
    assert trail(container)[-1] == "poststop"
    assert "program" in trail(container)


def test_several_of_a_kind_run_in_order(container: Container) -> None:
    """MUST 67."""
    for number in range(3):
        container.hook("prestart", f"echo {number} >> {container.path}/trail")
    assert container.run("true").code == 0
    assert trail(container) == ["0", "1", "2"]


def test_the_state_on_stdin(container: Container) -> None:
    """MUST 68, and 5: inside, the pid is the one seen there."""
    trace(container, *KINDS)
    container.config["annotations"] = {"com.example.key": "value"}
    container.sh("sleep 1000")
    container.create()
    pid = container.pid
    container.start()
    container.delete("--force")
    seen = states(container)
    assert set(seen) == set(KINDS)
    for kind, state in seen.items():
        assert (state["id"], state["bundle"]) == (container.id, str(container.path)), kind
        assert state["annotations"] == {"com.example.key": "value"}, kind
        assert state["ociVersion"].startswith("1."), kind
    container.unlike(crun="1.8 has other words", runc="1.1 says the outer pid inside")
    assert {kind: state["status"] for kind, state in seen.items()} == {
        "prestart": "creating",
        "createRuntime": "creating",
        "createContainer": "creating",
        "startContainer": "created",
        "poststart": "running",
        "poststop": "stopped",
    }
    pids = {kind: state.get("pid") for kind, state in seen.items()}
    assert pids["prestart"] == pids["createRuntime"] == pids["poststart"] == pid
    assert pids["createContainer"] == pids["startContainer"] == 1
    assert not pids["poststop"]


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "poststart", "poststop"])
def test_these_run_in_the_runtimes_namespaces(container: Container, kind: str) -> None:
    """MUST 66."""
    script = f"for n in mnt pid net uts ipc; do readlink /proc/self/ns/$n; done > {container.path}/namespaces"
    container.hook(kind, script)
    assert container.run("true").code == 0
    expected = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "pid", "net", "uts", "ipc")]
    assert (container.path / "namespaces").read_text().split() == expected


@pytest.mark.parametrize("kind", ["createContainer", "startContainer"])
def test_these_run_in_the_containers_namespaces(container: Container, kind: str) -> None:
    """MUST 65, 66: the path is the runtime's for createContainer, the container's for startContainer."""
    container.mount("/bundle", "bind", str(container.path), "rbind")
    folder = "/bundle" if kind == "startContainer" else str(container.path)
    listing = "for n in mnt pid net uts ipc; do readlink /proc/self/ns/$n; done"
    text = f"#!/bin/sh\n{listing} > {folder}/seen\nls / >> {folder}/seen\n"
    program = container.script("/opt/hook", text)
    path = "/opt/hook" if kind == "startContainer" else str(program)
    container.config["hooks"] = {kind: [{"path": path, "env": ["PATH=/bin:/usr/bin"]}]}
    expected = container.run(listing).out.split()
    seen = (container.path / "seen").read_text().split()
    assert not set(seen) & {os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "pid", "net", "uts", "ipc")}
    assert seen[:5] == expected
    assert ("opt" in seen and "boot" not in seen) == (kind == "startContainer")


def test_create_hooks_find_the_containers_mounts(container: Container) -> None:
    """Before pivot_root (MUST 69, 71, 72): createContainer sees them where the root lies on the host."""
    container.mount("/tmp", "tmpfs", "findme")
    container.hook("createContainer", f"grep findme /proc/self/mountinfo > {container.path}/seen")
    assert container.run("true").code == 0
    assert f" {container.rootfs}/tmp " in (container.path / "seen").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_and_environment(container: Container, kind: str) -> None:
    container.mount("/bundle", "bind", str(container.path), "rbind")
    folder = "/bundle" if kind == "startContainer" else str(container.path)
    script = f'tr "\\0" "\\n" < /proc/self/environ > {folder}/environment; echo "$0 $1" > {folder}/arguments'
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script, "zero", "one"], "env": ["A=1", "B=two words"]}
    container.config["hooks"] = {kind: [hook]}
    assert container.run("true", env={**os.environ, "LEAK": "1"}).code == 0
    lines = (container.path / "environment").read_text().splitlines()
    assert lines == ["A=1", "B=two words"]
    assert (container.path / "arguments").read_text() == "zero one\n"


@pytest.mark.parametrize("kind", KINDS)
def test_descriptors(container: Container, kind: str) -> None:
    """A hook has its stdio and nothing else."""
    container.unlike(runc="1.1 leaks some", crun="1.8 leaks some")
    container.mount("/bundle", "bind", str(container.path), "rbind")
    folder = "/bundle" if kind == "startContainer" else str(container.path)
    container.hook(kind, f"ls /proc/self/fd > {folder}/fds")
    read, write = os.pipe()
    os.set_inheritable(read, True)
    os.set_inheritable(write, True)
    try:
        assert container.run("true", close_fds=False).code == 0
    finally:
        os.close(read)
        os.close(write)
    assert (container.path / "fds").read_text().split() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("kind", AT_CREATE)
@pytest.mark.parametrize("script", ["echo out; echo words >&2; exit 3", "kill -9 $$"])
def test_a_failure_at_create(container: Container, kind: str, script: str) -> None:
    """MUST 11 to 13: an error that says what the hook said, no container, and the poststop hooks run."""
    trace(container, "poststop")
    container.hook(kind, script)
    error = container.refused(f"/hooks/{kind}/0", "killed by signal 9" if "kill" in script else "words")
    assert container.runtime.name == "pyrun" or error
    container.unlike(runc="1.1 runs no poststop", crun="1.8 runs no poststop")
    assert trail(container) == ["poststop"]


def test_a_failure_ends_the_row(container: Container) -> None:
    container.hook("prestart", "exit 1")
    container.hook("prestart", f"echo no >> {container.path}/trail")
    container.hook("createRuntime", f"echo no >> {container.path}/trail")
    container.refused("/hooks/prestart/0")
    assert trail(container) == []


def test_a_failing_start_container_hook(container: Container) -> None:
    """MUST 14: start fails, the program does not run."""
    trace(container, "poststop")
    container.hook("startContainer", "echo words; exit 3")
    container.sh("echo program >> /bundle/trail")
    container.create()
    done = container.runtime("start", container.id)
    assert done.code == 1
    assert container.runtime.name != "pyrun" or ("/hooks/startContainer/0" in done.err and "words" in done.err)
    assert not container.exists() or container.status == "stopped"
    assert "program" not in trail(container)


def test_a_failing_poststart_hook(container: Container) -> None:
    """MUST 16: start fails, the program is ended."""
    container.hook("poststart", "echo words; exit 3")
    container.sh("sleep 1000")
    container.create()
    pid = container.pid
    done = container.runtime("start", container.id)
    container.unlike(crun="1.8 only warns", runc="1.1 leaves it running")
    assert done.code == 1
    assert "/hooks/poststart/0" in done.err
    assert container.wait(pid) == -9
    assert not container.exists() or container.status == "stopped"


def test_a_failing_poststop_hook_is_a_warning(container: Container) -> None:
    """MUST 18: and the others still run."""
    container.hook("poststop", "echo words; exit 3")
    trace(container, "poststop")
    container.create()
    done = container.runtime("delete", container.id)
    container.unlike(runc="1.1 stops at the first", crun="")
    assert done.code == 0
    assert container.runtime.name != "pyrun" or "level=warning" in done.err
    assert trail(container) == ["poststop"]
    assert not container.exists()


@pytest.mark.parametrize("kind", AT_CREATE)
def test_a_timeout_kills_the_group(container: Container, kind: str) -> None:
    container.unlike(runc="1.1 leaves its children", crun="1.8 leaves its children")
    container.hook(kind, "sleep 1000 & sleep 1000", timeout=1)
    container.refused(f"/hooks/{kind}/0", "took longer than its timeout of 1 s")


def test_a_hook_may_leave_a_child(container: Container) -> None:
    """One that keeps the pipe open: the hook is over when its process is."""
    container.unlike(runc="1.1 waits for it")
    container.hook("prestart", f"sleep 1000 & echo $! > {container.path}/child")
    assert container.run("true").code == 0
    child = int((container.path / "child").read_text())
    os.kill(child, 9)
    container.wait(child)


@pytest.mark.parametrize(
    ("path", "words"), [("/no/such", "no such file or directory"), ("/etc/passwd", "permission denied")]
)
@pytest.mark.parametrize("kind", AT_CREATE)
def test_a_hook_that_cannot_run(container: Container, kind: str, path: str, words: str) -> None:
    container.config["hooks"] = {kind: [{"path": path}]}
    container.refused(f"/hooks/{kind}/0", words)


def test_a_hook_that_reads_nothing(container: Container) -> None:
    """More state than a pipe holds, and nobody at the other end."""
    container.config["annotations"] = {f"com.example.{i}": "x" * 1000 for i in range(200)}
    container.hook("prestart", "exec 0<&-; exit 0")
    container.hook("prestart", f"wc -c > {container.path}/size")
    assert container.run("true").code == 0
    assert int((container.path / "size").read_text()) > 200_000


def test_a_hook_that_talks_much(container: Container) -> None:
    container.hook("prestart", "dd if=/dev/zero bs=1000 count=1000 2>/dev/null; echo words; exit 1")
    container.refused("/hooks/prestart/0", "words")


def test_hooks_see_the_containers_pid(container: Container) -> None:
    """As network hooks do: they enter its network namespace by it."""
    pid = 'pid=$(sed "s/.*\\"pid\\": *\\([0-9]*\\).*/\\1/")'
    container.hook("createRuntime", f"{pid}; readlink /proc/$pid/ns/net > {container.path}/net")
    container.create()
    assert (container.path / "net").read_text().strip() == os.readlink(f"/proc/{container.pid}/ns/net")


def test_the_relative_path_of_a_hook(container: Container) -> None:
    """MUST 63."""
    container.config["hooks"] = {"prestart": [{"path": "bin/true"}]}
    container.unlike(crun="")
    container.refused("/hooks/prestart/0/path", "absolute")


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_timeout_that_is_none(container: Container, timeout: int) -> None:
    """MUST 64."""
    container.unlike(runc="1.1 takes it", crun="1.8 takes it")
    container.hook("prestart", "true", timeout=timeout)
    container.refused("/hooks/prestart/0/timeout")


def test_hooks_in_a_user_namespace(container: Container) -> None:
    container.unlike(runc="1.1", crun="1.8")
    container.user_namespace()
    container.path.chmod(0o711)
    log = Path(container.path / "inside")
    log.mkdir()
    os.chown(log, 100000, 100000)
    container.mount("/inside", "bind", str(log), "rbind")
    container.hook("startContainer", "id -u > /inside/id")
    container.hook("createContainer", "exit 0")
    assert container.run("true").code == 0
    assert (log / "id").read_text() == "0\n"
