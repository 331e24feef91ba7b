"""pyrun hook: a network and a log for containers that are made by hand."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from harness import PYRUN, Container, Done

pytestmark = [
    pytest.mark.pyrun_only("a thing of pyrun's own"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]
NOTED = Path("/run/pyrun.cache/network")
SUBNET = "10.201.7.0/29"
# Of one that lives on, which would hold a pipe open.
QUIET = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)


class Host:
    """A network namespace in which everything happens, as if it were the host's."""

    def __init__(self) -> None:
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            continue
        self("ip", "link", "set", "lo", "up")

    def __call__(self, *command: str | Path, **popen: Any) -> Done:
        enter = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **popen}
        done = subprocess.run([*enter, *command], text=True, check=False, timeout=60, **streams)
        return Done(done.returncode, done.stdout or "", done.stderr or "")

    def serve(self, answer: bytes) -> int:
        """A server on the bridge's address; its port."""
        made: list[socket.socket] = []

        def listen() -> None:
            fd = os.open(f"/proc/{self.holder.pid}/ns/net", os.O_RDONLY)
            libc = __import__("ctypes").CDLL(None)
            assert libc.setns(fd, 0x40000000) == 0  # of this thread alone
            os.close(fd)
            made.append(socket.create_server(("0.0.0.0", 0)))

        thread = threading.Thread(target=listen)
        thread.start()
        thread.join()
        [server] = made

        def run() -> None:
            with server:
                server.settimeout(20)
                with server.accept()[0] as connection:
                    connection.sendall(answer)

        threading.Thread(target=run, daemon=True).start()
        return int(server.getsockname()[1])


@pytest.fixture
def host() -> Iterator[Host]:
    if not shutil.which("ip") or not shutil.which("nsenter"):
        pytest.skip("iproute2 and util-linux are not installed")
    made = Host()
    yield made
    made.holder.kill()
    made.holder.wait()


def networked(container: Container, *more: str) -> None:
    hook = {
        "path": str(PYRUN),
        "args": ["pyrun", "hook", "network", "--subnet", SUBNET, "--bridge", "test0", "--no-nat", *more],
    }
    gone = {"path": str(PYRUN), "args": ["pyrun", "hook", "network", "--remove"]}
    container.config["hooks"] = {"createRuntime": [hook], "poststop": [gone]}
    container.write()


def addresses() -> dict[str, str]:
    """Address -> whose, of this subnet."""
    found = [path for path in NOTED.iterdir() if path.name.startswith("10.201.7.")] if NOTED.exists() else []
    return {path.name: json.loads(path.read_text())["id"] for path in found}


