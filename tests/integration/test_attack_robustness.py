"""Odd surroundings: a full disk, no descriptors left, processes that die at the wrong moment."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Container, Runtime, cgroups, libc, message

pytestmark = pytest.mark.pyrun_only("about its words and its cleaning up")
MNT_DETACH = 2
ROUNDS = range(1, 9)


@pytest.fixture
def tiny(runtime: Runtime, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A --root on a file system with so many inodes."""
    runtime.root.mkdir()
    options = f"size=1m,mode=700,nr_inodes={request.param}".encode()
    assert libc.mount(b"tiny", bytes(runtime.root), b"tmpfs", 0, options) == 0
    yield runtime.root
    libc.umount2(bytes(runtime.root), MNT_DETACH)


@pytest.mark.parametrize("tiny", ROUNDS, indirect=True)
def test_a_full_disk(container: Container, tiny: Path) -> None:
    done = container.run("true")
    assert done.code in (0, 1)
    if done.code:
        assert len(done.err.splitlines()) == 1
        assert "no space left on device" in done.err
        assert "pyrun itself failed" not in done.err
    assert os.listdir(tiny) == []
    assert cgroups(container.id) == []


@pytest.mark.parametrize("limit", [10, 12, 14, 16, 18])
def test_no_descriptors_left(container: Container, limit: int) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, 1024))

    container.process.pop("rlimits", None)
    done = container.run("true", preexec_fn=limited)
    assert done.code in (0, 1)
    assert "pyrun itself failed" not in done.err
    if done.code:
        assert "too many open files" in done.err
        assert not container.exists()


def test_a_root_that_is_a_file(runtime: Runtime) -> None:
    runtime.root.write_text("")
    done = runtime("list")
    runtime.root.unlink()
    assert done.code == 1
    assert "ENOTDIR" in message(done.err)


@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_init_dies_during_create(container: Container, kind: str, user: bool) -> None:
    """With limits and a user namespace a half of the program stays outside: it must not keep init's end from being
    seen."""
    container.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    if user:
        container.user_namespace()
    if kind == "createRuntime":
        container.hook(kind, "kill -9 $(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')")
        container.refused("init", "killed by signal 9")
    else:
        # The hook is in init's pid namespace, and dies with it.
        container.hook("createRuntime", "cat > pid")
        container.hook(kind, "kill -9 $(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/' pid)")
        container.write()
        assert container.runtime("create", "--bundle", container.path, container.id, cwd=container.path).code == 1
        assert not container.exists()


def test_the_middle_dies(container: Container) -> None:
    """With a limit so low that there is not even an init."""
    container.user_namespace()
    container.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    container.linux["resources"]["memory"] = {"limit": 4096}
    container.refused("OOM-killed", "/linux/resources/memory")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.linux["resources"].update(devices=[{"access": "rwm"}]), "/linux/resources/devices/0/allow"),
        (lambda c: c.linux.update(readonlyPaths=["/none"] * 70_000), "larger than the executor takes"),
    ],
)
def test_configs_that_are_too_much(container: Container, change: Any, words: str) -> None:
    change(container)
    container.refused(words)
