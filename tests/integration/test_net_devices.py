"""linux.netDevices: what create moves, and that it comes back as it was when create fails."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Container

pytestmark = pytest.mark.pyrun_only("too old for netDevices")


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True).stdout


def shown(name: str) -> dict[str, Any]:
    """What can be known of an interface, but for its index and counters."""
    [found] = json.loads(ip("-json", "address", "show", "dev", name))
    addresses = [(a["local"], a["prefixlen"], a.get("broadcast")) for a in found["addr_info"] if a["scope"] == "global"]
    return {"up": "UP" in found["flags"], "mac": found["address"], "addresses": sorted(map(str, addresses))}


@pytest.fixture
def device() -> Iterator[str]:
    """One end of a veth, up, with addresses of both families."""
    name = f"pd{os.getpid()}"
    ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    ip("address", "add", "192.0.2.7/24", "broadcast", "192.0.2.255", "dev", name)
    ip("link", "set", name, "up")
    if Path("/proc/net/if_inet6").exists():
        ip("address", "add", "2001:db8::7/64", "dev", name, "nodad")
    yield name
    subprocess.run(["ip", "link", "delete", f"{name}p"], stderr=subprocess.DEVNULL, check=False)


@pytest.mark.parametrize("user", [False, True], ids=["", "in a user namespace"])
def test_addresses_of_both_families(container: Container, device: str, user: bool) -> None:
    if user:
        container.user_namespace()
    before = ip("address", "show", "dev", device)
    container.linux["netDevices"] = {device: {"name": "net%d"}}
    seen = container.sees("ip address show net0")
    assert "192.0.2.7/24 brd 192.0.2.255" in seen
    assert ("2001:db8::7/64" in seen) == ("2001:db8::7/64" in before)
    assert ",UP" in seen


@pytest.mark.parametrize("user", [False, True], ids=["", "in a user namespace"])
def test_who_joins_a_pid_namespace_has_it_too(container: Container, device: str, user: bool) -> None:
    """All is made ready for init by another process then, whose network namespace comes after the user namespace."""
    if user:
        container.user_namespace()
        container.without_mount("/proc")  # one of a pid namespace that is not the user namespace's can't be mounted
    command = ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "echo; exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.read(1)
        try:
            container.without_namespace("pid")
            path = f"/proc/{holder.pid}/ns/pid_for_children"
            container.linux["namespaces"].append({"type": "pid", "path": path})
            container.linux["netDevices"] = {device: {"name": "inside0"}}
            assert "192.0.2.7/24" in container.sees("ip address show inside0")
        finally:
            holder.kill()


def test_a_template_takes_the_next_number(container: Container, device: str) -> None:
    """The network namespace is there already, and has a net0."""
    with subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.read(1)
        try:
            enter = ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "ip"]
            subprocess.run([*enter, "link", "add", "net0", "type", "veth", "peer", "name", "other"], check=True)
            container.namespace("network", f"/proc/{holder.pid}/ns/net")
            container.linux["netDevices"] = {device: {"name": "net%d"}}
            assert "192.0.2.7/24" in container.sees("ip address show net1")
        finally:
            holder.kill()


@pytest.mark.parametrize(
    "break_it",
    ["a hook", "a mount", "the next device", "a name", "the program"],
)
@pytest.mark.parametrize("user", [False, True], ids=["", "in a user namespace"])
def test_it_comes_back_when_create_fails(container: Container, device: str, break_it: str, user: bool) -> None:
    if user:
        container.user_namespace()
    before = shown(device)
    container.linux["netDevices"] = {device: {"name": "inner"}}
    if break_it == "a hook":
        container.hook("createRuntime", "exit 1")
    elif break_it == "a mount":
        container.mount("/x", "nonsense")
    elif break_it == "the next device":
        container.linux["netDevices"]["nonsense0"] = {}
    elif break_it == "a name":
        container.linux["netDevices"][f"{device}p"] = {"name": "lo"}
    else:
        container.args = ["/nowhere"]
    container.refused()
    assert shown(device) == before


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("nonsense0", "", "no such interface"),
        ("", "lo", "the container has an interface lo already"),
        ("lo", "inner", "a loopback interface stays"),
    ],
)
def test_what_cannot_be_moved(container: Container, device: str, name: str, target: str, words: str) -> None:
    before = shown("lo"), shown(device)
    name = name or device
    container.linux["netDevices"] = {name: {"name": target}}
    container.refused(f"/linux/netDevices/{name}", words)
    assert (shown("lo"), shown(device)) == before
