"""create, start, state, kill, delete, run, list (runtime.md "Operations")."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Container, Runtime

pytestmark = [pytest.mark.guest, pytest.mark.systemd]


def test_kill_of_a_stopped_container(container: Container) -> None:
    container.create()
    container.start_and_wait()
    done = container.runtime("kill", container.id, "KILL")
    assert done.code == 1
    if container.runtime.name != "crun":
        assert "container not running" in done.err


def test_signal_0_asks_whether_it_runs(container: Container) -> None:
    container.create()
    container.kill("0")
    pid = container.pid
    container.kill("KILL")
    container.wait(pid)
    for name in ("0", "TERM", "KILL"):
        done = container.runtime("kill", container.id, name)
        assert done.code == 1
        assert "container not running" in done.err or container.runtime.name == "crun"


def test_ps_of_a_stopped_container(container: Container) -> None:
    container.unlike(runc="1.1 says container not running", crun="1.8 prints nothing")
    container.create()
    pid = container.pid
    container.kill()
    container.wait(pid)
    assert container.runtime.ok("ps", container.id).split()[:2] == ["UID", "PID"]
    assert container.runtime.ok("ps", "--format", "json", container.id).strip() == "[]"


@pytest.mark.parametrize("name", ["SIGNOTHING", "00", "65", "-1", "9 ", ""])
def test_kill_with_no_such_signal(container: Container, name: str) -> None:
    container.create()
    if container.runtime.name != "pyrun":
        pytest.skip("runc takes any number, crun 1.8 whatever there is")
    done = container.runtime("kill", "--", container.id, name)
    assert done.code == 1
    assert container.status == "created"


@pytest.mark.pyrun_only("start of a container that has ended: runc hangs on some kernels, crun has other words")
def test_start_of_a_killed_container(container: Container) -> None:
    container.create()
    pid = container.pid
    os.kill(pid, 9)
    container.wait(pid)
    done = container.runtime("start", container.id)
    assert done.code == 1
    assert "cannot start a container that has stopped" in done.err


def test_a_second_start(container: Container) -> None:
    """MUST 32: an error, without effect."""
    pid = container.up()
    done = container.runtime("start", container.id)
    assert done.code == 1
    if container.runtime.name != "crun":
        assert "cannot start an already running container" in done.err
    assert (container.status, container.pid) == ("running", pid)


def test_delete_of_a_running_container(container: Container) -> None:
    """MUST 39: an error, without effect."""
    pid = container.up()
    done = container.runtime("delete", container.id)
    assert done.code == 1
    if container.runtime.name != "crun":
        assert f"cannot delete container {container.id} that is not stopped: running" in done.err
    assert (container.status, container.pid) == ("running", pid)
    container.delete("--force")
    assert not container.exists()
    assert container.wait(pid) == -9


def test_delete_of_a_created_container(container: Container) -> None:
    """Against MUST 39, as with runc and crun: containerd relies on it."""
    container.create()
    pid = container.pid
    container.delete()
    assert container.wait(pid) == -9
    assert not container.exists()


def test_delete_force_of_an_unknown_container(runtime: Runtime) -> None:
    assert runtime("delete", "--force", "unknown") == runtime("delete", "-f", "unknown")
    assert runtime("delete", "--force", "unknown").code == 0


@pytest.mark.parametrize("verb", ["state", "start", "kill", "delete"])
def test_an_unknown_id(runtime: Runtime, verb: str) -> None:
    """MUST 23 and its like."""
    done = runtime(verb, "unknown")
    assert (done.code, done.out) == (1, "")
    assert "does not exist" in done.err or runtime.name == "crun"


def test_a_taken_id(container: Container) -> None:
    """MUST 26."""
    container.create()
    pid = container.pid
    container.refused("container with given ID already exists", keep=True)
    assert (container.status, container.pid) == ("created", pid)


def test_a_pid_file_that_cannot_be_written(container: Container) -> None:
    container.write()
    done = container.runtime("create", "--bundle", container.path, "--pid-file", "/none/pid", container.id)
    assert done.code == 1
    assert "/none/" in done.err
    assert not container.exists()


@pytest.mark.pyrun_only("a flag of crun's, in another place there")
def test_another_config_file(container: Container) -> None:
    container.sh("exit 7")
    container.write()
    (container.path / "config.json").rename(container.path / "other.json")
    done = container.runtime("run", "--bundle", container.path, "--config", container.path / "other.json", container.id)
    assert done.code == 7


def test_the_state_folder_is_closed_to_others(container: Container) -> None:
    container.create()
    root = container.runtime.root
    assert root.stat().st_mode & 0o777 == 0o700
    for file in (root / container.id).iterdir():
        assert container.runtime.name != "pyrun" or file.stat().st_mode & 0o077 == 0, file


def test_list(new_container: Callable[[], Container], runtime: Runtime) -> None:
    containers = [new_container(), new_container()]
    for container in containers:
        container.create()
    rows = [line.split() for line in runtime.ok("list").splitlines()]
    if runtime.name != "crun":
        assert rows[0] == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    for container in containers:
        state = container.state()
        assert [container.id, str(state["pid"]), "created", str(container.path)] in [row[:4] for row in rows]
    assert sorted(runtime.ok("list", "--quiet").split()) == sorted(c.id for c in containers)
    listed: list[dict[str, Any]] = json.loads(runtime.ok("list", "--format", "json"))
    assert sorted(state["id"] for state in listed) == sorted(c.id for c in containers)


@pytest.mark.pyrun_only("about its own store")
def test_list_of_many(container: Container) -> None:
    """Several processes look at them, if there are CPUs: each comes once, in order; a broken one hides nobody."""
    runtime, name = container.runtime, container.id
    container.create()
    copies = [runtime.root / f"copy-{i:03}" for i in range(200)]
    try:
        for copy in copies:
            copy.mkdir(mode=0o711)
            state = {**json.loads((runtime.root / name / "state.json").read_text()), "id": copy.name}
            (copy / "state.json").write_text(json.dumps(state))
        for broken in (copies[20], copies[180]):
            (broken / "state.json").write_text("{}")
        done = runtime("list", "--quiet")
        expected = sorted({name, *(copy.name for copy in copies)} - {"copy-020", "copy-180"})
        assert done.out.split() == expected
        said = sorted(done.err.splitlines(), key=lambda line: line.partition(" msg=")[2])
        assert [line.count("container copy-020: state.json is broken") for line in said] == [1, 0]
        assert [line.count("container copy-180: state.json is broken") for line in said] == [0, 1]
    finally:
        for copy in copies:
            shutil.rmtree(copy)


def test_list_of_nothing(runtime: Runtime) -> None:
    runtime.root.mkdir()
    assert runtime.ok("list", "--format=json").split() == (["[", "]"] if runtime.name == "crun" else ["null"])
    assert runtime.ok("list", "-q") == ""
    if runtime.name != "crun":
        assert runtime.ok("list").split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]


def test_run_keep(container: Container) -> None:
    if container.runtime.name != "pyrun" and "--keep" not in container.runtime("run", "--help").out:
        pytest.skip("too old for --keep")
    assert container.run("exit 5", "--keep").code == 5
    assert container.status == "stopped"
    container.delete()


@pytest.mark.pyrun_only("runc and crun return 0")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.write_text("#!/no/such/interpreter\n"), "ENOENT (no such file or directory)"),
        (lambda file: file.chmod(0o644), "EACCES (permission denied)"),
        (lambda file: file.write_text("no program\n"), "ENOEXEC (exec format error)"),
        (lambda file: file.unlink(), "ENOENT (no such file or directory)"),
    ],
    ids=["no interpreter", "not executable", "no program", "gone"],
)
def test_start_says_when_execve_fails(container: Container, change: Callable[[Any], None], words: str) -> None:
    file = container.script("/bin/program", "#!/bin/sh\n")
    container.args = ["/bin/program"]
    container.create()
    change(file)
    done = container.runtime("start", container.id)
    assert done.code == 1
    assert words in done.err
    assert "/process/args/0" in done.err
    assert container.status == "stopped"
    container.delete()


@pytest.mark.pyrun_only("runc and crun refuse it at create")
def test_without_a_process_start_fails(container: Container) -> None:
    """MUST 34; create works."""
    del container.config["process"]
    container.create()
    assert container.status == "created"
    done = container.runtime("start", container.id)
    assert done.code == 1
    assert "cannot start a container without a process" in done.err
    container.delete()


@pytest.mark.pyrun_only("peers have no lock")
def test_two_commands_at_once(container: Container) -> None:
    """One of two starts wins; one of two deletes removes it; both end."""
    container.sh("sleep 1000")
    container.create()
    starts = [subprocess.Popen(container.runtime.command("start", container.id), stderr=-1) for _ in range(2)]
    said = [start.communicate(timeout=20)[1] for start in starts]
    assert sorted(start.returncode for start in starts) == [0, 1], said
    assert container.status == "running"
    deletes = [
        subprocess.Popen(container.runtime.command("delete", "--force", container.id), stderr=-1) for _ in range(4)
    ]
    said = [delete.communicate(timeout=20)[1] for delete in deletes]
    assert [delete.returncode for delete in deletes] == [0] * 4, said
    assert not container.exists()


@pytest.mark.pyrun_only("peers have no lock")
def test_two_creates_at_once(container: Container) -> None:
    container.write()
    command = container.runtime.command("create", "--bundle", container.path, container.id)
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    creates = []
    for number in range(4):
        with open(container.path / f"error-{number}", "wb") as error:
            creates.append(subprocess.Popen(command, stderr=error, **streams))
    codes = [create.wait(20) for create in creates]
    assert sorted(codes) == [0, 1, 1, 1]
    assert container.status == "created"


@pytest.mark.pyrun_only("what is broken differs")
@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "x"}', "\x00"])
def test_delete_force_takes_broken_state(container: Container, text: str) -> None:
    container.write()
    folder = container.runtime.root / container.id
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(text)
    for verb in ("state", "start", "kill", "delete"):
        done = container.runtime(verb, container.id)
        assert done.code == 1
        assert len(done.err.splitlines()) == 1, done.err
        assert "delete --force removes it" in done.err
    container.delete("--force")
    assert not folder.exists()


@pytest.mark.pyrun_only("peers know no folder without state")
def test_delete_force_takes_a_folder_without_state(container: Container) -> None:
    (container.runtime.root / container.id).mkdir(parents=True)
    assert container.runtime("delete", container.id).code == 1
    container.delete("--force")
    assert container.runtime.ids() == []


def test_a_pid_that_was_given_to_another_is_not_ours(container: Container) -> None:
    """The start time tells them apart."""
    if container.runtime.name != "pyrun":
        pytest.skip("the state's shape is our own")
    container.create()
    pid = container.pid
    os.kill(pid, 9)
    container.wait(pid)
    file = container.runtime.root / container.id / "state.json"
    state = json.loads(file.read_text())
    time.sleep(0.05)  # starts are counted in hundredths of a second: not in init's
    with subprocess.Popen(["sleep", "1000"]) as other:
        try:
            state["pid"] = other.pid
            file.write_text(json.dumps(state))
            assert container.status == "stopped"
            assert container.runtime("kill", container.id, "KILL").code == 1
            container.delete("--force")
            assert other.poll() is None
        finally:
            other.kill()


@pytest.mark.parametrize("detach", [(), ("--detach",)], ids=["", "detached"])
def test_a_run_that_fails_leaves_no_zombie(container: Container, detach: tuple[str, ...]) -> None:
    """It would be its caller's to wait for, and until then the pid namespace that it is in can't end."""
    if detach:
        container.unlike(runc="1.1.5 says nothing of it", crun="1.8 says nothing of it")
    (container.rootfs / "bin/nonsense").write_bytes(b"no format that execve knows")
    (container.rootfs / "bin/nonsense").chmod(0o755)
    container.args = ["/bin/nonsense"]
    container.write()
    own = Path(f"/proc/self/task/{os.getpid()}/children")
    before = own.read_text()
    done = container.runtime("run", *detach, "--bundle", container.path, container.id)
    assert done.code != 0
    assert own.read_text() == before


def test_the_owner(container: Container) -> None:
    container.create()
    assert container.state()["owner"] == "root"
    assert container.runtime.ok("list").splitlines()[1].split()[-1] == "root"
