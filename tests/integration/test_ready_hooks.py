"""pyrun hook: a network and a log for containers that are made by hand."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
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
    return {path.name: path.read_text().split()[0] for path in found}


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
    assert "vp" not in host("ip", "-o", "link").out


def test_there_are_so_many_addresses(new_container: Callable[[], Container], host: Host) -> None:
    """One that is not to be had undoes the create; one whose container is gone is given again."""
    NOTED.mkdir(parents=True, exist_ok=True)
    for last in range(2, 7):
        (NOTED / f"10.201.7.{last}").write_text(f"somebody {os.getpid() if last != 4 else 999999999}\n")
    try:
        one, two = new_container(), new_container()
        for container in (one, two):
            networked(container)
        done = host(*one.runtime.command("create", "--bundle", one.path, one.id), **QUIET)
        assert done.code == 0 and addresses()["10.201.7.4"] == one.id
        done = host(*two.runtime.command("create", "--bundle", two.path, two.id))
        assert done.code == 1 and "all addresses of 10.201.7.0/29 are in use" in done.err
        assert not two.exists() and len(addresses()) == 5
        host(*one.runtime.command("delete", one.id))
    finally:
        for path in NOTED.glob("10.201.7.*"):
            path.unlink()


def test_nat(new_container: Callable[[], Container], host: Host) -> None:
    if host("iptables", "-t", "nat", "-N", "PROBE").code:
        pytest.skip("this kernel has no NAT, or there is no iptables")
    container = new_container()
    networked(container)
    container.config["hooks"]["createRuntime"][0]["args"].remove("--no-nat")
    container.args = ["/bin/true"]
    container.write()
    for _ in range(2):
        done = host(*container.runtime.command("run", "--bundle", container.path, container.id))
        assert done.code == 0, done
    rules = host("iptables", "-t", "nat", "-S", "POSTROUTING").out
    assert rules.count("-s 10.201.7.0/29 ! -o test0 -j MASQUERADE") == 1
    assert host("cat", "/proc/sys/net/ipv4/ip_forward").out == "1\n"


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
    ],
)
def test_what_is_no_call_of_a_hook(arguments: list[str], text: str, words: str) -> None:
    done = subprocess.run([PYRUN, "hook", *arguments], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr, done
