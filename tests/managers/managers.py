"""What the tests of all managers share."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


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


def eventually(question: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether it comes true before long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if question():
            return True
        time.sleep(0.05)
    return False
