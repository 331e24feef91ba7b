"""As a service of systemd: readiness is passed on to it, and its sockets to the container; pidfds for who asks."""

from __future__ import annotations

import array
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Container


class Manager:
    """What systemd does: reads messages at a datagram socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address[0] == "@" else address)
        self.socket.settimeout(20)

    def read(self) -> bytes:
        """The next message; that a barrier has been read is told at once."""
        data, ancillary, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(4))
        for _, _, raw in ancillary:
            for fd in array.array("i", raw):
                os.close(fd)
        return data


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "manager") if request.param == "path" else f"@pyrun-test-{os.getpid()}")
    yield made
    made.socket.close()


def sender(container: Container, say: Path, then: str) -> None:
    """A program that says something on the way, then READY, then goes on."""
    shutil.copy(say, container.rootfs / "say")
    container.sh(f"/say STATUS=on-my-way; /say READY=1; {then}")


# busybox has no sd_notify.
SOURCE = r"""
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int argc, char **argv)
{
	struct sockaddr_un to = {AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	strncpy(to.sun_path, getenv("NOTIFY_SOCKET"), sizeof(to.sun_path) - 1);
	return argc != 2 || sendto(fd, argv[1], strlen(argv[1]), 0, (struct sockaddr *)&to, sizeof(to)) < 0;
}
"""


@pytest.fixture(scope="module")
def say(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("say")
    (folder / "say.c").write_text(SOURCE)
    subprocess.run(["gcc", "-static", "-o", folder / "say", folder / "say.c"], check=True)
    return folder / "say"


def start(container: Container, *command: str | Path, **environment: str) -> subprocess.Popen[str]:
    pipe: Any = subprocess.PIPE
    full = container.runtime.command(*command)
    env = {**os.environ, **environment}
    return subprocess.Popen(full, env=env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.pyrun_only("the peers send two messages, runc knows no abstract address")
def test_create_and_start(container: Container, manager: Manager, say: Path) -> None:
    sender(container, say, "exec sleep 1000")
    container.create(env={**os.environ, "NOTIFY_SOCKET": manager.address})
    pid = container.pid
    with start(container, "start", container.id, NOTIFY_SOCKET=manager.address) as started:
        assert manager.read().splitlines() == [b"READY=1", b"MAINPID=%d" % pid]
        assert manager.read() == b"BARRIER=1"
        assert started.wait(20) == 0
    container.delete("--force")


@pytest.mark.pyrun_only("the peers send two messages")
def test_run_in_the_foreground(container: Container, manager: Manager, say: Path) -> None:
    sender(container, say, "echo done; exit 5")
    container.write()
    arguments = ("run", "--bundle", container.path, container.id)
    with start(container, *arguments, NOTIFY_SOCKET=manager.address) as running:
        assert manager.read().startswith(b"READY=1\nMAINPID=")
        assert running.wait(20) == 5
        assert running.stdout and running.stdout.read() == "done\n"
    assert not container.exists()


@pytest.mark.pyrun_only("the peers send two messages")
def test_all_is_heard_of_a_program_that_has_ended(container: Container, manager: Manager, say: Path) -> None:
    """It says two things and ends before anybody listens: a hook holds `start` until then."""
    sender(container, say, "exit 5")
    ended = "pid=$(grep -o '\"pid\":[0-9]*' | cut -d: -f2); while ! grep -q '^State:.Z' /proc/$pid/status; do :; done"
    container.config["hooks"] = {"poststart": [{"path": "/bin/sh", "args": ["sh", "-c", ended], "timeout": 20}]}
    container.write()
    arguments = ("run", "--bundle", container.path, container.id)
    with start(container, *arguments, NOTIFY_SOCKET=manager.address) as running:
        assert manager.read().startswith(b"READY=1\nMAINPID=")
        assert running.wait(20) == 5


@pytest.mark.pyrun_only("the peers wait for ever")
def test_a_program_that_ends_without_a_word(container: Container, manager: Manager) -> None:
    container.sh("exit 3")
    environment = {**os.environ, "NOTIFY_SOCKET": manager.address}
    container.create(env=environment)
    assert container.runtime("start", container.id, env=environment).code == 0
    container.delete("--force")


@pytest.mark.pyrun_only("about pyrun's folder")
def test_the_socket_is_all_that_is_there(container: Container, manager: Manager) -> None:
    """It can't be taken away, nor anything put beside it; and without a start that listens there is none."""
    container.user_namespace()
    script = "touch /run/notify/x 2>&1; rm /run/notify/notify.sock 2>&1; ls /run/notify"
    said = container.run(script, env={**os.environ, "NOTIFY_SOCKET": manager.address}).out
    assert said.count("Read-only file system") == 2
    assert said.endswith("notify.sock\n")


def test_sockets_come_first(container: Container) -> None:
    container.unlike(crun="1.8 passes LISTEN_FDS only without a LISTEN_PID")
    """Those of LISTEN_FDS are 3 and 4, what --preserve-fds names comes behind."""
    code = (
        "import os, sys\n"
        "for i in range(3):\n"
        "    read, write = os.pipe(); os.write(write, b'number %d\\n' % i); os.close(write); os.dup2(read, 50 + i)\n"
        "for i in range(3): os.dup2(50 + i, 3 + i)\n"
        "os.closerange(6, 100)\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    container.sh('cat <&3; cat <&4; cat <&5; echo "$LISTEN_FDS $LISTEN_PID"')
    container.write()
    command = container.runtime.command("run", "--preserve-fds", "1", "--bundle", container.path, container.id)
    command[0] = subprocess.check_output(["which", command[0]], text=True).strip()
    environment = {**os.environ, "LISTEN_FDS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, command)],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "number 0\nnumber 1\nnumber 2\n2 1\n", done


def test_sockets_of_somebody_else(container: Container) -> None:
    container.unlike(crun="1.8 does not look at LISTEN_PID")
    environment = {**os.environ, "LISTEN_FDS": "2", "LISTEN_PID": "1"}
    assert container.sees('echo "$LISTEN_FDS"; ls /proc/$$/fd; true', env=environment).split() == ["0", "1", "2"]


@pytest.mark.pyrun_only("its words")
def test_sockets_that_are_not_there(container: Container) -> None:
    container.write()
    environment = {**os.environ, "LISTEN_FDS": "2"}
    done = container.runtime("create", "--bundle", container.path, container.id, env=environment)
    assert done.code == 1
    assert "LISTEN_FDS: descriptor 3" in done.err
    assert not container.exists()


@pytest.mark.pyrun_only("too old for pidfd sockets")
def test_pidfds(container: Container, tmp_path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "pidfd"))
    listening.listen(4)
    flag = f"--pidfd-socket={tmp_path / 'pidfd'}"

    def received() -> tuple[bytes, int]:
        connection, _ = listening.accept()
        with connection:
            data, [(_, _, raw)], _, _ = connection.recvmsg(100, socket.CMSG_SPACE(4))
        [fd] = array.array("i", raw)
        for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
            if line.startswith("Pid:"):
                pid = int(line.split()[1])
        os.close(fd)
        return data, pid

    container.args = ["sleep", "1000"]
    container.create(flag)
    assert received() == (b"standard", container.pid)
    container.start()
    file = tmp_path / "pid"
    container.runtime.ok("exec", flag, "--detach", "--pid-file", file, container.id, "sleep", "1000")
    pid = int(file.read_text())
    assert received() == (b"setns", pid)
    os.kill(pid, 9)
    os.waitpid(pid, 0)  # while it isn't reaped, init does not end
    container.delete("--force")
    listening.close()


@pytest.mark.pyrun_only("too old for pidfd sockets")
def test_nobody_takes_the_pidfd(container: Container) -> None:
    container.write()
    done = container.runtime("create", "--pidfd-socket", "/nowhere", "--bundle", container.path, container.id)
    assert done.code == 1
    assert "send the pidfd" in done.err
    assert not container.exists()
