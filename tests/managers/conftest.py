"""The runtime below real managers, each started by the tests themselves, with whatever they write out of sight.

All of it runs in a mount namespace with file systems of its own where managers keep things, and in a network namespace
of its own: `make test-managers`, or `pytest tests/managers --runtime=/usr/sbin/runc`. pyrun is the installed form.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import archives
import pytest
from containerd import Containerd
from harness import APPLETS, CHECKOUT, PYRUN, libc
from managers import NAT

CLONE_NEWNET = 0x40000000
STAGE = CHECKOUT / "build/stage/bin/pyrun"
# Where managers keep images, states and sockets.
FOLDERS = ["/run", "/var/lib/containers", "/var/lib/docker", "/var/lib/containerd", "/etc/cni", "/etc/containerd"]
if os.environ.get("CGROUP_MANAGER") == "systemd":
    FOLDERS.remove("/run")  # systemd's own; that is for a machine that is thrown away


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """In place of the leak check of single runtimes: managers leave much, all of it in what is thrown away."""


@pytest.fixture(scope="session", autouse=True)
def apart() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for folder in FOLDERS:
        Path(folder).mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "managers", folder], check=True)
    for folder in ("/run/lock", "/run/netns"):
        Path(folder).mkdir(exist_ok=True)
    hugetlb = Path("/sys/fs/cgroup/hugetlb")
    ours = Path("/sys/fs/cgroup/unified").exists() and not os.path.ismount(hugetlb)
    new = not hugetlb.exists()
    if ours:
        # Podman makes a plain folder where it misses this controller's, and can't remove it then; crun refuses.
        hugetlb.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "cgroup", "-o", "hugetlb", "hugetlb", hugetlb], check=True)
    # On cgroup v1 conmon leaves a file `oom` in its working directory, whenever a cgroup's event is its removal too.
    home = Path.cwd()
    os.chdir("/run")
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    assert libc.unshare(CLONE_NEWNET) == 0
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.environ["PATH"] = f"/usr/sbin:/usr/bin:/sbin:/bin:{os.environ['PATH']}"
    if not NAT:
        os.environ["NETAVARK_FW"] = "none"
    yield
    libc.setns(before, CLONE_NEWNET)
    os.chdir(home)
    for folder in reversed(FOLDERS):
        subprocess.run(["umount", "--lazy", folder], check=True)
    if ours:
        subprocess.run(["umount", "--lazy", hugetlb], check=True)
        if new:
            hugetlb.rmdir()


@pytest.fixture(scope="session")
def oci(request: pytest.FixtureRequest) -> str:
    """The path of the runtime's binary."""
    path = str(request.config.getoption("runtime"))
    if path != str(PYRUN):
        return path
    assert STAGE.exists(), "make install PREFIX=build/stage first"
    return str(STAGE)


@pytest.fixture(scope="session")
def kind(oci: str) -> str:
    """pyrun, runc or crun."""
    return Path(oci).name


@pytest.fixture(scope="session")
def rootfs_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A busybox image's files: managers fetch nothing."""
    return archives.files(tmp_path_factory.mktemp("files"), APPLETS)


@pytest.fixture(scope="session")
def archive(rootfs_tar: Path) -> Callable[[str, list[str]], Path]:
    """A function that writes an archive as `docker save` does: (name, command) -> path."""
    return partial(archives.archive, rootfs_tar)


@pytest.fixture(scope="session")
def containerd(
    oci: str, kind: str, archive: Callable[[str, list[str]], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Containerd]:
    with Containerd({kind: oci}, tmp_path_factory.mktemp("containerd")).serving(archive) as made:
        yield made
