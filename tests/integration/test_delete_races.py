"""A container that ends while it is deleted: that is what was wanted, and no error."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from harness import Container


@pytest.mark.pyrun_only("where it looks is its own")
@pytest.mark.parametrize("call", ["pidfd_open", "pidfd_send_signal"])
def test_it_ends_just_before(container: Container, call: str, tmp_path: Path) -> None:
    """strace holds `delete --force` before each such call, long enough for init to end by itself."""
    container.args = ["sleep", "1000"]
    container.create()
    container.start()
    pid = container.pid
    held = tmp_path / "held"
    command = [
        "strace", "-qq", "-o", held, "-e", f"trace={call}", "-e", f"inject={call}:delay_enter=300000",
        *map(str, container.runtime.command("delete", "--force", container.id)),
    ]  # fmt: skip
    pidfd = os.pidfd_open(pid)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as deleting:
        while deleting.poll() is None and not (held.exists() and held.read_text()):
            pass
        signal.pidfd_send_signal(pidfd, 9)
        reaper = threading.Thread(target=container.wait, args=(pid,))
        reaper.start()
        assert deleting.wait(30) == 0, deleting.stderr and deleting.stderr.read()
        reaper.join()
    os.close(pidfd)
    assert not container.exists()
