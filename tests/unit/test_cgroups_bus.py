"""What systemd's manager may answer, or not answer: with a bus of the test's own in its place."""

from __future__ import annotations

import errno
import os
import posix
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from errors import says
from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    Parser,
    new_error,
    new_method_return,
    new_signal,
)

from pyrun.cgroups.bus import Manager
from pyrun.cgroups.host import Hierarchies, Hierarchy
from pyrun.cgroups.systemd import SystemdCgroup
from pyrun.errors import CgroupError

JOB = "/org/freedesktop/systemd1/job/1"
RUN = "0123456789abcdef0123456789abcdef"  # an invocation ID
MANAGER = DBusAddress("/org/freedesktop/systemd1", interface="org.freedesktop.systemd1.Manager")
Answer = Callable[[Message], list[Message] | None]


class Bus:
    """Takes one caller at a time. answers: what is said to a call, by its member; None is silence. heard: what was
    called; stopped: the objects that Stop was called of."""

    def __init__(self, path: Path, answers: dict[str, Answer]) -> None:
        self.answers = {"Hello": lambda call: [new_method_return(call, "s", (":1.1",))], **answers}
        self.heard: list[str] = []
        self.stopped: list[str] = []
        self.properties: dict[str, Any] = {}
        self.path = path
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            with connection:
                self.talk(connection)

    def talk(self, connection: socket.socket) -> None:
        data = b""
        while b"BEGIN\r\n" not in data:
            data += connection.recv(4096)
        connection.sendall(b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\n")
        parser, serial = Parser(), 0
        parser.add_data(data.partition(b"BEGIN\r\n")[2])
        while True:
            message = parser.get_next_message()
            if message is None:
                data = connection.recv(4096)
                if not data:
                    return
                parser.add_data(data)
                continue
            member = message.header.fields[HeaderFields.member]
            self.heard.append(member)
            if member == "Stop":
                self.stopped.append(message.header.fields[HeaderFields.path])
            if member == "StartTransientUnit":
                self.properties = {name: value for name, (_, value) in message.body[2]}
            for answer in self.answers.get(member, lambda call: [new_method_return(call)])(message) or []:
                serial += 1
                connection.sendall(answer.serialise(serial=serial))

    def close(self) -> None:
        if self.listening.fileno() < 0:
            return
        self.path.unlink()
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join(10)


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bus]]:
    made: list[Bus] = []
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus")
    # `posix` has the environment as it was at the start.
    monkeypatch.setitem(__import__("posix").environ, b"DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus".encode())

    def make(**answers: Answer) -> Bus:
        made.append(Bus(tmp_path / "bus", answers))
        return made[-1]

    yield make
    for each in made:
        each.close()


def ended(result: str) -> Answer:
    """A job which has ended by the time that the caller is told of it."""

    def answer(call: Message) -> list[Message]:
        signal = new_signal(MANAGER, "JobRemoved", "uoss", (1, JOB, "x.scope", result))
        return [signal, new_method_return(call, "o", (JOB,))]

    return answer


def refused(name: str, words: str) -> Answer:
    return lambda call: [new_error(call, f"org.freedesktop.systemd1.{name}", "s", (words,))]


def gone(call: Message) -> list[Message]:
    return refused("NoSuchUnit", "Unit pyrun-box.scope not loaded.")(call) or []


def properties(description: str = "", run: str = RUN, **more: tuple[str, Any]) -> dict[str, Answer]:
    """What is known of the one unit that there is, and of the manager."""
    known = {
        "ControlGroup": ("s", "/above"),
        "Description": ("s", description),
        "InvocationID": ("ay", bytes.fromhex(run)),
        **more,
    }
    return {
        "GetUnit": lambda call: [new_method_return(call, "o", ("/org/freedesktop/systemd1/unit/x",))],
        "Get": lambda call: [new_method_return(call, "v", (known[call.body[1]],))],
    }


def scope(**more: Answer) -> dict[str, Answer]:
    """A manager that starts and stops as it is told."""
    return {**properties(), "StartTransientUnit": ended("done"), "Stop": ended("done"), **more}


def cgroup(tmp_path: Path, **more: Any) -> SystemdCgroup:
    """Its directory is there, since nobody makes it."""
    tree = tmp_path / "cgroup"
    tree.mkdir(exist_ok=True)
    made = SystemdCgroup(Hierarchies("v2", [Hierarchy((), str(tree), "/", "/")]), "box", **more)
    Path(str(made.path)).mkdir(parents=True, exist_ok=True)
    return made


def test_a_scope_is_started_and_stopped(bus: Callable[..., Bus], tmp_path: Path) -> None:
    fake = bus(**scope())
    made = cgroup(tmp_path)
    made.foresee()
    assert made.path == f"{tmp_path}/cgroup/above/system.slice/pyrun-box.scope"
    assert made.writes({"memory": {"limit": 1 << 20}})
    Path(made.path).mkdir(parents=True)
    made.create(4242)
    assert fake.properties | {"PIDs": [4242], "Slice": "system.slice", "MemoryMax": 1 << 20} == fake.properties
    assert fake.properties["Delegate"] is True
    SystemdCgroup.from_state(made.to_state()).destroy()
    # By what it is, not by its name, which may be another's by now.
    assert fake.stopped == [f"/org/freedesktop/systemd1/unit/_30{RUN[1:]}"]
    assert not Path(made.path).exists()


