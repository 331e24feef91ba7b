"""linux.netDevices: devices of the host's that move into the container (config-linux.md "Network Devices")."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from conformance.harness import Container


def ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no such devices here: {done.stderr.strip()}")
    return done.stdout


ADDRESSES = ("192.0.2.7/24", "198.51.100.9/32", "2001:db8::7/64")


@pytest.fixture
def device() -> Iterator[str]:
    """One end of a veth, with addresses; down."""
    if not shutil.which("ip"):
        pytest.skip("needs ip(8)")
    name = f"cv{os.getpid()}"
    ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    for address in ADDRESSES:
        ip("address", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
    yield name
    subprocess.run(["ip", "link", "delete", f"{name}p"], stderr=subprocess.DEVNULL, check=False)


def on_the_host(name: str) -> bool:
    return os.path.exists(f"/sys/class/net/{name}")


def inside(container: Container, *arguments: str) -> str:
    """The host's ip(8) in the container's network namespace."""
    command = ["nsenter", f"--net=/proc/{container.pid}/ns/net", "ip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.must(90, 92, 93)
def test_it_moves(container: Container, device: str) -> None:
    container.linux["netDevices"] = {device: {}}
    container.create()
    assert not on_the_host(device)
    seen = inside(container, "address", "show", "dev", device)
    assert [address for address in ADDRESSES if address not in seen] == []
    assert ",UP" in seen


@pytest.mark.must(93)
def test_it_gets_a_name(container: Container, device: str) -> None:
    container.linux["netDevices"] = {device: {"name": "inner0"}}
    assert "192.0.2.7/24" in container.sees("ip addr show inner0")


@pytest.mark.must(19, 91)
def test_a_name_that_is_taken(container: Container, device: str) -> None:
    container.linux["netDevices"] = {device: {"name": "lo"}}
    container.refused()
    assert on_the_host(device)
    assert "192.0.2.7/24" in ip("address", "show", "dev", device)


@pytest.mark.must(80)
@pytest.mark.parametrize("name", ["a/b", "..", "a b", "x" * 16, "a:b"])
def test_a_name_that_is_none(container: Container, device: str, name: str) -> None:
    container.linux["netDevices"] = {device: {"name": name}}
    container.refused()
    assert on_the_host(device)


@pytest.mark.must(19)
def test_a_later_failure_gives_it_back(container: Container, device: str) -> None:
    container.linux["netDevices"] = {device: {"name": "inner0"}}
    container.args = ["/no/such"]
    container.refused()
    assert "192.0.2.7/24" in ip("address", "show", "dev", device)


@pytest.mark.must(91)
def test_a_template_finds_a_free_name(container: Container, device: str) -> None:
    """The device's own peer takes the first one."""
    with subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.read(1)
        try:
            ip("link", "set", f"{device}p", "name", "inner0", "netns", str(holder.pid))
            container.namespace("network", f"/proc/{holder.pid}/ns/net")
            container.linux["netDevices"] = {device: {"name": "inner%d"}}
            container.create()
            assert "192.0.2.7/24" in inside(container, "address", "show", "dev", "inner1")
            container.delete("--force")
        finally:
            holder.kill()
            subprocess.run(["ip", "link", "delete", device], stderr=subprocess.DEVNULL, check=False)


@pytest.mark.must(94)
def test_it_is_let_alone_afterwards(container: Container, device: str) -> None:
    """What the container's administrator does with it stays: no later operation brings it up, or its name back."""
    container.linux["netDevices"] = {device: {"name": "inner0"}}
    container.sh("echo up; sleep 1000")
    container.create()
    inside(container, "address", "flush", "dev", "inner0")
    inside(container, "link", "set", "inner0", "down", "name", "mine0")
    container.start()
    assert container.status == "running"
    container.runtime("exec", container.id, "/bin/true")
    seen = inside(container, "address", "show", "dev", "mine0")
    assert ",UP" not in seen
    assert [address for address in ADDRESSES if address in seen] == []
    container.delete("--force")


@pytest.mark.must(90)
def test_a_device_that_is_not_there(container: Container) -> None:
    container.linux["netDevices"] = {"nonsense0": {}}
    container.refused()


@pytest.mark.must(90)
def test_a_device_without_a_network_namespace(container: Container, device: str) -> None:
    container.without_namespace("network")
    container.without_mount("/sys", "/sys/fs/cgroup")
    container.linux["netDevices"] = {device: {}}
    container.refused()
    assert on_the_host(device)


@pytest.mark.must(95)
def test_delete_does_not_bring_it_back(container: Container, device: str) -> None:
    """The namespace outlives the container here: else the veth would be gone with it."""
    with subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.read(1)
        try:
            container.namespace("network", f"/proc/{holder.pid}/ns/net")
            container.linux["netDevices"] = {device: {}}
            container.create()
            moved = not on_the_host(device)
            container.delete("--force")
            assert moved
            assert not on_the_host(device)
        finally:
            holder.kill()
