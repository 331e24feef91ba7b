"""A network for a container that is made by hand: a veth pair to a bridge, an address, a default route, and NAT.

As createRuntime hook it is called with the container's state; as poststop hook, with remove, it gives the address back.
The pair goes with the container's network namespace. By ip(8), nsenter(1) and iptables(8).
"""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# A manager or a hook's config may give us no PATH.
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_FORWARD = "/proc/sys/net/ipv4/ip_forward"


class NetworkError(Exception):
    """What could not be done, and what the program said."""


def add(state: dict[str, Any], folder: str, bridge: str, subnet: str, *, nat: bool) -> str:
    """Give the container its network; returns its address. folder: where the addresses that are in use are noted, which
    must be there. Raises NetworkError or OSError; then nothing of the container's is left."""
    name, pid = state["id"], int(state["pid"])
    network = ipaddress.IPv4Network(subnet)
    gateway, prefix = next(network.hosts()), network.prefixlen
    with _Noted(folder) as noted:
        _bridge(bridge, f"{gateway}/{prefix}")
        if nat:
            _masquerade(subnet, bridge)
        address = noted.take(name, pid, network)
        outer = _outer(name)
        try:
            _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
            _ip("link", "set", outer, "master", bridge, "up")
            _inside(pid, "address", "add", f"{address}/{prefix}", "dev", "eth0")
            _inside(pid, "link", "set", "lo", "up")
            _inside(pid, "link", "set", "eth0", "up")
            _inside(pid, "route", "add", "default", "via", str(gateway))
        except BaseException:
            _unplug(outer)
            noted.give_back(name)
            raise
    return str(address)


def remove(state: dict[str, Any], folder: str) -> None:
    """Give the container's address back, and don't wait until the kernel has taken the pair away."""
    _unplug(_outer(state["id"]))
    with _Noted(folder) as noted:
        noted.give_back(state["id"])


def _outer(name: str) -> str:
    """The host's end of the container's pair: at most 15 characters."""
    return f"vp{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _unplug(outer: str) -> None:
    """It may not be there."""
    subprocess.run([_program("ip"), "link", "del", outer], capture_output=True, check=False)


class _Noted:
    """Addresses that are in use: a file each, with the container's id and the pid of its init. Whoever is in the block
    is alone there."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __enter__(self) -> _Noted:
        self._lock = os.open(f"{self.folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def take(self, name: str, pid: int, network: ipaddress.IPv4Network) -> ipaddress.IPv4Address:
        used = {address for address, _, owner in self._all() if os.path.exists(f"/proc/{owner}")}
        hosts = network.hosts()
        next(hosts)  # the bridge's own
        for address in hosts:
            if str(address) not in used:
                with open(f"{self.folder}/{address}", "w", encoding="utf-8") as file:
                    file.write(f"{name} {pid}\n")
                return address
        raise NetworkError(f"all addresses of {network} are in use")

    def give_back(self, name: str) -> None:
        for address, owner, _ in self._all():
            if owner == name:
                os.unlink(f"{self.folder}/{address}")

    def _all(self) -> Iterator[tuple[str, str, str]]:
        for address in os.listdir(self.folder):
            if address[:1].isdigit():
                with open(f"{self.folder}/{address}", encoding="utf-8") as file:
                    name, _, pid = file.read().strip().rpartition(" ")
                yield address, name, pid


def _bridge(name: str, address: str) -> None:
    there = subprocess.run([_program("ip"), "link", "show", name], capture_output=True, check=False)
    if there.returncode:
        _ip("link", "add", name, "type", "bridge")
    _ip("address", "replace", address, "dev", name)
    _ip("link", "set", name, "up")


def _masquerade(subnet: str, bridge: str) -> None:
    """What goes from the subnet to elsewhere goes by the host's address, and is forwarded."""
    with open(_FORWARD, encoding="ascii") as file:
        forwards = file.read().strip() == "1"
    if not forwards:
        with open(_FORWARD, "w", encoding="ascii") as file:
            file.write("1")
    rules = (
        ("nat", "POSTROUTING", "-s", subnet, "!", "-o", bridge, "-j", "MASQUERADE"),
        ("filter", "FORWARD", "-i", bridge, "-j", "ACCEPT"),
        ("filter", "FORWARD", "-o", bridge, "-m", "state", "--state", "RELATED,ESTABLISHED", "-j", "ACCEPT"),
    )
    program = _program("iptables")
    for table, chain, *rule in rules:
        there = subprocess.run([program, "-w", "-t", table, "-C", chain, *rule], capture_output=True, check=False)
        if there.returncode:
            _run(program, "-w", "-t", table, "-A", chain, *rule)


def _ip(*arguments: str) -> None:
    _run(_program("ip"), *arguments)


def _inside(pid: int, *arguments: str) -> None:
    _run(_program("nsenter"), f"--net=/proc/{pid}/ns/net", _program("ip"), *arguments)


def _program(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    if not found:
        raise NetworkError(f"{name} is not installed")
    return found


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise NetworkError(f"{' '.join(command)}: {done.stderr.strip() or f'status {done.returncode}'}")
