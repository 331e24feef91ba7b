"""What the tests of all managers share."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# By whom cgroups are made: cgroupfs or systemd.
CGROUPS = os.environ.get("CGROUP_MANAGER", "cgroupfs")
# The kernel can translate addresses: User Mode Linux can't, and then networks reach each other and nothing else.
NAT = not subprocess.run(
    ["unshare", "--net", "iptables", "--table", "nat", "--new-chain", "PROBE"], capture_output=True, check=False
).returncode


def memory_limit(container: str) -> str:
    """Of the cgroup with the container's id in its name."""
    found = [Path(path) for path, _, _ in os.walk("/sys/fs/cgroup") if container in path.rpartition("/")[2]]
    files = [folder / name for folder in found for name in ("memory.limit_in_bytes", "memory.max")]
    return next(file for file in files if file.exists()).read_text().strip()


class Daemon:
    """A server of the tests' own; `log` has what it says."""

    def __init__(self, command: list[str | Path], log: Path, address: Path, **popen: object) -> None:
        self.command, self.log, self.address, self.popen = command, log, address, popen
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self.popen,  # type: ignore[call-overload]
            )
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            with socket.socket(socket.AF_UNIX) as tried:
                try:
                    tried.connect(str(self.address))
                    return
                except OSError:
                    time.sleep(0.05)
        raise AssertionError(self.log.read_text()[-3000:])

    def stop(self, number: int = 15) -> None:
        if self.process:
            self.process.send_signal(number)
            self.process.wait(60)
            self.process = None


class Client:
    """A manager's command line, and where the words of its daemon are, if it has one."""

    command: list[str | Path]
    environment: dict[str, str] | None = None
    daemon: Daemon | None = None
    seconds = 60

    def __call__(self, *arguments: str | Path, **popen: Any) -> subprocess.CompletedProcess[str]:
        popen = {"stdin": subprocess.DEVNULL, "env": self.environment, "timeout": self.seconds} | popen
        return subprocess.run([*self.command, *arguments], capture_output=True, text=True, check=False, **popen)

    def ok(self, *arguments: str | Path, **popen: Any) -> str:
        """What it prints when it succeeds."""
        done = self(*arguments, **popen)
        assert done.returncode == 0, (done, self.daemon and self.daemon.log.read_text()[-2000:])
        return done.stdout.strip()


def eventually(question: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether it comes true before long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if question():
            return True
        time.sleep(0.05)
    return False