@pytest.mark.parametrize(("same", "stops"), [(True, 1), (False, 0)])
def test_a_create_that_died_half_way(bus: Callable[..., Bus], tmp_path: Path, same: bool, stops: int) -> None:
    """Whether the scope of that name is the container's: one of the same id elsewhere says all else alike."""
    made, other = cgroup(tmp_path), cgroup(tmp_path)
    heard = []
    for each in (made, other):
        fake = bus(**properties())
        each.foresee()
        each.close()
        fake.close()
        heard.append(each.to_state())
    assert heard[0] != heard[1]
    description = {row.name: row.value for row in (made if same else other)._properties(1)}["Description"]
    fake = bus(**properties(description), Stop=ended("done"))
    SystemdCgroup.from_state(heard[0]).destroy()
    assert (len(fake.stopped), fake.heard.count("Kill")) == (stops, stops)


def test_a_scope_of_another_with_the_name(bus: Callable[..., Bus], tmp_path: Path) -> None:
    """The directory is not the one that was made, nor the invocation: another's, and left alone."""
    answers = scope()
    fake = bus(**answers)
    made = cgroup(tmp_path)
    path = Path(str(made.path))
    made.create(1)
    path.rename(tmp_path / "old")
    path.mkdir()
    fake.answers |= properties(run=RUN[::-1])
    again = SystemdCgroup.from_state(made.to_state())
    assert (again.processes(), again.exists()) == ([], False)
    again.destroy()
    assert fake.stopped == []
    assert path.exists()


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"GetUnit": gone}, "start pyrun-box.scope: systemd says 'done', but there is no scope"),
        (properties(run=""), "start pyrun-box.scope: systemd says 'done', but there is no scope"),
    ],
)
def test_nothing_made_is_no_success(
    bus: Callable[..., Bus], tmp_path: Path, answers: dict[str, Answer], words: str
) -> None:
    """A job that is skipped for a condition is done."""
    bus(**scope(**answers))
    with pytest.raises(CgroupError, match=words) as caught:
        cgroup(tmp_path).create(1)
    assert caught.value.pointer == "/linux/cgroupsPath"
    says("systemd_skips", str(caught.value))


def test_a_scope_that_is_elsewhere(bus: Callable[..., Bus], tmp_path: Path) -> None:
    fake = bus(**scope())
    made = cgroup(tmp_path)
    Path(str(made.path)).rmdir()
    with pytest.raises(CgroupError, match=r"start pyrun-box\.scope: there is no such cgroup"):
        made.create(1)
    assert len(fake.stopped) == 1
    assert not Path(str(made.path)).exists()


