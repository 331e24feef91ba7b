"""All six hooks: when, where, with what, and what their failure means (config.md "POSIX-platform Hooks")."""

from __future__ import annotations

import os

import pytest
from harness import HOOK_KINDS, Container

AT_CREATE = HOOK_KINDS[:3]


@pytest.mark.parametrize("kind", HOOK_KINDS)
def test_descriptors(container: Container, kind: str) -> None:
    """A hook has its stdio and nothing else."""
    container.unlike(runc="1.1 leaks some", crun="1.8 leaks some")
    container.mount("/bundle", "bind", str(container.path), "rbind")
    folder = "/bundle" if kind == "startContainer" else str(container.path)
    container.hook(kind, f"ls /proc/self/fd > {folder}/fds")
    read, write = os.pipe()
    os.set_inheritable(read, True)
    os.set_inheritable(write, True)
    try:
        assert container.run("true", close_fds=False).code == 0
    finally:
        os.close(read)
        os.close(write)
    assert (container.path / "fds").read_text().split() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("kind", AT_CREATE)
def test_a_timeout_kills_the_group(container: Container, kind: str) -> None:
    container.unlike(runc="1.1 leaves its children", crun="1.8 leaves its children")
    container.hook(kind, "sleep 1000 & sleep 1000", timeout=1)
    container.refused(f"/hooks/{kind}/0", "took longer than its timeout of 1 s")


def test_a_hook_may_leave_a_child(container: Container) -> None:
    """One that keeps the pipe open: the hook is over when its process is."""
    container.unlike(runc="1.1 waits for it")
    container.hook("prestart", f"sleep 1000 & echo $! > {container.path}/child")
    assert container.run("true").code == 0
    child = int((container.path / "child").read_text())
    os.kill(child, 9)
    container.wait(child)


def test_a_hook_that_talks_much(container: Container) -> None:
    container.hook("prestart", "dd if=/dev/zero bs=1000 count=1000 2>/dev/null; echo words; exit 1")
    container.refused("/hooks/prestart/0", "words")


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "poststart", "poststop"])
def test_the_working_directory_on_the_host_is_the_bundle(container: Container, kind: str) -> None:
    """Whoever calls from wherever."""
    container.unlike(runc="1.1: the caller's, unless it is create", crun="1.8: the caller's, unless it is create")
    container.hook(kind, "pwd > /proc/self/cwd/where; echo . > beside")
    assert container.run("true", cwd="/").code == 0
    assert (container.path / "where").read_text().strip() == str(container.path)
    assert (container.path / "beside").exists()


def test_the_working_directory_of_createcontainer_is_the_root(container: Container) -> None:
    container.unlike(crun="1.8: /")
    container.hook("createContainer", "pwd > here")
    assert container.run("cat /here", cwd="/").out.strip() == str(container.path / "rootfs")


def test_poststop_when_the_bundle_is_gone(container: Container) -> None:
    container.unlike(runc="1.1 looks for the bundle", crun="1.8 looks for the bundle")
    where = container.path.parent / "where"
    container.hook("poststop", f"pwd > {where}")
    container.create()
    moved = container.path.rename(container.path.with_name("moved"))
    try:
        container.kill()
        container.delete("--force")
    finally:
        moved.rename(container.path)
    assert where.read_text() == "/\n"


def test_startcontainer_without_env_has_that_of_the_process(container: Container) -> None:
    container.unlike(crun="1.8: none")
    container.process["env"] = ["PATH=/bin", "COLOUR=green"]
    container.mount("/bundle", "bind", str(container.path), "rbind")
    container.hook("startContainer", "echo $COLOUR > /bundle/colour")
    assert container.run("true").code == 0
    assert (container.path / "colour").read_text() == "green\n"