class Space:
    """A process in a network namespace of its own, for a container's init."""

    def __init__(self, name: str, bundle: str = "/nowhere") -> None:
        self.init = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
        while os.readlink(f"/proc/{self.init.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            continue
        self.state = {"id": name, "bundle": bundle, "pid": self.init.pid}

    def end(self) -> None:
        self.init.kill()
        self.init.wait()

    def address(self) -> str:
        command = ["nsenter", f"--net=/proc/{self.init.pid}/ns/net", "ip", "-j", "-4", "address", "show"]
        links = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        return next((row["local"] for link in links for row in link.get("addr_info", []) if row["prefixlen"] == 29), "")


@pytest.fixture
def space() -> Iterator[Callable[..., Space]]:
    made: list[Space] = []

    def make(name: str = "ready-hooks", bundle: str = "/nowhere") -> Space:
        made.append(Space(name, bundle))
        return made[-1]

    yield make
    for one in made:
        one.end()
    for pattern in ("10.201.7.*", "host-*-test0"):
        for path in NOTED.glob(pattern):
            path.unlink()


def hook(host: Host, state: Mapping[str, object], *options: str) -> Done:
    """`hook network`, called as a runtime does."""
    network = () if "--remove" in options else ("--subnet", SUBNET)
    return host(PYRUN, "hook", "network", *network, *options, input=json.dumps(state))


def connect(host: Host, one: Space, *options: str) -> str:
    done = hook(host, one.state, "--bridge", "test0", *(options or ("--no-nat",)))
    assert (done.code, done.err) == (0, ""), done
    return one.address()


def pairs(host: Host) -> int:
    return len(json.loads(host("ip", "-j", "link", "show", "type", "veth").out or "[]"))


def wait_for_pairs(host: Host, count: int) -> None:
    """The kernel takes a namespace apart when it has time."""
    end = time.monotonic() + 60
    while pairs(host) != count:
        assert time.monotonic() < end


def test_a_network(new_container: Callable[[], Container], host: Host) -> None:
    """Each has an address of its own, a route, and reaches the bridge."""
    one, two = new_container(), new_container()
    port = host.serve(b"from the bridge\n")
    for container in (one, two):
        networked(container)
        container.sh(
            f"ip addr show eth0 | grep 'inet '; ip route; nc 10.201.7.1 {port} < /dev/null"
            if container is two
            else "sleep 1000"
        )
        container.write()
    command = one.runtime.command("run", "--detach", "--bundle", one.path, one.id)
    with open(one.path / "out", "wb") as out:
        assert (
            subprocess.run(
                ["nsenter", f"--net=/proc/{host.holder.pid}/ns/net", *command], stdout=out, stderr=out, check=False
            ).returncode
            == 0
        )
    assert addresses() == {"10.201.7.2": one.id}
    done = host(*two.runtime.command("run", "--bundle", two.path, two.id))
    assert done.code == 0, done
    assert "inet 10.201.7.3/29" in done.out and "default via 10.201.7.1 dev eth0" in done.out
    assert "from the bridge" in done.out
    assert addresses() == {"10.201.7.2": one.id}
    host(*one.runtime.command("delete", "--force", one.id))
    assert addresses() == {}
    links = host("ip", "-o", "link").out
    assert "vp" not in links and "test0" not in links


def test_there_are_so_many_addresses(
    new_container: Callable[[], Container], host: Host, space: Callable[..., Space]
) -> None:
    """One that is not to be had undoes the create; one whose container is gone is given again."""
    spaces = [space(f"s{i}") for i in range(5)]
    assert [connect(host, one) for one in spaces] == [f"10.201.7.{last}" for last in range(2, 7)]
    spaces[2].end()
    one, two = new_container(), new_container()
    for container in (one, two):
        networked(container)
    wait_for_pairs(host, 4)
    done = host(*one.runtime.command("create", "--bundle", one.path, one.id), **QUIET)
    assert done.code == 0 and addresses()["10.201.7.4"] == one.id
    done = host(*two.runtime.command("create", "--bundle", two.path, two.id))
    assert done.code == 1 and "all addresses of 10.201.7.0/29 are in use" in done.err
    assert not two.exists() and len(addresses()) == pairs(host) == 5
    host(*one.runtime.command("delete", one.id))


def test_two_of_one_id(host: Host, space: Callable[..., Space]) -> None:
    """Another store may have the id as well: neither has anything of the other's."""
    one, two = space("box"), space("box", "/elsewhere")
    assert [connect(host, one), connect(host, two)] == ["10.201.7.2", "10.201.7.3"]
    # A second network for one fails, and takes nothing away.
    again = hook(host, one.state, "--bridge", "test0", "--no-nat")
    assert again.code == 1 and "link add" in again.err
    assert pairs(host) == 2 and addresses() == {"10.201.7.2": "box", "10.201.7.3": "box"}
    # While it lives nobody's poststop is meant for it.
    stopped = {"id": "box", "bundle": "/nowhere"}
    assert hook(host, stopped, "--remove").code == 0 and pairs(host) == 2
    one.end()
    assert hook(host, stopped, "--remove").code == 0
    assert pairs(host) == 1 and addresses() == {"10.201.7.3": "box"}


def test_not_the_hosts_namespace(host: Host) -> None:
    before = host("ip", "-o", "address").out
    done = hook(host, {"id": "box", "pid": host.holder.pid}, "--bridge", "test0")
    assert done.code == 1 and "its network is the host's" in done.err
    assert host("ip", "-o", "address").out == before and host("ip", "-o", "link").out.count("\n") == 1


def test_a_network_namespace_named_as_the_pid(host: Host, space: Callable[..., Space]) -> None:
    """ip(8) takes `netns N` for the name N before it takes it for a pid."""
    one = space()
    named, other = Path("/run/netns"), space()
    link = named / str(one.init.pid)
    named.mkdir(exist_ok=True)
    link.symlink_to(f"/proc/{other.init.pid}/ns/net")
    try:
        assert connect(host, one) == "10.201.7.2" and other.address() == ""
    finally:
        link.unlink()


@pytest.mark.parametrize("nat", [True, False])
def test_a_bridge_that_is_none(host: Host, space: Callable[..., Space], nat: bool) -> None:
    assert host("ip", "link", "add", "test0", "type", "veth", "peer", "name", "test1").code == 0
    before = host("ip", "-o", "address", "show", "dev", "test0").out, host("iptables", "-S").out
    done = hook(host, space().state, "--bridge", "test0", *(() if nat else ("--no-nat",)))
    assert done.code == 1 and "test0 is there, and is no bridge" in done.err
    assert (host("ip", "-o", "address", "show", "dev", "test0").out, host("iptables", "-S").out) == before


@pytest.mark.parametrize("name", ["test+", "-x", "a/b", "x" * 16, ".."])
def test_names_that_no_bridge_has(host: Host, space: Callable[..., Space], name: str) -> None:
    done = hook(host, space().state, f"--bridge={name}")
    assert done.code == 1 and "can't be the name of a bridge" in done.err


def nat_is_here(host: Host) -> None:
    if host("iptables", "-t", "nat", "-N", "PROBE").code:
        pytest.skip("this kernel has no NAT, or there is no iptables")
    assert host("ip", "link", "add", "out0", "type", "veth", "peer", "name", "out1").code == 0
    assert host("ip", "address", "add", "192.0.2.2/24", "dev", "out0").code == 0
    assert host("ip", "link", "set", "out0", "up").code == 0
    assert host("ip", "route", "add", "default", "via", "192.0.2.1").code == 0


def changed(host: Host) -> tuple[str, ...]:
    """What NAT changes on the host."""
    files = "/proc/sys/net/ipv4/conf/[!v]*/forwarding /proc/sys/net/ipv4/ip_forward"  # not those of pairs
    settings = host("sh", "-c", f"grep -H . {files}").out
    return host("iptables", "-t", "nat", "-S", "POSTROUTING").out, host("iptables", "-S", "FORWARD").out, settings


def test_nat(host: Host, space: Callable[..., Space]) -> None:
    """Rules are of the subnet and the bridge; only the bridge and the way out forward; nothing stays after the last."""
    nat_is_here(host)
    assert host("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward").code == 0
    before = changed(host)
    one, two = space("one"), space("two")
    assert [connect(host, one, "--bridge", "test0"), connect(host, two, "--bridge", "test0")] == [
        "10.201.7.2",
        "10.201.7.3",
    ]
    masquerade, forward, settings = changed(host)
    assert masquerade.count("-s 10.201.7.0/29 ! -o test0 -j MASQUERADE") == 1
    assert forward.splitlines()[1:] == [
        "-A FORWARD -s 10.201.7.0/29 -i test0 -j ACCEPT",
        "-A FORWARD -d 10.201.7.0/29 -o test0 -m state --state RELATED,ESTABLISHED -j ACCEPT",
    ]
    forwarding = [line for line in settings.splitlines() if line.endswith("1")]
    assert forwarding == [f"/proc/sys/net/ipv4/conf/{name}/forwarding:1" for name in ("out0", "test0")]
    one.end()
    assert hook(host, {"id": "one", "bundle": "/nowhere"}, "--remove").code == 0
    assert changed(host) == (masquerade, forward, settings)
    two.end()
    assert hook(host, {"id": "two", "bundle": "/nowhere"}, "--remove").code == 0
    assert changed(host) == before and host("ip", "link", "show", "test0").code
    assert not [*NOTED.glob("host-*-test0")]


def test_what_was_there_stays(host: Host, space: Callable[..., Space]) -> None:
    """An administrator's bridge and rules are neither made nor undone."""
    nat_is_here(host)
    for command in (
        "ip link add test0 type bridge",
        "ip address add 10.201.7.1/29 dev test0",
        "iptables -A FORWARD -i test0 -s 10.201.7.0/29 -j ACCEPT",
        "iptables -t nat -A POSTROUTING -s 10.201.7.0/29 ! -o test0 -j MASQUERADE",
    ):
        assert host(*command.split()).code == 0
    assert host("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward").code == 0
    before = changed(host)
    one = space("one")
    assert connect(host, one, "--bridge", "test0") == "10.201.7.2"
    one.end()
    assert hook(host, {"id": "one", "bundle": "/nowhere"}, "--remove").code == 0
    assert changed(host) == before
    assert "10.201.7.1/29" in host("ip", "-o", "address", "show", "dev", "test0").out


def test_a_failure_undoes_what_was_made(host: Host, space: Callable[..., Space]) -> None:
    nat_is_here(host)
    before = changed(host)
    one = space()
    taken = ["nsenter", f"--net=/proc/{one.init.pid}/ns/net", "ip", "link", "add", "eth0", "type", "veth"]
    assert subprocess.run(taken, check=False).returncode == 0
    done = hook(host, one.state, "--bridge", "test0")
    assert done.code == 1 and "link add" in done.err
    assert changed(host) == before and host("ip", "link", "show", "test0").code and addresses() == {}


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"{}", b"somebody 1\n", b'{"id": "x", "bundle": "", "bridge": "", "pair": "", "pid": "1"}'],
)
def test_a_note_that_is_none(host: Host, space: Callable[..., Space], content: bytes) -> None:
    """It is told of, stops nobody, and its address is given."""
    NOTED.mkdir(parents=True, exist_ok=True)
    (NOTED / "10.201.7.2").write_bytes(content)
    one = space()
    done = hook(host, one.state, "--bridge", "test0", "--no-nat")
    assert done.code == 0 and "10.201.7.2 says of no container" in done.err, done
    assert one.address() == "10.201.7.2"


