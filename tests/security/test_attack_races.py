"""A folder that is exchanged for a link, without pause, while a container is made in it (CVE-2021-30465,
CVE-2024-45310): nothing may be mounted or made where the link leads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Container

ROUNDS = 60
# renameat2(2) with RENAME_EXCHANGE, for ever
SWAP = """
import ctypes, sys
a, b = (path.encode() for path in sys.argv[1:])
rename = ctypes.CDLL(None).renameat2
while True:
    rename(-100, a, -100, b, 2)
"""


@pytest.fixture
def canary(container: Container) -> Path:
    folder = container.path / "canary"
    folder.mkdir()
    return folder


@pytest.fixture
def swapped(container: Container, canary: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A volume at /vol whose `x` is now a folder, now a link to the canary."""
    volume = container.path / "volume"
    (volume / "x/y").mkdir(parents=True)
    (volume / "other").symlink_to(canary if request.param == "absolute" else f"{'../' * 20}{canary}")
    container.mount("/vol", "bind", str(volume), "rbind")
    process = subprocess.Popen([sys.executable, "-c", SWAP, volume / "x", volume / "other"])
    yield "/vol/x"
    process.kill()
    process.wait()


def ask_for(container: Container, what: str, at: str) -> None:
    asked: dict[str, Any] = {
        "mount": lambda: container.mount(f"{at}/y", "tmpfs", "tmpfs"),
        "missing mount": lambda: container.mount(f"{at}/p/q/r", "bind", "/etc", "rbind"),
        "device": lambda: container.linux.update(
            devices=[{"path": f"{at}/dev/null", "type": "c", "major": 1, "minor": 3}]
        ),
        "masks": lambda: container.linux.update(maskedPaths=[f"{at}/y"], readonlyPaths=[at]),
        "cwd": lambda: container.process.update(cwd=f"{at}/made/deep"),
    }
    asked[what]()


@pytest.mark.pyrun_only("slow, and the old peers are open to some")
@pytest.mark.parametrize("swapped", ["absolute", "relative"], indirect=True)
@pytest.mark.parametrize("what", ["mount", "missing mount", "device", "masks", "cwd"])
def test_nothing_lands_on_the_canary(container: Container, canary: Path, swapped: str, what: str) -> None:
    ask_for(container, what, swapped)
    container.hook("createRuntime", f"! grep -q ' [^ ]*{canary.name} ' /proc/self/mountinfo")
    for _ in range(ROUNDS):
        done = container.run("true")
        assert done.code in (0, 1), done
        assert "Traceback" not in done.err
        assert os.listdir(canary) == []
        assert str(canary) not in Path("/proc/self/mountinfo").read_text()
