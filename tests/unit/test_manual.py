"""packaging/deb/manual.py: the manual pages that the Debian package has, made of docs/commands/."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pyrun.cli.table import COMMANDS, GLOBAL, Option

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    into = tmp_path_factory.mktemp("man")
    script = CHECKOUT / "packaging/deb/manual.py"
    command = [sys.executable, "-IS", script, CHECKOUT / "docs/commands", into, "1.2.3", "2026-01-02"]
    subprocess.run(command, check=True)
    return {path.name: path.read_text() for path in into.iterdir()}


def test_every_command_has_one(pages: dict[str, str]) -> None:
    assert set(pages) == {"pyrun.1", *(f"pyrun-{name}.1" for name in COMMANDS)}


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_a_page(pages: dict[str, str], name: str) -> None:
    page = pages[f"pyrun-{name}.1" if name else "pyrun.1"]
    assert page.startswith(f'.TH PYRUN{f"-{name}".upper() if name else ""} 1 "2026-01-02" "pyrun 1.2.3"')
    for row in COMMANDS[name].options if name else GLOBAL:
        for option in Option(row).names:
            assert option.replace("-", "\\-") in page, option
    for mark in ("| ", "```", "](", "\n#"):
        assert mark not in page, mark