def test_a_note_that_can_not_be_replaced(host: Host, space: Callable[..., Space]) -> None:
    (NOTED / "10.201.7.2").mkdir(parents=True)
    try:
        one = space()
        done = hook(host, one.state, "--bridge", "test0", "--no-nat")
        assert done.code == 0 and done.err.count("says of no container") == 1, done
        assert one.address() == "10.201.7.3"
    finally:
        (NOTED / "10.201.7.2").rmdir()


def test_a_pid_that_is_anothers_by_now(host: Host, space: Callable[..., Space]) -> None:
    one, two = space("one"), space("two")
    assert connect(host, one) == "10.201.7.2"
    note = json.loads((NOTED / "10.201.7.2").read_text())
    assert hook(host, {}, "--remove").code == 1  # it says of no container
    one.end()
    note.update(pid=os.getpid())
    (NOTED / "10.201.7.2").write_text(json.dumps(note))
    wait_for_pairs(host, 0)
    assert connect(host, two) == "10.201.7.2"


def test_a_namespace_without_its_init(host: Host, space: Callable[..., Space]) -> None:
    """Its address is in use as long as its interface is there."""
    one, two = space("one"), space("two")
    assert connect(host, one) == "10.201.7.2"
    held = os.open(f"/proc/{one.init.pid}/ns/net", os.O_RDONLY)
    one.end()
    try:
        assert connect(host, two) == "10.201.7.3"
    finally:
        os.close(held)


