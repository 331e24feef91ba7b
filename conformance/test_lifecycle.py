"""create, start, state, kill, delete (runtime.md "Operations")."""

from __future__ import annotations

import os
import re
import select
import signal as signals
from collections.abc import Callable

import pytest

from conformance.harness import WAITING, Container, Runtime, hear

pytestmark = pytest.mark.systemd

STATE = {"ociVersion": str, "id": str, "status": str, "pid": int, "bundle": str, "annotations": dict}


@pytest.mark.must(4, 5, 15, 17, 21, 24, 27, 40)
def test_the_whole_life(container: Container) -> None:
    container.create()
    assert container.status == "created"
    pid = up_from_created(container)
    assert container.status == "stopped"
    assert container.state()["pid"] == 0
    container.delete()
    assert not os.path.exists(f"/proc/{pid}")
    done = container.runtime("state", container.id)
    assert done.code != 0
    assert "does not exist" in done.err or "No such file" in done.err


def up_from_created(container: Container) -> int:
    pid = container.pid
    assert container.start_and_wait() == 0
    return pid


@pytest.mark.must(9, 15, 29, 33)
def test_create_does_not_run_the_program(container: Container) -> None:
    container.config["root"]["readonly"] = False
    container.sh("touch /ran")
    container.create()
    assert not (container.rootfs / "ran").exists()
    assert container.start_and_wait() == 0
    assert (container.rootfs / "ran").exists()


@pytest.mark.must(37)
def test_running_and_killed_by_name(container: Container) -> None:
    pid = container.up()
    assert container.status == "running"
    container.kill("SIGTERM")
    assert container.wait(pid) == 3
    assert container.status == "stopped"


@pytest.mark.must(6)
@pytest.mark.parametrize("how", ["ends", "is killed", "is killed when created"])
def test_only_the_defined_states(container: Container, how: str) -> None:
    """Words of a runtime's own are for states that the spec does not define: these have theirs."""
    assert not container.exists()
    container.sh(WAITING)
    container.create()
    pid = container.pid
    assert container.status == "created"
    if how != "is killed when created":
        container.start()
        assert container.status == "running"
        os.kill(pid, signals.SIGSTOP)
        assert container.status == "running"
        os.kill(pid, signals.SIGCONT)
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signals.SIGTERM if how == "ends" else signals.SIGKILL)
    assert select.select([pidfd], [], [], 20)[0]
    os.close(pidfd)
    assert container.status == "stopped"  # nobody has waited for it
    os.waitpid(pid, 0)
    assert container.status == "stopped"


@pytest.mark.must(36)
def test_kill_of_a_stopped_container(container: Container) -> None:
    container.create()
    container.start_and_wait()
    done = container.runtime("kill", container.id, "KILL")
    assert done.code != 0


@pytest.mark.must(32)
def test_a_second_start(container: Container) -> None:
    """An error, without effect."""
    pid = container.up()
    done = container.runtime("start", container.id)
    assert done.code != 0
    assert (container.status, container.pid) == ("running", pid)


@pytest.mark.must(39)
def test_delete_of_a_running_container(container: Container) -> None:
    """An error, without effect."""
    pid = container.up()
    done = container.runtime("delete", container.id)
    assert done.code != 0
    assert (container.status, container.pid) == ("running", pid)
    container.delete("--force")
    assert not container.exists()
    assert container.wait(pid) == -9


@pytest.mark.parametrize("verb", [pytest.param("state", marks=pytest.mark.must(23)), "start", "kill", "delete"])
def test_an_unknown_id(runtime: Runtime, verb: str) -> None:
    done = runtime(verb, "unknown")
    assert done.code != 0
    assert done.out == ""
    assert done.err


@pytest.mark.must(26)
def test_a_taken_id(container: Container) -> None:
    container.create()
    pid = container.pid
    assert container.runtime("create", "--bundle", container.path, container.id).code != 0
    assert (container.status, container.pid) == ("created", pid)


@pytest.mark.must(10)
def test_later_edits_of_the_config_have_no_effect(container: Container) -> None:
    container.sh("echo first; hostname")
    container.config["hostname"] = "before"
    read, write = os.pipe()
    container.create(stdout=write)
    os.close(write)
    container.sh("echo second")
    container.config["hostname"] = "after"
    container.write()
    container.start_and_wait()
    assert hear(read) == b"first\nbefore\n"
    os.close(read)


@pytest.mark.must(10)
def test_the_config_is_not_needed_after_create(container: Container) -> None:
    container.sh("echo first")
    read, write = os.pipe()
    container.create(stdout=write)
    os.close(write)
    (container.path / "config.json").unlink()
    assert container.start_and_wait() == 0
    assert hear(read) == b"first\n"
    os.close(read)


@pytest.mark.must(10)
def test_later_edits_of_the_config_are_nothing_to_exec(container: Container) -> None:
    container.process["env"].append("WHEN=before")
    container.up()
    container.process["env"][-1] = "WHEN=after"
    container.process["cwd"] = "/tmp"
    container.write()
    assert container.runtime.ok("exec", container.id, "/bin/sh", "-c", "echo $WHEN; pwd") == "before\n/\n"


@pytest.mark.must(33)
@pytest.mark.parametrize("text", ["#!/no/such\n", "\x7fELF nonsense", ""], ids=["interpreter", "ELF", "empty"])
def test_a_program_that_cannot_be_executed(container: Container, text: str) -> None:
    """It can be found and has its mode: execve itself refuses it, which start has to say at the latest."""
    container.script("/program", text)
    container.args = ["/program"]
    container.write()
    done = container.runtime("create", "--bundle", container.path, container.id)
    if done.code == 0:
        done = container.runtime("start", container.id)
    assert done.code != 0
    assert done.err


