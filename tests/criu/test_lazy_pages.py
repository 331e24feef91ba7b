"""Memory that does not lie in the image: it is sent to a page server, or stays where it was until it is asked for."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import SECONDS, Box, until

# Memory that it has from before, 128 KB twice: it ends when that is other than it was.
MEMORY = (
    "echo begun >> /tmp/begun; x=0123456789abcdef; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13; do x=$x$x; done; y=$x; i=0;"
    'while [ "$x" = "$y" ] && [ ${#y} = 131072 ]; do i=$((i+1)); echo $i > /tmp/.n; mv /tmp/.n /tmp/n; sleep 0.05; done'
)


class Dump:
    """A checkpoint that serves memory."""

    def __init__(self, box: Box, *others: str, at: str = "127.0.0.1:9876") -> None:
        box.work.mkdir(exist_ok=True)
        self.read, status = os.pipe()
        server = ("--page-server", at) if at else ()
        options = ("--lazy-pages", *server, "--status-fd", str(status), *others)
        paths = ("--image-path", str(box.image), "--work-path", str(box.work))
        with box.stderr.open("wb") as file:
            self.process = subprocess.Popen(
                [box.runtime, *box.options, "checkpoint", *paths, *options, "c"],
                cwd=box.folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=(status,),
            )
        os.close(status)

    def heard(self) -> bytes:
        """What comes next by the status descriptor; b"" for its end."""
        assert select.select([self.read], [], [], SECONDS)[0], f"in {SECONDS} s it hears nothing"
        return os.read(self.read, 99)

    def wait(self) -> int:
        return self.process.wait(SECONDS)

    def end(self) -> None:
        os.close(self.read)
        self.process.kill()
        self.process.wait()


@pytest.fixture
def dump(box: Box) -> Iterator[Dump]:
    """Of a container that counts; its memory can be asked for."""
    box.config["process"]["args"][2] = MEMORY
    yield from _dumped(box)


@pytest.fixture
def dump_of_one(box: Box) -> Iterator[Dump]:
    """Of a single process, which the kernel ends whoever traces it."""
    box.counting("data = bytes(range(256)) * 1024", "assert data[i % 262144] == i % 256")
    yield from _dumped(box)


def _dumped(box: Box, *options: str, at: str = "127.0.0.1:9876", before: tuple[str, ...] = ()) -> Iterator[Dump]:
    """before: what the runtime is called with once it runs."""
    box.run()
    box.counts(above=2)
    if before:
        box.call(*before)
    made = Dump(box, *options, at=at)
    try:
        assert made.heard() == b"\0", box.stderr.read_text() + box.log()
        if box.runtime.endswith("pyrun"):
            assert made.heard() == b""
        yield made
    finally:
        made.end()
        box.end_criu()


@contextmanager
def fetching(box: Box, port: int = 9876) -> Iterator[subprocess.Popen[bytes]]:
    """criu lazy-pages, where the memory is needed: it asks for it."""
    socket = box.work / "lazy-pages.socket"
    server = ("--page-server", "--address", "127.0.0.1", "--port", str(port))
    command = ["criu", "lazy-pages", *server, "-D", str(box.image), "-W", str(box.work)]
    with subprocess.Popen([*command, "-v4", "-o", "lazy.log"], stdin=subprocess.DEVNULL) as daemon:
        try:
            until("its socket", lambda: socket.exists() or daemon.poll() is not None)
            yield daemon
        finally:
            daemon.kill()


def _restored_elsewhere(box: Box) -> None:
    """Where it was there still is one of that name: as on another machine, by another id."""
    box.linux["cgroupsPath"] = box.linux["cgroupsPath"][:-1] + "d"
    box.write()
    box.restore("--lazy-pages", name="d")


def _goes_on_elsewhere(box: Box, dump: Dump, before: int, port: int = 9876) -> None:
    """All of its memory is fetched, and then the dump is at its end."""
    with fetching(box, port) as daemon:
        _restored_elsewhere(box)
        box.went_on(before)
        assert daemon.wait(SECONDS) == 0
    assert dump.wait() == 0, box.log()


@pytest.mark.beyond(crun="it has no --lazy-pages")
def test_memory_comes_when_it_is_asked_for(box: Box, dump: Dump) -> None:
    before = int(box.text("n"))
    assert box.status() == "running"
    pages = sum(path.stat().st_size for path in box.image.glob("pages-*.img"))
    _goes_on_elsewhere(box, dump, before)
    assert pages < 2 * 131072
    assert box.status() == ""
    box.counts()
    assert box.status("d") == "running"
    box.call("delete", "--force", "d")
    if box.runtime.endswith("pyrun"):  # the others restore into the cgroup of the image, and leave it
        assert box.remnants() == []


@pytest.mark.beyond(crun="it has no --lazy-pages")
def test_after_a_pre_dump(box: Box) -> None:
    """What has not changed since comes from the image of that, and not by the wire."""
    box.config["process"]["args"][2] = MEMORY
    first = ("checkpoint", "--pre-dump", "--image-path", str(box.folder / "first"), "--work-path", str(box.work))
    box.work.mkdir()
    for dump in _dumped(box, "--parent-path", "../first", before=(*first, "c")):
        before = int(box.text("n"))
        assert (box.image / "parent").is_symlink()
        _goes_on_elsewhere(box, dump, before)


@pytest.mark.pyrun_only("the others have memory asked for at any address")
def test_at_a_port_of_its_own(box: Box) -> None:
    """Of this machine alone."""
    box.config["process"]["args"][2] = MEMORY
    for dump in _dumped(box, at=""):
        before = int(box.text("n"))
        port = int(box.log_of("dump").rpartition("Using ")[2].split()[0])
        assert _listens(port) == "0100007F"
        _goes_on_elsewhere(box, dump, before, port)


@pytest.mark.pyrun_only("the others wait for their lock, or have none")
@pytest.mark.parametrize("verb", ["kill", "delete"])
def test_the_source_is_ended_while_it_serves(box: Box, dump_of_one: Dump, verb: str) -> None:
    """At once, and the memory is there even so."""
    before = int(box.text("n"))
    box.call(*{"kill": ("kill", "c", "KILL"), "delete": ("delete", "--force", "c")}[verb])
    assert dump_of_one.process.poll() is None
    until("its end", lambda: box.status() == ("stopped" if verb == "kill" else ""))
    _goes_on_elsewhere(box, dump_of_one, before)
    assert box.status() == ""


@pytest.mark.pyrun_only("about its words")
def test_the_source_can_not_end_while_it_serves(box: Box) -> None:
    """Its init waits for the end of its other processes, which CRIU traces: that is said, and no memory is lost."""
    box.config["process"]["args"][2] = f"sleep 9999 & {MEMORY}"
    for dump in _dumped(box):
        before = int(box.text("n"))
        said = box.call("delete", "--force", "c", fails=True)
        assert len(said.splitlines()) == 1
        tracer = said.partition("container init still running: process ")[2].partition(" traces it")[0]
        assert Path(f"/proc/{tracer}/comm").read_text() == "criu\n"
        _goes_on_elsewhere(box, dump, before)
        assert box.status() == ""


@pytest.mark.pyrun_only("about what it leaves behind")
def test_another_of_that_name_meanwhile(box: Box, dump_of_one: Dump) -> None:
    """It is not taken for the one that has been written."""
    box.call("delete", "--force", "c")
    box.config["process"]["args"] = ["sleep", "1000"]  # in the same root two that count are in each other's way
    box.run()
    with fetching(box) as daemon:
        _restored_elsewhere(box)
        assert daemon.wait(SECONDS) == 0
    assert dump_of_one.wait() == 0, box.log()
    assert box.status() == "running"


@pytest.mark.pyrun_only("about what it leaves behind")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nobody_asks(box: Box, dump: Dump, number: int) -> None:
    """Who does not want to wait any longer has it back."""
    before = int(box.text("n"))
    dump.process.send_signal(number)
    assert dump.wait() == 128 + number
    assert box.status() == "running"
    box.went_on(before)
    box.call("delete", "--force", "c")
    assert box.remnants() == []


@pytest.mark.pyrun_only("about what it leaves behind")
def test_nobody_asks_for_a_paused_one(box: Box) -> None:
    box.config["process"]["args"][2] = MEMORY
    for dump in _dumped(box, before=("pause", "c")):
        before = int(box.text("n"))
        dump.process.terminate()
        assert dump.wait() == 128 + signal.SIGTERM
        assert box.status() == "paused"
        box.call("resume", "c")
        box.went_on(before)


@pytest.mark.pyrun_only("about what it leaves behind")
def test_who_asks_dies(box: Box, dump: Dump) -> None:
    """In the midst of a request: CRIU says so, and it goes on where it was."""
    before = int(box.text("n"))
    with socket.create_connection(("127.0.0.1", 9876)) as asking:
        asking.send(b"x")
    assert dump.wait() == 1
    said = box.stderr.read_text()
    assert len(said.splitlines()) == 1
    assert f"see {box.work}/dump.log" in said
    box.went_on(before)


@pytest.mark.pyrun_only("about what it leaves behind")
def test_pyrun_is_killed_while_it_serves(box: Box, dump: Dump) -> None:
    """CRIU serves on; what is left of the container is for delete."""
    before = int(box.text("n"))
    dump.process.kill()
    dump.wait()
    with fetching(box) as daemon:
        _restored_elsewhere(box)
        box.went_on(before)
        assert daemon.wait(SECONDS) == 0
    until("CRIU's end", lambda: box.status() == "stopped")
    box.call("delete", "c")
    box.call("delete", "--force", "d")
    until("nothing left", lambda: not box.remnants())


@pytest.mark.beyond(crun="it has no --lazy-pages")
def test_without_who_fetches(box: Box, dump: Dump) -> None:
    """A restore that nobody fetches memory for fails at once."""
    box.linux["cgroupsPath"] = box.linux["cgroupsPath"][:-1] + "d"
    box.write()
    said = box.restore("--lazy-pages", name="d", fails=True)
    if box.runtime.endswith("pyrun"):
        assert "lazy-pages.socket" in said
        assert len(said.splitlines()) == 1
    assert box.status("d") == ""


@pytest.mark.pyrun_only("about what it leaves behind")
def test_restore_without_who_serves(box: Box, dump: Dump) -> None:
    """It waits for memory that does not come, or fails: it can be interrupted, and leaves nothing."""
    dump.process.terminate()
    dump.wait()
    box.call("delete", "--force", "c")
    with fetching(box):
        command = [
            box.runtime,
            "restore",
            "-d",
            "--lazy-pages",
            "--image-path",
            box.image,
            "--work-path",
            box.work,
            "c",
        ]
        with subprocess.Popen(command, cwd=box.folder, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
            until("it waits", lambda: running.poll() is not None or "uffd" in box.log_of("restore"))
            running.terminate()
            assert running.wait(SECONDS) in (1, 128 + signal.SIGTERM)
    until("nothing left", lambda: not box.remnants())


@pytest.mark.beyond(crun="it has no --page-server")
@pytest.mark.parametrize("pre_dump", [False, True])
def test_page_server(box: Box, pre_dump: bool) -> None:
    """Memory goes over the wire as it is written; of the image only the rest lies here."""
    box.config["process"]["args"][2] = MEMORY
    box.run()
    box.counts(above=2)
    parent: tuple[str, ...] = ()
    if pre_dump:
        _sent(box, "first", "--pre-dump")
        assert box.status() == "running"
        box.counts()
        parent = ("--parent-path", "../first")
    _sent(box, "image", *parent)
    before = int(box.text("n"))
    box.restore(image="there/image")
    box.went_on(before)


def _sent(box: Box, image: str, *options: str) -> None:
    """Its memory to `there`, by a server, and the rest copied after it."""
    here, there = box.folder / image, box.folder / "there" / image
    there.mkdir(parents=True)
    parent = ["--prev-images-dir", options[1]] if "--parent-path" in options else []
    server_at = ("--address", "127.0.0.1", "--port", "9876")
    command = ["criu", "page-server", *server_at, "-D", str(there), *parent, "-v4", "-o", "page-server.log"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as server:
        try:
            until("it listens", lambda: _listens(9876) or server.poll() is not None)
            box.checkpoint("--page-server", "127.0.0.1:9876", *options, image=image)
            assert server.wait(SECONDS) == 0
        finally:
            server.kill()
    assert [*there.glob("pages-*.img")]
    assert not [*here.glob("pages-*.img")]
    for path in here.iterdir():
        if not (there / path.name).is_symlink():
            shutil.copy(path, there, follow_symlinks=False)


@pytest.mark.pyrun_only("about its words")
def test_no_page_server(box: Box) -> None:
    box.run()
    box.counts(above=2)
    said = box.checkpoint("--page-server", "127.0.0.1:9876", fails=True)
    assert "CRIU says: Can't connect to server 127.0.0.1:9876" in said
    assert len(said.splitlines()) == 1
    box.counts()


def _listens(port: int) -> str:
    """The address at which that is listened to, as the kernel writes it; "" for none."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        lines = [line.split() for line in file]
    found = [row[1].partition(":")[0] for row in lines if row[1].endswith(f":{port:04X}") and row[3] == "0A"]
    return found[0] if found else ""
