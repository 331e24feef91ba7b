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


@pytest.fixture
def device() -> Iterator[str]:
    """One end of a veth, with an address; down."""
    if not shutil.which("ip"):
        pytest.skip("needs ip(8)")
    name = f"cv{os.getpid()}"
    ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    ip("address", "add", "192.0.2.7/24", "dev", name)
    yield name
    subprocess.run(["ip", "link", "delete", f"{name}p"], stderr=subprocess.DEVNULL, check=False)


def on_the_host(name: str) -> bool:
    return os.path.exists(f"/sys/class/net/{name}")


@pytest.mark.must(92, 93)
def test_it_moves(container: Container, device: str) -> None:
    container.linux["netDevices"] = {device: {}}
    container.create()
    assert not on_the_host(device)
    seen = subprocess.run(
        ["nsenter", f"--net=/proc/{container.pid}/ns/net", "ip", "address", "show", device],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "192.0.2.7/24" in seen
    assert ",UP" in seen


@pytest.mark.must(93)
def test_it_gets_a_name(container: Container, device: str) -> None:
    container.linux["netDevices"] = {device: {"name": "inner0"}}
    assert "192.0.2.7/24" in container.sees("ip addr show inner0")


@pytest.mark.must(91)
def test_a_name_that_is_taken(container: Container, device: str) -> None:
    container.linux["netDevices"] = {device: {"name": "lo"}}
    container.refused()
    assert on_the_host(device)


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