@pytest.mark.must(4, 5, 7, 24)
def test_the_state_is_valid(container: Container) -> None:
    container.config["annotations"] = {"com.example.key": "value"}
    container.create()
    state = container.state()
    assert {key: type(value) for key, value in state.items()}.items() >= STATE.items()
    assert re.fullmatch(r"\d+\.\d+\.\d+([-+].*)?", state["ociVersion"])
    assert state["id"] == container.id
    assert state["annotations"] == {"com.example.key": "value"}
    assert state["bundle"] == str(container.path)
    assert os.path.exists(f"/proc/{state['pid']}")


@pytest.mark.must(28, 34)
def test_without_a_process_start_fails(container: Container) -> None:
    """The missing program is an error of start, as create does not look at it."""
    del container.config["process"]
    container.create()
    assert container.status == "created"
    done = container.runtime("start", container.id)
    assert done.code != 0
    container.delete()


@pytest.mark.deviates
@pytest.mark.must(39)
def test_delete_of_a_created_container(container: Container) -> None:
    """The letter of the spec; the runtimes in use kill it, and their callers rely on that."""
    container.create()
    pid = container.pid
    assert container.runtime("delete", container.id).code != 0
    assert (container.status, container.pid) == ("created", pid)


@pytest.mark.must(19, 32, 36)
@pytest.mark.parametrize("verb", ["start", "kill"])
def test_a_stopped_container_stays_stopped(container: Container, verb: str) -> None:
    container.create()
    assert container.start_and_wait() == 0
    before = container.state()
    assert container.runtime(verb, container.id).code != 0
    assert container.state() == before
    container.delete()


@pytest.mark.parametrize(
    "verb",
    [
        pytest.param(verb, marks=pytest.mark.must(number))
        for verb, number in {"state": 22, "create": 25, "start": 31, "kill": 35, "delete": 38}.items()
    ],
)
def test_without_an_id(container: Container, verb: str) -> None:
    container.write()
    assert container.runtime(verb, cwd=container.path).code != 0
    assert container.runtime.ids() == []


@pytest.mark.must(25)
def test_create_without_a_bundle(container: Container) -> None:
    assert container.runtime("create", "--bundle", container.path / "none", container.id).code != 0
    assert container.runtime("create", container.id, cwd="/").code != 0
    assert not container.exists()


@pytest.mark.must(1)
def test_the_config_has_its_name(container: Container) -> None:
    container.write()
    (container.path / "config.json").rename(container.path / "Config.json")
    assert container.runtime("create", "--bundle", container.path, container.id).code != 0
    assert not container.exists()


@pytest.mark.must(26)
@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "../a"], ids=repr)
def test_an_invalid_id(container: Container, name: str) -> None:
    container.write()
    before = sorted(container.path.parent.rglob("*"))
    done = container.runtime("create", "--bundle", container.path, "--", name)
    if done.code == 0:
        container.runtime("delete", "--force", "--", name)
    assert done.code != 0
    assert [path for path in sorted(container.path.parent.rglob("*")) if path.is_dir()] == [
        path for path in before if path.is_dir()
    ] + ([container.runtime.root] if container.runtime.root.exists() else [])


@pytest.mark.must(3, 21, 37)
@pytest.mark.parametrize(
    "signal", ["TERM", "15", "USR1", "10", "USR2", "HUP", "INT", "QUIT", "ALRM", "PIPE", "TRAP", "WINCH", "CONT", "34"]
)
def test_kill_delivers_what_is_asked_for(container: Container, signal: str) -> None:
    """Every one that a program can catch, by its name and by its number."""
    number = int(signal) if signal.isdigit() else signals.Signals["SIG" + signal].value
    pid = container.up(f'trap "exit 3" {number}; echo up; while true; do sleep 0.01; done')
    container.kill(signal)
    assert container.wait(pid) == 3


@pytest.mark.must(37)
def test_kill_of_a_created_container(container: Container) -> None:
    container.create()
    pid = container.pid
    container.kill("KILL")
    assert container.wait(pid) == -9
    assert container.status == "stopped"


@pytest.mark.must(8, 19, 30)
def test_what_fails_can_be_tried_again(container: Container) -> None:
    """The same id, the same bundle, once the config is right."""
    container.mount("/tmp", "nonsense", "nonsense")
    container.refused()
    container.without_mount("/tmp")
    container.create()
    assert container.start_and_wait() == 0
    container.delete()


@pytest.mark.must(17, 40)
def test_an_id_can_be_used_again(container: Container) -> None:
    for _ in range(2):
        container.create()
        assert container.start_and_wait() == 0
        container.delete()


@pytest.mark.must(41)
def test_delete_leaves_the_bundle(container: Container) -> None:
    (container.path / "more").write_text("mine")
    container.sees("true")
    assert (container.path / "more").read_text() == "mine"
    assert (container.path / "config.json").exists()
    assert (container.rootfs / "bin/busybox").exists()


@pytest.mark.must(4)
def test_ids_are_unique(new_container: Callable[[], Container]) -> None:
    first, second = new_container(), new_container()
    first.create()
    second.create()
    assert first.state()["id"] != second.state()["id"]
    second.id = first.id
    second.write()
    assert second.runtime("create", "--bundle", second.path, first.id).code != 0
    assert first.state()["bundle"] == str(first.path)
