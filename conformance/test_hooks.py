"""All six hooks: when, where, with what, and what their failure means (config.md "POSIX-platform Hooks")."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from conformance.harness import HOOK_KINDS, Container, trace_hooks, trail

AT_CREATE = HOOK_KINDS[:3]
EACH_AT_CREATE = [
    pytest.param(kind, marks=pytest.mark.must(number)) for kind, number in zip(AT_CREATE, (11, 12, 13), strict=True)
]


def states(container: Container) -> dict[str, dict[str, Any]]:
    return {k: json.loads(f.read_text()) for k in HOOK_KINDS if (f := container.path / f"state-{k}").exists()}


@pytest.mark.must(9, 11, 12, 13, 14, 16, 18, 69, 70, 71, 72, 73, 74, 75)
def test_the_order(container: Container) -> None:
    trace_hooks(container, *HOOK_KINDS)
    container.sh("echo program >> /bundle/trail; sleep 1000")
    container.create()
    assert trail(container) == list(AT_CREATE)
    container.start()
    assert [word for word in trail(container) if word != "program"] == list(HOOK_KINDS[:5])
    container.delete("--force")
    assert trail(container)[-1] == "poststop"
    assert "program" in trail(container)


@pytest.mark.must(67)
def test_several_of_a_kind_run_in_order(container: Container) -> None:
    for number in range(3):
        container.hook("prestart", f"echo {number} >> {container.path}/trail")
    assert container.run("true").code == 0
    assert trail(container) == ["0", "1", "2"]


@pytest.mark.must(5, 68)
def test_the_state_on_stdin(container: Container) -> None:
    trace_hooks(container, *HOOK_KINDS)
    container.config["annotations"] = {"com.example.key": "value"}
    container.sh("sleep 1000")
    container.create()
    pid = container.pid
    container.start()
    container.delete("--force")
    seen = states(container)
    assert set(seen) == set(HOOK_KINDS)
    for kind, state in seen.items():
        assert (state["id"], state["bundle"]) == (container.id, str(container.path)), kind
        assert state["annotations"] == {"com.example.key": "value"}, kind
        assert state["ociVersion"].startswith("1."), kind
    pids = {kind: state.get("pid") for kind, state in seen.items()}
    assert pids["prestart"] == pids["createRuntime"] == pids["poststart"] == pid
    assert not pids["poststop"]


@pytest.mark.must(5)
@pytest.mark.parametrize("kind", ["createContainer", "startContainer"])
def test_the_pid_inside(container: Container, kind: str) -> None:
    """The one that is seen there."""
    trace_hooks(container, kind)
    assert container.run("true").code == 0
    assert states(container)[kind]["pid"] == 1


@pytest.mark.must(24, 68)
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        *((kind, "created") for kind in AT_CREATE),
        ("startContainer", "created"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ],
    ids=HOOK_KINDS,
)
def test_the_status_in_a_hook(container: Container, kind: str, status: str) -> None:
    """By the lifecycle's steps: a container is creating in the second; hooks are the third and later ones."""
    trace_hooks(container, kind)
    container.sh("sleep 1000")
    container.create()
    container.start()
    container.delete("--force")
    assert states(container)[kind]["status"] == status


@pytest.mark.must(65, 66)
@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "poststart", "poststop"])
def test_these_run_in_the_runtimes_namespaces(container: Container, kind: str) -> None:
    script = f"for n in mnt pid net uts ipc; do readlink /proc/self/ns/$n; done > {container.path}/namespaces"
    container.hook(kind, script)
    assert container.run("true").code == 0
    expected = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "pid", "net", "uts", "ipc")]
    assert (container.path / "namespaces").read_text().split() == expected


@pytest.mark.must(65, 66)
@pytest.mark.parametrize("kind", ["createContainer", "startContainer"])
def test_these_run_in_the_containers_namespaces(container: Container, kind: str) -> None:
    """The path is the runtime's for createContainer, the container's for startContainer."""
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


@pytest.mark.must(72)
def test_create_hooks_find_the_containers_mounts(container: Container) -> None:
    """Before pivot_root: createContainer sees them where the root lies on the host."""
    container.mount("/tmp", "tmpfs", "findme")
    container.hook("createContainer", f"grep findme /proc/self/mountinfo > {container.path}/seen")
    assert container.run("true").code == 0
    assert f" {container.rootfs}/tmp " in (container.path / "seen").read_text()


@pytest.mark.parametrize("kind", HOOK_KINDS)
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


@pytest.mark.parametrize("kind", HOOK_KINDS)
def test_no_environment(container: Container, kind: str) -> None:
    """As execve(2) with none: nothing of the runtime's own."""
    container.mount("/bundle", "bind", str(container.path), "rbind")
    folder = "/bundle" if kind == "startContainer" else str(container.path)
    container.hook(kind, f"exec < /proc/self/environ; /bin/cat > {folder}/environment")
    assert container.run("true", env={**os.environ, "LEAK": "1"}).code == 0
    assert (container.path / "environment").read_text() == ""


@pytest.mark.must(19)
@pytest.mark.parametrize("kind", EACH_AT_CREATE)
@pytest.mark.parametrize("script", ["echo out; echo words >&2; exit 3", "kill -9 $$"])
def test_a_failure_at_create(container: Container, kind: str, script: str) -> None:
    """An error that says what the hook said, no container, and the poststop hooks run."""
    container.hook(kind, script)
    container.refused()