@pytest.mark.parametrize(
    ("subnet", "words"),
    [
        ("10.201.7.0/32", "has no address for a container"),
        ("10.201.7.0/31", "has no address for a container"),
        ("127.0.0.0/8", "no interface can have"),
        ("224.0.0.0/24", "no interface can have"),
        ("255.255.255.0/24", "no interface can have"),
        ("0.0.0.0/0", "no interface can have"),
        ("10.201.7.1/29", "has host bits set"),
    ],
)
def test_subnets_that_are_none(host: Host, space: Callable[..., Space], subnet: str, words: str) -> None:
    text = json.dumps(space().state)
    done = host(PYRUN, "hook", "network", "--subnet", subnet, "--bridge", "test0", "--no-nat", input=text)
    assert done.code == 1 and words in done.err and "Traceback" not in done.err
    assert host("ip", "link", "show", "test0").code


def test_a_log(container: Container, tmp_path: Path) -> None:
    hook = {"path": str(PYRUN), "args": ["pyrun", "hook", "log", str(tmp_path / "log")]}
    container.config["hooks"] = {kind: [hook] for kind in ("createRuntime", "poststart", "poststop")}
    assert container.run("true").code == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["created", "running", "stopped"]
    assert {line["id"] for line in lines} == {container.id} and all(line["time"].endswith("Z") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "text", "words"),
    [
        (["network"], "{", "the container's state from stdin"),
        (["network"], "[]", "it has no id"),
        (["network", "x"], "{}", "pyrun hook network, or pyrun hook log FILE"),
        (["log"], "{}", "pyrun hook network, or pyrun hook log FILE"),
        (["other"], "{}", "pyrun hook network, or pyrun hook log FILE"),
        (["log", "/nowhere/x"], '{"id": "x"}', "open /nowhere/x: ENOENT"),
        (["network", "--subnet", "x"], '{"id": "x", "pid": 1}', "set up the network"),
        (["network"], '{"id": "x"}', "no pid of a process"),
        (["network"], '{"id": "x", "pid": "1"}', "no pid of a process"),
        (["network"], '{"id": "x", "pid": 1e30}', "no pid of a process"),
        (["network"], '{"id": "x", "pid": 4194304}', "there is no process 4194304"),
    ],
)
def test_what_is_no_call_of_a_hook(host: Host, arguments: list[str], text: str, words: str) -> None:
    done = host(PYRUN, "hook", *arguments, input=text)
    assert done.code == 1 and words in done.err and "Traceback" not in done.err, done


