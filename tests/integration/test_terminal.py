"""process.terminal: with a console socket, and relayed in the foreground."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest
from harness import Container, Listener, read_to_end


def read_until(master: int, wanted: str) -> str:
    said = ""
    while wanted not in said:
        assert select.select([master], [], [], 20)[0], said
        said += os.read(master, 4096).decode()
    return said


def started(container: Container, listener: Listener, script: str) -> str:
    """What the script writes to a terminal got through the socket."""
    container.process["terminal"] = True
    container.sh(script)
    container.create("--console-socket", str(listener.path))
    assert listener.receive()
    assert container.start_and_wait() == 0
    return listener.read_to_end()


def test_the_socket_gets_the_master(container: Container, listener: Listener) -> None:
    """One message, some data, one descriptor."""
    assert started(container, listener, "echo hello; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo tty") == "hello\ntty\n"


def test_a_socket_with_a_long_path(container: Container, tmp_path: Path) -> None:
    """Longer than an address can be (unix(7)): it is found all the same."""
    container.unlike(runc="1.1 hands the path to connect(2)")
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    fd = os.open(folder, os.O_PATH)
    listener = Listener(Path(f"/proc/self/fd/{fd}/socket"))
    os.close(fd)
    listener.path = folder / "socket"
    assert started(container, listener, "echo hello") == "hello\n"
    listener.close()


def test_tty_and_console(container: Container, listener: Listener) -> None:
    said = started(container, listener, "tty; stat -c %t /dev/console; echo x > /dev/console; echo y > /dev/tty")
    assert said == "/dev/pts/0\n88\nx\ny\n"


def test_it_is_the_controlling_terminal(container: Container, listener: Listener) -> None:
    container.process["terminal"] = True
    container.sh('trap "echo caught; exit 0" INT; echo up; while true; do sleep 0.01; done')
    container.create("--console-socket", str(listener.path))
    listener.receive()
    pid = container.pid
    container.start()
    read_until(listener.master, "up")
    os.write(listener.master, b"\x03")
    assert container.wait(pid) == 0
    assert "caught" in listener.read_to_end()


def test_the_console_size(container: Container, listener: Listener) -> None:
    container.process["consoleSize"] = {"height": 33, "width": 77}
    assert started(container, listener, "stty size") == "33 77\n"


def test_the_terminal_belongs_to_the_user(container: Container, listener: Listener) -> None:
    container.process["user"] = {"uid": 1000, "gid": 1000}
    assert started(container, listener, "stat -c %u $(tty); echo x > $(tty)") == "1000\nx\n"


def test_in_a_user_namespace(container: Container, listener: Listener) -> None:
    container.user_namespace()
    assert started(container, listener, "tty; stat -c %u /dev/pts/0") == "/dev/pts/0\n0\n"


def test_with_a_read_only_dev(container: Container, listener: Listener) -> None:
    container.unlike(runc="1.1 can't make /dev/console then")
    next(m for m in container.config["mounts"] if m["destination"] == "/dev")["options"].append("ro")
    assert started(container, listener, "stat -c %t /dev/console") == "88\n"


def test_no_terminal_no_console(container: Container) -> None:
    container.process["consoleSize"] = {"height": 33, "width": 77}  # MUST 53
    assert container.sees("[ -t 1 ] || ls /dev/console 2>&1 || true").endswith("No such file or directory")


@pytest.mark.parametrize(
    ("terminal", "verb", "socket_given", "words"),
    [
        (True, "create", False, "cannot allocate tty if"),
        (True, "run -d", False, "cannot allocate tty if"),
        (False, "create", True, "cannot use console socket if"),
        (False, "run", True, "cannot use console socket if"),
        (True, "run", True, "cannot use console socket if"),
    ],
)
def test_combinations_that_make_no_sense(
    container: Container, listener: Listener, terminal: bool, verb: str, socket_given: bool, words: str
) -> None:
    container.unlike(crun="1.8 takes some")
    container.process["terminal"] = terminal
    container.write()
    flags = ["--console-socket", str(listener.path)] if socket_given else []
    done = container.runtime(*verb.split(), "--bundle", container.path, *flags, container.id)
    assert done.code == 1
    assert words in done.err
    assert not container.exists()


def test_nobody_listens(container: Container) -> None:
    container.process["terminal"] = True
    container.write()
    done = container.runtime("create", "--bundle", container.path, "--console-socket", "/no/socket", container.id)
    assert done.code == 1
    assert "no such file or directory" in done.err
    assert not container.exists()


# In the foreground ----------------------------------------------------------------------------------------------------


PIPE: dict[str, Any] = {"stdout": subprocess.PIPE, "timeout": 20, "check": True}


def command(container: Container, script: str) -> list[str]:
    container.sh(script)
    container.write()
    return container.runtime.command("run", "--bundle", container.path, container.id)


class Foreground:
    """`run` under a pty of the test's."""

    def __init__(self, container: Container, script: str, rows: int = 24, columns: int = 80) -> None:
        container.process["terminal"] = True
        words = command(container, script)
        self.pid, self.master = pty.fork()
        if not self.pid:
            resize(0, rows, columns)
            try:
                os.execv(words[0], words)
            finally:
                os._exit(99)

    def end(self) -> tuple[int, str]:
        said = read_to_end(self.master)
        os.close(self.master)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), said