@pytest.mark.parametrize("kind", EACH_AT_CREATE)
def test_a_failure_at_create_runs_poststop(container: Container, kind: str) -> None:
    trace_hooks(container, "poststop")
    container.hook(kind, "exit 3")
    container.refused()
    assert trail(container) == ["poststop"]


@pytest.mark.must(11)
def test_a_failure_ends_the_row(container: Container) -> None:
    container.hook("prestart", "exit 1")
    container.hook("prestart", f"echo no >> {container.path}/trail")
    container.hook("createRuntime", f"echo no >> {container.path}/trail")
    container.refused()
    assert trail(container) == []


@pytest.mark.must(14)
def test_a_failing_start_container_hook(container: Container) -> None:
    """Start fails, the program does not run."""
    trace_hooks(container, "poststop")
    container.hook("startContainer", "echo words; exit 3")
    container.sh("echo program >> /bundle/trail")
    container.create()
    done = container.runtime("start", container.id)
    assert done.code != 0
    assert not container.exists() or container.status == "stopped"
    assert "program" not in trail(container)


@pytest.mark.must(16)
def test_a_failing_poststart_hook(container: Container) -> None:
    """Start fails, the program is ended."""
    container.hook("poststart", "echo words; exit 3")
    container.sh("sleep 1000")
    container.create()
    pid = container.pid
    done = container.runtime("start", container.id)
    assert done.code != 0
    assert container.wait(pid) == -9
    assert not container.exists() or container.status == "stopped"


@pytest.mark.must(18, 20)
def test_a_failing_poststop_hook_is_a_warning(container: Container) -> None:
    """And the others still run."""
    container.hook("poststop", "echo words; exit 3")
    trace_hooks(container, "poststop")
    container.create()
    done = container.runtime("delete", container.id)
    assert done.code == 0
    assert trail(container) == ["poststop"]
    assert not container.exists()


@pytest.mark.parametrize("path", ["/no/such", "/etc/passwd"])
@pytest.mark.parametrize("kind", EACH_AT_CREATE)
def test_a_hook_that_cannot_run(container: Container, kind: str, path: str) -> None:
    container.config["hooks"] = {kind: [{"path": path}]}
    container.refused()


def test_a_hook_that_reads_nothing(container: Container) -> None:
    """More state than a pipe holds, and nobody at the other end."""
    container.config["annotations"] = {f"com.example.{i}": "x" * 1000 for i in range(200)}
    container.hook("prestart", "exec 0<&-; exit 0")
    container.hook("prestart", f"wc -c > {container.path}/size")
    assert container.run("true").code == 0
    assert int((container.path / "size").read_text()) > 200_000


@pytest.mark.must(5)
def test_hooks_see_the_containers_pid(container: Container) -> None:
    """As network hooks do: they enter its network namespace by it."""
    pid = 'pid=$(sed "s/.*\\"pid\\": *\\([0-9]*\\).*/\\1/")'
    container.hook("createRuntime", f"{pid}; readlink /proc/$pid/ns/net > {container.path}/net")
    container.create()
    assert (container.path / "net").read_text().strip() == os.readlink(f"/proc/{container.pid}/ns/net")


@pytest.mark.must(63)
def test_the_relative_path_of_a_hook(container: Container) -> None:
    container.config["hooks"] = {"prestart": [{"path": "bin/true"}]}
    container.refused()


@pytest.mark.must(64)
@pytest.mark.parametrize("timeout", [0, -1])
def test_a_timeout_that_is_none(container: Container, timeout: int) -> None:
    container.hook("prestart", "true", timeout=timeout)
    container.refused()


@pytest.mark.must(66)
def test_hooks_in_a_user_namespace(container: Container) -> None:
    container.user_namespace()
    container.path.chmod(0o711)
    log = container.path / "inside"
    log.mkdir()
    os.chown(log, 100000, 100000)
    container.mount("/inside", "bind", str(log), "rbind")
    container.hook("startContainer", "id -u > /inside/id")
    container.hook("createContainer", "exit 0")
    assert container.run("true").code == 0
    assert (log / "id").read_text() == "0\n"


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.must(*numbers))
        for kind, numbers in {"prestart": (69,), "createRuntime": (71,), "createContainer": (72,)}.items()
    ],
)
def test_before_the_root_changes(container: Container, kind: str) -> None:
    """The container's init exists, and its root is the host's still; a hook that runs inside has its own root."""
    pid = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')"
    container.hook(
        kind, f"{pid}; ls {'/' if kind == 'createContainer' else '/proc/$pid/root/'} > {container.path}/root"
    )
    assert container.run("true").code == 0
    assert "usr" in (container.path / "root").read_text().split()


@pytest.mark.must(75)
def test_poststop_comes_after_the_deletion(container: Container) -> None:
    container.hook("poststop", f"ls -d /sys/fs/cgroup/*/{container.id} > {container.path}/cgroups; true")
    container.linux["cgroupsPath"] = f"/{container.id}"
    assert container.run("true").code == 0
    assert (container.path / "cgroups").read_text() == ""