@pytest.mark.parametrize("silent", ["Hello", "GetUnit", "Stop"])
def test_a_manager_that_is_busy_at_the_end(
    bus: Callable[..., Bus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    """The scope would live on under its name: so nothing is removed, and it can be tried again."""
    fake = bus(**scope())
    made = cgroup(tmp_path)
    made.create(1)
    usual, fake.answers[silent] = fake.answers.get(silent), lambda call: None
    with monkeypatch.context() as patch:
        patch.setattr(Manager.__init__, "__defaults__", (0.2,))
        with pytest.raises(CgroupError, match="has not answered within") as caught:
            SystemdCgroup.from_state(made.to_state()).destroy()
    assert caught.value.errno == errno.ETIMEDOUT
    assert "delete it again" in caught.value.hint
    assert Path(str(made.path)).exists()
    assert usual
    fake.answers[silent] = usual
    SystemdCgroup.from_state(made.to_state()).destroy()
    assert not Path(str(made.path)).exists()


def test_no_manager_any_more(bus: Callable[..., Bus], tmp_path: Path) -> None:
    fake = bus(**scope())
    made = cgroup(tmp_path)
    made.create(1)
    fake.close()
    SystemdCgroup.from_state(made.to_state()).destroy()
    assert not Path(str(made.path)).exists()


def test_an_annotation_does_not_raise_the_limit_of_tasks(bus: Callable[..., Bus], tmp_path: Path) -> None:
    bus(**properties(DefaultTasksMax=("t", 100)))
    made = cgroup(tmp_path, annotations={"org.systemd.property.TasksMax": "uint64 100"})
    made.foresee()
    made.close()
    with pytest.raises(CgroupError, match="TasksMax is above systemd's DefaultTasksMax, 100") as caught:
        cgroup(tmp_path, annotations={"org.systemd.property.TasksMax": "uint64 101"}).foresee()
    assert caught.value.pointer == "/annotations/org.systemd.property.TasksMax"


@pytest.mark.parametrize("result", ["failed", "timeout", "canceled"])
def test_a_job_that_fails(bus: Callable[..., Bus], tmp_path: Path, result: str) -> None:
    bus(StartTransientUnit=ended(result))
    with pytest.raises(CgroupError, match=f"start pyrun-box.scope: systemd says '{result}'") as caught:
        cgroup(tmp_path).create(1)
    says("systemd_refuses", str(caught.value))


def test_the_property_that_is_refused_is_named(bus: Callable[..., Bus], tmp_path: Path) -> None:
    bus(StartTransientUnit=refused("PropertyReadOnly", "Cannot set property OOMPolicy, or unknown property."))
    made = cgroup(tmp_path, annotations={"org.systemd.property.OOMPolicy": "'stop'"})
    with pytest.raises(CgroupError, match=r"start pyrun-box.scope: systemd says .*property OOMPolicy") as caught:
        made.create(1)
    assert caught.value.pointer == "/annotations/org.systemd.property.OOMPolicy"


def test_an_annotation_is_not_blamed_for_another_refusal(bus: Callable[..., Bus], tmp_path: Path) -> None:
    bus(StartTransientUnit=refused("UnitExists", "Unit pyrun-box.scope already exists."))
    with pytest.raises(CgroupError, match="already exists") as caught:
        cgroup(tmp_path, annotations={"org.systemd.property.SendSIGHUP": "true"}).create(1)
    assert caught.value.pointer == "/linux/cgroupsPath"


def test_a_scope_of_that_name_that_failed_is_taken_away(bus: Callable[..., Bus], tmp_path: Path) -> None:
    answers = iter([refused("UnitExists", "Unit pyrun-box.scope already exists."), ended("done")])
    fake = bus(**scope(StartTransientUnit=lambda call: next(answers)(call)))
    cgroup(tmp_path).create(1)
    assert fake.heard[2:5] == ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]


def test_a_scope_of_that_name_that_lives(bus: Callable[..., Bus], tmp_path: Path) -> None:
    bus(StartTransientUnit=refused("UnitExists", "Unit pyrun-box.scope already exists."))
    with pytest.raises(CgroupError, match="already exists"):
        cgroup(tmp_path).create(1)


@pytest.mark.parametrize("member", ["GetUnit", "Stop"])
def test_a_scope_that_is_gone_is_stopped(bus: Callable[..., Bus], tmp_path: Path, member: str) -> None:
    fake = bus(**scope())
    made = cgroup(tmp_path)
    made.create(1)
    fake.answers[member] = gone
    SystemdCgroup.from_state(made.to_state()).destroy()
    assert not Path(str(made.path)).exists()


def test_a_stop_that_is_refused(bus: Callable[..., Bus], tmp_path: Path) -> None:
    fake = bus(**scope())
    made = cgroup(tmp_path)
    made.create(1)
    fake.answers["Stop"] = refused("Shutdown", "no")
    with pytest.raises(CgroupError, match="systemd says 'no'"):
        SystemdCgroup.from_state(made.to_state()).destroy()
    assert Path(str(made.path)).exists()


@pytest.mark.parametrize("member", ["Hello", "StartTransientUnit"])
def test_a_manager_that_never_answers(
    bus: Callable[..., Bus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: str
) -> None:
    bus(**{member: lambda call: None})
    monkeypatch.setattr(Manager.__init__, "__defaults__", (0.2,))
    began = time.monotonic()
    with pytest.raises(CgroupError, match=r"manager has not answered within 0\.2 s") as caught:
        cgroup(tmp_path).create(1)
    assert caught.value.errno == errno.ETIMEDOUT
    says("systemd_is_silent", str(caught.value))
    assert time.monotonic() - began < 5


def test_a_job_without_an_end(bus: Callable[..., Bus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bus(StartTransientUnit=lambda call: [new_method_return(call, "o", (JOB,))])
    monkeypatch.setattr(Manager.__init__, "__defaults__", (0.2,))
    with pytest.raises(CgroupError, match="has not answered"):
        cgroup(tmp_path).create(1)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user")
def test_a_bus_of_another_user(tmp_path: Path) -> None:
    """A directory that XDG_RUNTIME_DIR names may be anybody's."""
    tmp_path.chmod(0o777)
    said, ready = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.chdir(tmp_path)
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as server:
                server.bind("bus")
                server.listen()
                os.write(ready, b"x")
                server.accept()[0].recv(1)
        finally:
            os._exit(0)
    os.read(said, 1)
    try:
        with pytest.raises(CgroupError, match="who listens there is uid 65534"):
            Manager(True, {b"XDG_RUNTIME_DIR": bytes(tmp_path)})
    finally:
        os.waitpid(pid, 0)
        os.close(said)
        os.close(ready)


def test_no_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for address, words in (
        (f"unix:path={tmp_path}/none", "reach systemd on the system bus"),
        ("tcp:x", "reach systemd"),
    ):
        monkeypatch.setitem(posix.environ, b"DBUS_SYSTEM_BUS_ADDRESS", address.encode())
        with pytest.raises(CgroupError, match=words):
            cgroup(tmp_path).create(1)
