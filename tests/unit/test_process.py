"""Ending children: with what they have started, which may have happened before anybody heard of it."""

from __future__ import annotations

import os
import select
import signal

from pyrun.kernel.process import end_child


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
