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
