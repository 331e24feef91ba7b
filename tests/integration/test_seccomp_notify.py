"""Calls that wait for an agent: it gets the listener of whatever runs inside, and what it answers holds."""

from __future__ import annotations

import array
import ctypes
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Container

pytestmark = pytest.mark.pyrun_only("the peers refuse some of these profiles, and hand over at another time")

# linux/seccomp.h
RECEIVE, SEND, CONTINUE = 0xC0502100, 0xC0182101, 1


class Agent:
    """Answers every call with `error` (0: let it happen), or never."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error = 0
        self.silent = False
        self.states: list[dict[str, Any]] = []
        self.calls: list[int] = []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(8)
        self.stop, self.stopped = os.pipe()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        listeners: list[int] = []
        while True:
            ready = select.select([self.socket.fileno(), self.stop, *([] if self.silent else listeners)], [], [])[0]
            if self.stop in ready:
                break
            if self.socket.fileno() in ready:
                listeners += self.accept()
            for listener in set(ready) & set(listeners):
                if not self.answer(listener):
                    listeners.remove(listener)
                    os.close(listener)
        for listener in listeners:
            os.close(listener)

    def accept(self) -> list[int]:
        connection, _ = self.socket.accept()
        with connection:
            data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(64))
            while more := connection.recv(65536):
                data += more
        self.states.append(json.loads(data))
        return [fd for _, _, raw in ancillary for fd in array.array("i", raw)]

    def answer(self, listener: int) -> bool:
        """False once nobody can ask any more."""
        poll = select.poll()
        poll.register(listener)
        events = poll.poll(0)
        if not events:  # who asked has been killed meanwhile
            return True
        if not events[0][1] & select.POLLIN:
            return False
        request = bytearray(80)
        try:
            fcntl.ioctl(listener, RECEIVE, request)
            identity, _, _, number = struct.unpack_from("<QIIi", request)
            self.calls.append(number)
            response = struct.pack("<QqiI", identity, 0, -self.error, 0 if self.error else CONTINUE)
            fcntl.ioctl(listener, SEND, response)
        except FileNotFoundError:  # who asked is gone
            return True
        return True

    def close(self) -> None:
        os.close(self.stopped)
        self.thread.join()
        os.close(self.stop)
        self.socket.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "agent")
    yield made
    made.close()


def notify(container: Container, agent: Agent, *names: str, **more: Any) -> None:
    rule = {"names": list(names), "action": "SCMP_ACT_NOTIFY"}
    container.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(agent.path),
        "syscalls": [rule],
        **more,
    }


@pytest.mark.parametrize("user", [False, True], ids=["", "in a user namespace"])
@pytest.mark.parametrize("flags", [None, ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]])
def test_what_the_agent_says_holds(container: Container, agent: Agent, flags: list[str] | None, user: bool) -> None:
    if user:
        container.user_namespace()
    notify(container, agent, "mkdir", "mkdirat", **({"flags": flags} if flags else {}))
    agent.error = 28
    assert "No space left" in container.sees("mkdir /dev/shm/x 2>&1; true")
    agent.error = 0
    container.id += "-again"
    assert container.sees("mkdir /dev/shm/x && ls /dev/shm") == "x"
    assert len(agent.states) == 2


@pytest.mark.parametrize(
    "names",
    [
        ["execve"],
        ["read"],
        ["write"],
        ["close"],
        ["openat", "dup3", "close_range", "rt_sigaction", "sendmsg", "recvmsg"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_no_call_of_the_runtimes_hangs(
    container: Container, agent: Agent, names: list[str], no_new_privileges: bool
) -> None:
    container.process["noNewPrivileges"] = no_new_privileges
    notify(container, agent, *names)
    assert container.sees("echo here") == "here"


def test_the_state_that_the_agent_gets(container: Container, agent: Agent) -> None:
    container.config["annotations"] = {"a": "b"}
    notify(container, agent, "acct", listenerMetadata="text")
    container.sh("read x < /dev/zero")
    container.create()
    pid = container.pid
    [state] = agent.states
    assert state == {
        "ociVersion": state["ociVersion"],
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": "text",
        "state": {
            "ociVersion": state["ociVersion"],
            "id": container.id,
            "status": "creating",
            "pid": pid,
            "bundle": str(container.path),
            "annotations": {"a": "b"},
        },
    }


def test_exec_has_a_listener_of_its_own(container: Container, agent: Agent) -> None:
    notify(container, agent, "mkdir", "mkdirat", "execve")
    container.args = ["sleep", "1000"]
    container.create()
    container.start()
    assert container.runtime.ok("exec", container.id, "sh", "-c", "mkdir /dev/shm/x && ls /dev/shm") == "x\n"
    agent.error = 28
    done = container.runtime("exec", container.id, "true")
    assert done.code == 255
    assert "ENOSPC" in done.err
    first, second, _ = agent.states
    assert first["state"]["pid"] == first["pid"] == second["state"]["pid"] == container.pid
    assert second["pid"] != container.pid
    assert second["state"]["status"] == "running"
    container.delete("--force")


def test_an_agent_that_lets_nothing_be_read(container: Container, agent: Agent) -> None:
    """exec itself waits behind the filter, but asks no agent."""
    notify(container, agent, "read")
    container.args = ["sleep", "1000"]
    container.create()
    container.start()
    agent.error = 28
    done = container.runtime("exec", container.id, "true")
    assert done.code == 0
    container.delete("--force")


def test_a_hook_inside_has_one_too(container: Container, agent: Agent) -> None:
    notify(container, agent, "mkdir", "mkdirat")
    container.hook("startContainer", "mkdir /dev/shm/hook")
    assert container.sees("ls /dev/shm") == "hook"
    assert [state["state"]["status"] for state in agent.states] == ["creating", "created"]


def test_an_agent_that_refuses_the_program(container: Container, agent: Agent) -> None:
    notify(container, agent, "execve")
    agent.error = 13
    done = container.run("true")
    assert done.code == 1
    assert "/process/args/0" in done.err
    assert not container.exists()


def test_an_agent_that_never_answers(container: Container, agent: Agent) -> None:
    """start waits, as it must; delete --force does not."""
    notify(container, agent, "execve")
    agent.silent = True
    container.create()
    command = container.runtime.command("start", container.id)
    start = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    status = Path(f"/proc/{container.pid}/syscall")
    execve = "59 " if os.uname().machine == "x86_64" else "221 "
    while not status.read_text().startswith(execve):
        assert start.poll() is None
    container.delete("--force")
    assert start.wait(20) is not None
    assert start.stderr
    start.stderr.close()


def test_an_agent_that_takes_nothing(container: Container, tmp_path: Path) -> None:
    """Its queue is full: an error after a while, not a wait for ever."""
    path = tmp_path / "full"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(0)
    first = socket.socket(socket.AF_UNIX)
    first.connect(str(path))
    try:
        rule = {"names": ["acct"], "action": "SCMP_ACT_NOTIFY"}
        container.linux["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": str(path),
            "syscalls": [rule],
        }
        container.refused("/linux/seccomp/listenerPath", "does not take it")
    finally:
        first.close()
        listening.close()


@pytest.mark.parametrize("path", ["/nowhere", "relative", "/" + "x" * 200])
def test_no_agent(container: Container, agent: Agent, path: str) -> None:
    notify(container, agent, "acct", listenerPath=path)
    container.refused("/linux/seccomp/listenerPath")


def test_a_filter_around_that_has_a_listener(container: Container, agent: Agent) -> None:
    """There can be but one: an error with the kernel's word, and nothing left."""
    notify(container, agent, "mkdir")
    container.write()
    filter_ = struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000)
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(filter_)
    program = struct.pack("<H6xQ", 1, ctypes.addressof(buffer))

    def load() -> None:
        libc.prctl(38, 1, 0, 0, 0)
        os.set_inheritable(libc.syscall(317, 1, 8, program), True)

    done = container.runtime("create", "--bundle", container.path, container.id, preexec_fn=load, close_fds=False)
    assert done.code == 1
    assert "EBUSY" in done.err
    assert not container.exists()