def resize(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def test_foreground_relay(container: Container) -> None:
    foreground = Foreground(container, 'tty; read line; echo "<$line>"; exit 7')
    read_until(foreground.master, "/dev/pts/0")
    os.write(foreground.master, b"typed\r")
    code, said = foreground.end()
    assert code == 7
    assert "typed" in said and "<typed>" in said


def test_much_output_arrives_whole(container: Container) -> None:
    code, said = Foreground(container, "dd if=/dev/zero bs=1000 count=300 2>/dev/null | tr '\\0' x; echo end").end()
    assert code == 0
    assert said.count("x") == 300_000
    assert said.endswith("end\n")


def test_the_size_is_the_callers(container: Container) -> None:
    container.unlike(crun="")
    assert Foreground(container, "stty size", 31, 71).end() == (0, "31 71\n")


def test_resize(container: Container) -> None:
    foreground = Foreground(container, 'trap "stty size; exit 0" WINCH; echo up; while true; do sleep 0.01; done')
    read_until(foreground.master, "up")
    resize(foreground.master, 44, 99)
    code, said = foreground.end()
    assert (code, said.split()) == (0, ["44", "99"])


def test_control_c_reaches_the_container_not_the_runtime(container: Container) -> None:
    foreground = Foreground(container, 'trap "echo caught; exit 5" INT; echo up; while true; do sleep 0.01; done')
    read_until(foreground.master, "up")
    os.write(foreground.master, b"\x03")
    code, said = foreground.end()
    assert code == 5
    assert "caught" in said


def test_a_signal_to_the_runtime_is_forwarded(container: Container) -> None:
    foreground = Foreground(container, 'trap "exit 6" TERM; echo up; while true; do sleep 0.01; done')
    read_until(foreground.master, "up")
    os.kill(foreground.pid, signal.SIGTERM)
    assert foreground.end()[0] == 6


def test_the_callers_terminal_is_as_before(container: Container) -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    container.process["terminal"] = True
    try:
        done = container.run("echo hello", stdin=slave, stdout=slave)
        assert done.code == 0, done
        assert termios.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.pyrun_only("the peers end too, or hang")
def test_nobody_reads_the_output_any_more(container: Container) -> None:
    """The container goes on to its end; its exit code is still run's."""
    container.process["terminal"] = True
    container.sh("i=0; while [ $i -lt 20000 ]; do echo line; i=$((i+1)); done; exit 7")
    container.write()
    command = container.runtime.command("run", "--bundle", container.path, container.id)
    read, write = os.pipe()
    pid, master = pty.fork()
    if not pid:
        os.dup2(write, 1)
        os.close(read)
        os.close(write)
        os.execv(str(command[0]), list(map(str, command)))
    os.close(write)
    os.read(read, 10)
    os.close(read)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    os.close(master)
    assert not container.exists()


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_into_a_pipe_comes_what_was_written(container: Container, verb: str) -> None:
    """No carriage return before a newline, which the terminal would add."""
    container.unlike(runc="1.1 wants a terminal itself", crun="1.8 adds them")
    if verb == "run":
        container.process["terminal"] = True
        assert (
            subprocess.run(command(container, "printf 'a\\nb\\n'"), stdin=subprocess.DEVNULL, **PIPE).stdout
            == b"a\nb\n"
        )
    else:
        container.up()
        said = container.runtime.command("exec", "-t", container.id, "sh", "-c", "printf 'a\\nb\\n'")
        assert subprocess.run(said, stdin=subprocess.DEVNULL, **PIPE).stdout == b"a\nb\n"


def test_the_callers_terminal_goes_on_to_process_what_is_written(container: Container) -> None:
    """Nothing staircases: it is raw for what is typed, not for what is shown."""
    container.unlike(crun="1.8 makes it raw altogether")
    foreground = Foreground(container, "echo one; echo two; read line")
    read_until(foreground.master, "two\r\n")
    attributes = termios.tcgetattr(foreground.master)
    assert attributes[1] & termios.OPOST
    assert not attributes[3] & (termios.ICANON | termios.ECHO)
    os.write(foreground.master, b"\r")
    assert foreground.end()[0] == 0
