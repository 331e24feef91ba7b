"""What an option of checkpoint or restore makes of a container, and what CRIU says without it."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import COUNT, SECONDS, V1, Box, until

ESTABLISHED = (
    "server = socket.create_server(('127.0.0.1', 99)); client = socket.create_connection(('127.0.0.1', 99))\n"
    "peer = server.accept()[0]"
)


def refused(box: Box, words: str, *options: object) -> None:
    """By CRIU, in its words, and it goes on."""
    said = box.checkpoint(*options, fails=True)
    if box.runtime.endswith("pyrun"):
        assert words in said
        assert len(said.splitlines()) == 1
    assert words in box.log()
    box.counts()


# --- --ext-unix-sk


@contextmanager
def _outside(box: Box, kind: int) -> Iterator[socket.socket]:
    """A socket of the test's own, which the container has by the same path. CRIU looks for it in the network namespace
    of the container, so that is the host's."""
    box.linux["namespaces"] = [row for row in box.linux["namespaces"] if row["type"] != "network"]
    folder = Path("/run/outside")
    folder.mkdir()
    bind = {"destination": str(folder), "type": "bind", "source": str(folder), "options": ["bind"]}
    box.config["mounts"].append(bind)
    try:
        with socket.socket(socket.AF_UNIX, kind) as ours:
            ours.bind("/run/outside/log")
            ours.settimeout(SECONDS)
            yield ours
    finally:
        box.clean()
        (folder / "log").unlink()
        folder.rmdir()


class _Heard(threading.Thread):
    """Takes all that comes, for a queue that is full holds up who sends; `last` is the last of it."""

    def __init__(self, ours: socket.socket) -> None:
        super().__init__()
        self.ours, self.last, self.ended = ours, 0, threading.Event()
        ours.settimeout(0.1)

    def __enter__(self) -> _Heard:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                self.last = int(self.ours.recv(99))
            except TimeoutError:
                continue


def test_datagrams_to_the_outside(box: Box) -> None:
    """As to a log of the host's: it speaks to who listens by that path after restore."""
    with _outside(box, socket.SOCK_DGRAM) as ours, _Heard(ours) as heard:
        box.counting(
            "log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); log.connect('/run/outside/log')",
            "log.send(str(i).encode())",
        )
        box.run()
        until("it is heard", lambda: heard.last > 2)
        refused(box, "Consider using --ext-unix-sk option")
        box.checkpoint("--ext-unix-sk")
        before = int(box.text("n"))
        box.restore("--ext-unix-sk")
        until("it is heard again", lambda: heard.last > before + 2)
        box.went_on(before)


def test_a_stream_to_the_outside(box: Box) -> None:
    """That is more than CRIU can do: half of a connection."""
    with _outside(box, socket.SOCK_STREAM) as ours:
        ours.listen()
        box.counting("out = socket.socket(socket.AF_UNIX); out.connect('/run/outside/log')")
        box.run()
        with ours.accept()[0]:
            box.counts(above=2)
            refused(box, "Can't dump half of stream unix connection", "--ext-unix-sk")


# --- --file-locks


@pytest.mark.parametrize("call", ["flock", "lockf"])
def test_file_locks(box: Box, call: str) -> None:
    box.counting(f"import fcntl; file = open('/tmp/locked', 'w'); fcntl.{call}(file, fcntl.LOCK_EX)")
    box.run()
    box.counts(above=2)
    refused(box, "Some file locks are hold by dumping tasks! You can try --file-locks to dump them.")
    box.checkpoint("--file-locks")
    before = int(box.text("n"))
    with (box.root / "tmp/locked").open("w") as file:
        assert _locks(file.fileno(), call)
        _unlocks(file.fileno(), call)
        box.restore("--file-locks")
        assert not _locks(file.fileno(), call)
    box.went_on(before)


