"""Ending children: with what they have started, which may have happened before anybody heard of it. Who traces them."""

from __future__ import annotations

import ctypes
import os
import select
import signal

import pytest

from pyrun.kernel.process import end_child, tracer


def test_a_child_is_ended_with_its_group() -> None:
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setpgid(0, 0)
            os.fork()
            os.write(write, b"!")
            signal.pause()
        finally:
            os._exit(1)
    os.close(write)
    assert len(os.read(read, 1) + os.read(read, 1)) == 2  # both are there
    assert end_child(pid) == signal.SIGKILL
    assert select.select([read], [], [], 20)[0], "the second lives, which holds the pipe"
    os.close(read)


def test_a_child_that_leads_no_group_is_ended() -> None:
    assert end_child(os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})) == signal.SIGKILL


def test_no_child_is_ended() -> None:
    assert end_child(0) is None
    assert end_child(os.getpid()) is None


def test_who_traces() -> None:
    child = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
    try:
        assert tracer(child) == 0
        if ctypes.CDLL(None).ptrace(0x4206, child, None, None):  # PTRACE_SEIZE
            pytest.skip("ptrace(2) is not allowed here")
        assert tracer(child) == os.getpid()
    finally:
        end_child(child)
    assert tracer(child) == 0