def test_a_state_that_is_too_long() -> None:
    text = json.dumps({"id": "x", "annotations": {"a": "x" * (1 << 20)}})
    command = [PYRUN, "hook", "log", "/dev/null"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "at most 1 MiB are read" in done.stderr, done


def test_a_log_is_a_regular_file(tmp_path: Path) -> None:
    """A fifo is not waited for, nobody's symlink followed, and no terminal taken; with a reader or without."""
    target, fifo, link = tmp_path / "target", tmp_path / "fifo", tmp_path / "link"
    os.mkfifo(fifo)
    link.symlink_to(target)

    def log(file: Path | str) -> str:
        command = [PYRUN, "hook", "log", file]
        done = subprocess.run(command, input='{"id": "x"}', capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1, done
        return done.stderr

    assert "ENXIO" in log(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    assert "is not a regular file" in log(fifo) and os.read(reader, 1) == b""
    os.close(reader)
    assert "ELOOP" in log(link) and not target.exists()
    assert "is not a regular file" in log("/dev/null")


def test_the_time_is_the_logs_own(tmp_path: Path) -> None:
    text = '{"id": "x", "time": "1970-01-01T00:00:00Z"}'
    subprocess.run([PYRUN, "hook", "log", tmp_path / "log"], input=text, text=True, timeout=60, check=True)
    [line] = (tmp_path / "log").read_text().splitlines()
    assert list(json.loads(line)) == ["time", "id"] and json.loads(line)["time"] > "2020"
