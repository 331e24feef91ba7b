"""What is done in several processes comes as if it had been done in one."""

from __future__ import annotations

import errno
import os
import posix
import signal
from typing import Any

import pytest

from pyrun.kernel import shares
from pyrun.kernel.shares import in_shares

NAMES = [f"name-{i}" for i in range(10)]
CPUS = {0, 1, 2, 3}


@pytest.fixture(autouse=True)
def _cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posix, "sched_getaffinity", lambda pid: CPUS)


def rows(names: list[str]) -> list[Any]:
    return [{"name": name, "pid": os.getpid(), "surrogate": "\udc80", "large": 1 << 80} for name in names]


@pytest.mark.parametrize(("least", "processes"), [(1, 4), (2, 4), (3, 3), (4, 2), (5, 2), (6, 1), (100, 1)], ids=str)
def test_shares(least: int, processes: int) -> None:
    """As many as there are CPUs, and as have enough to do; all names, in their order."""
    found = in_shares(rows, NAMES, least)
    assert [row["name"] for row in found] == NAMES
    assert found[0] == {"name": "name-0", "pid": os.getpid(), "surrogate": "\udc80", "large": 1 << 80}
    assert len({row["pid"] for row in found}) == processes


def test_many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process takes a descriptor, so they are not as many as a large machine has."""
    monkeypatch.setattr(posix, "sched_getaffinity", lambda pid: set(range(64)))
    names = [f"name-{i:03}" for i in range(500)]
    found = in_shares(rows, names, 1)
    assert [row["name"] for row in found] == names
    assert len({row["pid"] for row in found}) == 8


def test_a_signal_to_another_is_none_to_us() -> None:
    """What wakes us by a signal is not theirs."""
    read, write = os.pipe2(os.O_NONBLOCK)
    before = signal.set_wakeup_fd(write)
    try:
        found = in_shares(lambda names: [signal.set_wakeup_fd(-1)], NAMES, 3)
    finally:
        signal.set_wakeup_fd(before)
        os.close(read)
        os.close(write)
    assert found == [write, -1, -1]


def test_none() -> None:
    assert in_shares(rows, [], 5) == []


def test_one_that_fails(capfd: pytest.CaptureFixture[str]) -> None:
    """It is done by us; so what is raised is raised here, once."""
    ours = os.getpid()

    def work(names: list[str]) -> list[Any]:
        if os.getpid() != ours:
            raise KeyError(names)
        return rows(names)

    assert [(row["name"], row["pid"]) for row in in_shares(work, NAMES, 2)] == [(name, ours) for name in NAMES]
    assert capfd.readouterr() == ("", "")


def test_one_that_is_killed_as_it_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    def write_some(fd: int, content: bytes) -> None:
        os.write(fd, content[:20])
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(shares, "write_all", write_some)
    assert {row["pid"] for row in in_shares(rows, NAMES, 1)} == {os.getpid()}


@pytest.mark.parametrize("call", ["fork", "pipe2"])
def test_no_process_to_be_had(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EAGAIN, "no")

    monkeypatch.setattr(posix, call, refuse)
    assert {row["pid"] for row in in_shares(rows, NAMES, 1)} == {os.getpid()}


def test_what_we_raise_ends_the_others() -> None:
    """They are waited for, however much they had to say."""
    ours = os.getpid()
    before = os.listdir("/proc/self/fd")

    def work(names: list[str]) -> list[Any]:
        if os.getpid() == ours:
            raise KeyError(names[0])
        return ["x" * (1 << 20)]

    with pytest.raises(KeyError, match="name-0"):
        in_shares(work, NAMES, 1)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert os.listdir("/proc/self/fd") == before
