"""Drives a runtime's command line as a black box: a container is made from a bundle, and says what it sees.

The runtime is build/pyrun, or any other: `pytest tests/integration --runtime=/usr/sbin/runc`. The whole session lives
in a mount namespace of its own. After each test nothing may be left of it: mounts, cgroups, processes, descriptors,
state.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import PYRUN, Container, Runtime, cgroups, descriptors, libc, mounts, processes, tidy

ROOT = os.geteuid() == 0
CLONE_NEWNS, MS_REC, MS_PRIVATE, PR_SET_CHILD_SUBREAPER = 0x20000, 1 << 14, 1 << 18, 36
APPLETS = (
    "ash", "cat", "chmod", "chown", "cp", "cut", "dd", "df", "env", "find", "grep", "head", "hostname", "id",
    "ifconfig", "ip", "kill", "ln", "ls", "mkdir", "mkfifo", "mknod", "mount", "mv", "nc", "nproc", "printenv", "ps",
    "pwd", "readlink", "rm", "rmdir", "sed", "sh", "sleep", "sort", "stat", "stty", "sync", "tail", "test", "touch",
    "tr", "true", "tty", "umount", "uname", "unshare", "wc",
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--peers", action="store_true", help="leave out nothing that old peers do otherwise")
    parser.addoption("--runtime", default=str(PYRUN), help="the runtime to test (default: build/pyrun)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "pyrun_only(reason): about what only pyrun does; skipped on other runtimes")
    config.addinivalue_line("markers", "differs(runc=reason, crun=reason): where an old peer does otherwise")
    if not ROOT:
        return
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        raise pytest.UsageError(f"no mount namespace for the tests: {os.strerror(ctypes.get_errno())}")
    # Whatever outlives its runtime becomes a child of the tests: so a leaked process is seen, and can be waited for.
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    hugetlb = Path("/sys/fs/cgroup/hugetlb")
    if "crun" in config.getoption("runtime") and hugetlb.is_dir():
        # crun 1.8 refuses the hybrid mode unless this controller is off cgroup v2.
        libc.mount(b"cgroup", bytes(hugetlb), b"cgroup", 0, b"hugetlb")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    name = Path(config.getoption("runtime")).name
    for item in items:
        if not ROOT and {"integration", "security"} & set(item.path.parts):
            item.add_marker(pytest.mark.skip("needs root"))
        if (only := item.get_closest_marker("pyrun_only")) and name != "pyrun":
            item.add_marker(pytest.mark.skip(only.args[0]))
        if (differs := item.get_closest_marker("differs")) and name in differs.kwargs:
            item.add_marker(pytest.mark.xfail(reason=differs.kwargs[name]))


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rootfs that every test gets a copy of: the files are the same, by hard links."""
    rootfs = tmp_path_factory.mktemp("image") / "rootfs"
    for folder in ("bin", "etc", "proc", "sys", "dev", "tmp", "root"):
        (rootfs / folder).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", rootfs / "bin/busybox")
    for name in APPLETS:
        (rootfs / "bin" / name).symlink_to("busybox")
    (rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
    (rootfs / "tmp").chmod(0o1777)
    return rootfs


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `pyrun spec` writes."""
    folder = tmp_path_factory.mktemp("spec")
    subprocess.run([PYRUN, "spec", "--bundle", folder], check=True)
    return (folder / "config.json").read_text()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """The leak check, the last thing that happens in a test."""
    if not ROOT:
        yield
        return
    before = mounts(), descriptors()
    yield
    left = processes()
    after = mounts(), descriptors()
    found = cgroups(f"test-{os.getpid()}-")
    tidy(left, after[0] - before[0], found)
    assert not left, "processes"
    assert after[0] == before[0], "mounts"
    assert after[1] == before[1], "descriptors"
    assert not found, "cgroups"


@pytest.fixture
def runtime(request: pytest.FixtureRequest, tmp_path: Path, nothing_left: None) -> Iterator[Runtime]:
    runtime = Runtime(request.config.getoption("runtime"), tmp_path, request.config.getoption("peers"))
    yield runtime
    for name in runtime.ids():
        runtime("delete", "--force", name)
    assert runtime.ids() == []


@pytest.fixture
def new_container(runtime: Runtime, tmp_path: Path, image: Path, example: str) -> Callable[[], Container]:
    """A function that makes bundles, each for a container of its own."""

    def make() -> Container:
        config = json.loads(example)
        for folder in (*list(tmp_path.parents)[:2], tmp_path):
            folder.chmod(0o711)  # runc must get there in a user namespace
        config["process"] |= {"terminal": False, "args": ["/bin/true"]}
        if runtime.name == "crun":
            config["ociVersion"] = "1.0.2"
        container = Container(runtime, tmp_path / f"bundle-{len(runtime.containers)}", config)
        shutil.copytree(image, container.rootfs, symlinks=True, copy_function=os.link)
        # Only what is never written may be shared with other tests.
        for name in ("etc/passwd",):
            content = (container.rootfs / name).read_bytes()
            (container.rootfs / name).unlink()
            (container.rootfs / name).write_bytes(content)
        return container

    return make


@pytest.fixture
def container(new_container: Callable[[], Container]) -> Container:
    return new_container()