def _locks(fd: int, call: str) -> bool:
    try:
        getattr(fcntl, call)(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _unlocks(fd: int, call: str) -> None:
    getattr(fcntl, call)(fd, fcntl.LOCK_UN)


# --- --shell-job


@pytest.mark.beyond("they don't tell CRIU of it")
def test_a_terminal_of_the_callers(box: Box) -> None:
    """It has the terminal of who restores it."""
    box.config["process"]["args"][2] = "while read line; do echo heard $line; done"
    pairs = [os.openpty() for _ in range(2)]
    first, second = pairs
    try:
        box.run(stdin=first[1], stdout=first[1], stderr=first[1])
        _says(first[0], b"one\n", b"heard one")
        box.checkpoint(fails=True)
        _says(first[0], b"two\n", b"heard two")
        box.checkpoint("--shell-job")
        box.restore("--shell-job", stdin=second[1], stdout=second[1], stderr=second[1])
        _says(second[0], b"three\n", b"heard three")
    finally:
        box.clean()
        for fd in (fd for pair in pairs for fd in pair):
            os.close(fd)


def _says(terminal: int, line: bytes, answer: bytes) -> None:
    os.write(terminal, line)
    heard = b""
    while answer not in heard:
        heard += os.read(terminal, 4096)


# --- --empty-ns


def _links(box: Box) -> set[str]:
    """The names of its network devices."""
    command = ["nsenter", "--net", f"--target={box.state()['pid']}", "ip", "-o", "link"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {line.split(": ")[1].split("@")[0] for line in lines}


def _add_link(box: Box, name: str) -> None:
    command = ["nsenter", "--net", f"--target={box.state()['pid']}"]
    subprocess.run([*command, "ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True)


@pytest.mark.parametrize(
    "empty",
    [
        pytest.param(False, marks=pytest.mark.beyond(runc="the network is not in the image")),
        pytest.param(True, marks=pytest.mark.beyond(crun="it has no --empty-ns")),
    ],
)
def test_network_devices(box: Box, empty: bool) -> None:
    """Of the image, or by hooks."""
    box.run()
    box.counts(above=2)
    _add_link(box, "one")
    options = ("--empty-ns", "network") if empty else ()
    box.checkpoint(*options)
    before = int(box.text("n"))
    box.restore(*options)
    box.went_on(before)
    assert _links(box) == ({"lo"} if empty else {"lo", "one", "onep"})


@pytest.mark.beyond(crun="it has no --empty-ns, and the network of hooks in the image")
@pytest.mark.parametrize("options", [(), ("--empty-ns", "network")], ids=["unasked", "asked"])
def test_a_hook_sets_up_the_network(box: Box, options: tuple[str, ...]) -> None:
    """As managers do: one end outside, and one inside, which is made anew."""
    script = (
        "pid=$(sed -E 's/.*\"pid\": ?([0-9]+).*/\\1/'); ip link add outside type veth peer name eth0 netns $pid;"
        "nsenter --net --target=$pid ip link set eth0 up"
    )
    hook = {"path": "/bin/sh", "args": ["sh", "-ec", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}
    box.config["hooks"] = {"prestart": [hook]}
    before = box.lets_go(*options)
    until("its end outside is gone", lambda: not os.path.exists("/sys/class/net/outside"))
    box.restore(*options)
    box.went_on(before)
    assert _links(box) == {"lo", "eth0"}
    assert os.path.exists("/sys/class/net/outside")


@pytest.mark.beyond("they leave the loopback device down")
def test_connections_in_an_empty_network(box: Box) -> None:
    """The loopback device is up, as at create."""
    box.counting(ESTABLISHED, "client.send(b'x'); assert peer.recv(9)")
    options = ("--empty-ns", "network", "--tcp-established")
    before = box.lets_go(*options)
    box.restore(*options)
    box.went_on(before)


# --- --auto-dedup


@pytest.mark.beyond(crun="it has no --auto-dedup")
def test_auto_dedup(box: Box) -> None:
    """What has changed since the first dump is taken out of that."""
    fill = "data = bytearray(1 << 20)\nfor at in range(0, 1 << 20, 4096): data[at] = 1"
    box.counting(fill, "data[i % 200 * 4096] = i % 251")
    box.run()
    box.counts(above=2)
    box.checkpoint("--pre-dump", image="first")
    taken = _blocks(box, "first")
    box.counts(above=int(box.text("n")) + 20)
    box.checkpoint("--parent-path", "../first", "--auto-dedup")
    before = int(box.text("n"))
    assert _blocks(box, "first") <= taken - 20 * 8
    taken = _blocks(box, "image")
    box.restore("--auto-dedup")
    box.went_on(before)
    assert _blocks(box, "image") < taken


def _blocks(box: Box, image: str) -> int:
    """What memory takes on disk, in units of 512 bytes."""
    return sum(path.stat().st_blocks for path in (box.folder / image).glob("pages-*.img"))


# --- --manage-cgroups-mode


_PROPERTIES = pytest.mark.since((4, 0), "CRIU 3.17 has no properties of cgroups of version 2")


@pytest.mark.parametrize(
    "mode",
    [
        *(pytest.param(mode, marks=_PROPERTIES) for mode in ("soft", "full", "strict")),
        pytest.param("ignore", marks=pytest.mark.beyond(runc="1.1 has no such mode")),
    ],
)
@pytest.mark.beyond(crun="each mode is like ignore")
@pytest.mark.skipif(V1, reason="cgroup.max.descendants is of version 2")
def test_cgroups_of_the_image(box: Box, mode: str) -> None:
    """What the container has made below its own: it is there again, with what was set; or only its own is."""
    box.run()
    box.counts(above=2)
    own = Path("/sys/fs/cgroup" + box.cgroup())
    inner = own / "inner"
    inner.mkdir()
    _move(own, inner)
    (inner / "cgroup.max.descendants").write_text("7")
    box.checkpoint("--manage-cgroups-mode", mode)
    before = int(box.text("n"))
    assert not inner.exists()
    box.restore("--manage-cgroups-mode", mode)
    box.went_on(before)
    if mode == "ignore":
        assert Path("/sys/fs/cgroup" + box.cgroup()) == own
        assert not inner.exists()
    else:
        assert Path("/sys/fs/cgroup" + box.cgroup()) == inner
        assert (inner / "cgroup.max.descendants").read_text() == "7\n"
    box.call("delete", "--force", "c")
    assert box.remnants() == []


def _move(source: Path, target: Path) -> None:
    """All processes of a cgroup: what they fork meanwhile as well."""
    while pids := (source / "cgroup.procs").read_text().split():
        for pid in pids:
            try:
                (target / "cgroup.procs").write_text(pid)
            except ProcessLookupError:
                continue


# --- --network-lock


@pytest.mark.beyond(runc="it has no --network-lock")
@pytest.mark.parametrize(
    "method",
    [
        "iptables",
        pytest.param("nftables", marks=pytest.mark.since((4, 0), "CRIU 3.17 goes on holding them after restore")),
        pytest.param("skip", marks=pytest.mark.since((4, 0), "CRIU 3.17 does not know it")),
    ],
)
def test_how_connections_are_held(box: Box, tmp_path: Path, method: str) -> None:
    """By iptables-restore, or by none: one that fails shows which."""
    box.counting(ESTABLISHED, "client.send(b'x'); assert peer.recv(9)")
    box.run()
    box.counts(above=2)
    options = ("--tcp-established", "--network-lock", method)
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    with _replaced(Path("/usr/sbin/iptables-restore"), by=broken):
        if method != "iptables":
            box.checkpoint(*options)
        else:
            box.checkpoint(*options, fails=True)
            box.counts()
    if method == "iptables":
        box.checkpoint(*options)
    before = int(box.text("n"))
    box.restore(*options)
    box.went_on(before)


@contextmanager
def _replaced(path: Path, by: Path) -> Iterator[None]:
    """Not by a mount, which would come into the container."""
    away = path.with_suffix(".away")
    path.rename(away)
    path.symlink_to(by)
    try:
        yield
    finally:
        away.rename(path)


# --- --tcp-close, --tcp-skip-in-flight


@pytest.mark.beyond("they have no --tcp-close")
def test_connections_are_closed(box: Box) -> None:
    box.counting(ESTABLISHED, "open('/tmp/state', 'w').write(str(peer.getsockopt(6, 11, 1)[0]))")  # tcp_info
    before = box.lets_go("--tcp-established")
    assert box.text("state") == "1"  # TCP_ESTABLISHED
    box.restore("--tcp-close")
    box.went_on(before)
    until("it is closed", lambda: box.text("state") == "7")  # TCP_CLOSE


@pytest.mark.beyond("they have no --tcp-skip-in-flight")
def test_connections_that_nobody_has_accepted(box: Box) -> None:
    """From outside of what is written."""
    box.counting("server = socket.create_server(('127.0.0.1', 99))")
    box.run()
    box.counts(above=2)
    program = "import socket, sys; one = socket.create_connection(('127.0.0.1', 99)); print(flush=True); input()"
    command = ["nsenter", "--net", f"--target={box.state()['pid']}", "python3", "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout
        assert client.stdin
        client.stdout.readline()
        refused(box, "In-flight connection")
        box.checkpoint("--tcp-skip-in-flight")
        client.stdin.write(b"\n")
    before = int(box.text("n"))
    box.restore()
    box.went_on(before)


# --- CRIU's own options


@pytest.fixture
def configured() -> Iterator[dict[str, Path]]:
    """Files of options that let connections be taken: by the name of who reads it."""
    folder = Path("/etc/criu")
    folder.mkdir(exist_ok=True)
    files = {name: folder / f"{name}.conf" for name in ("pyrun", "runc", "crun", "own")}
    try:
        yield files
    finally:
        for path in files.values():
            path.unlink(missing_ok=True)


@pytest.mark.beyond("connections over the loopback device, which they leave down")
@pytest.mark.parametrize("where", ["pyrun", "runc", "own"])
def test_options_from_a_file(box: Box, configured: dict[str, Path], where: str) -> None:
    """Its own, runc's, or that of the annotation, which alone counts then."""
    if where == "pyrun":
        where = Path(box.runtime).name
    elif where == "runc" and Path(box.runtime).name == "crun":
        pytest.skip("crun reads no file of runc's")
    box.counting(ESTABLISHED, "client.send(b'x'); assert peer.recv(9)")
    if where == "own":
        box.config["annotations"] = {"org.criu.config": str(configured["own"])}
        configured[Path(box.runtime).name].write_text("tcp-established\n")
    box.run()
    box.counts(above=2)
    refused(box, "Connected TCP socket")
    configured[where].write_text("tcp-established\n")
    box.checkpoint()
    before = int(box.text("n"))
    box.restore()
    box.went_on(before)


# --- --lsm-profile, --lsm-mount-context


def _has_apparmor() -> bool:
    try:
        enabled = Path("/sys/module/apparmor/parameters/enabled").read_text() == "Y\n"
    except OSError:
        return False
    return enabled and os.path.exists("/usr/sbin/apparmor_parser")


def _apparmor(name: str, how: str = "--replace") -> None:
    """Load a profile of that name, or remove it."""
    rules = "file, network, capability, mount, umount, pivot_root, signal, ptrace, unix,"
    profile = f"profile {name} flags=(attach_disconnected) {{\n{rules}\n}}\n"
    subprocess.run(["apparmor_parser", how, "--skip-cache"], input=profile, text=True, check=True)


@pytest.mark.skipif(not _has_apparmor(), reason="this machine has no AppArmor, or no apparmor_parser")
@pytest.mark.parametrize("other", [False, True])
def test_apparmor(box: Box, other: bool) -> None:
    """The profile is that of the image, or the one that is said."""
    for name in ("criu-first", "criu-second"):
        _apparmor(name)
    box.config["process"]["apparmorProfile"] = "criu-first"
    before = box.lets_go()
    box.restore(*(("--lsm-profile", "apparmor:criu-second") if other else ()))
    box.went_on(before)
    label = Path(f"/proc/{box.state()['pid']}/attr/current").read_text()
    assert label.startswith("criu-second" if other else "criu-first")


@pytest.mark.pyrun_only("CRIU hangs, and they with it")
@pytest.mark.skipif(not _has_apparmor(), reason="this machine has no AppArmor, or no apparmor_parser")
def test_an_apparmor_profile_that_is_not_loaded(box: Box) -> None:
    """As on another machine. Of the config, or of the flag."""
    _apparmor("criu-gone")
    box.config["process"]["apparmorProfile"] = "criu-gone"
    box.lets_go()
    _apparmor("criu-gone", "--remove")
    words = "AppArmor has no profile criu-gone"
    assert f"{words} (/process/apparmorProfile)" in box.restore(fails=True)
    assert words in box.restore("--lsm-profile", "apparmor:criu-gone", fails=True)
    assert box.remnants() == []


def test_selinux_without_selinux(box: Box) -> None:
    """Labels of mounts that this kernel does not know."""
    box.config["mounts"].append({"destination": "/mem", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]})
    box.config["process"]["args"][2] = "echo kept > /mem/file; " + COUNT
    before = box.lets_go()
    box.restore("--lsm-mount-context", "system_u:object_r:container_file_t:s0")
    box.went_on(before)
