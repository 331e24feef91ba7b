"""The documents say what the command table says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyrun.cli.table import COMMANDS, GLOBAL, Option

if TYPE_CHECKING:
    from harness import Container

CHECKOUT = Path(__file__).parents[2]
PAGES = CHECKOUT / "docs/commands"


@pytest.mark.parametrize("name", ["global", *COMMANDS])
def test_a_page_has_the_options_of_its_command(name: str) -> None:
    options = [Option(row) for row in (GLOBAL if name == "global" else COMMANDS[name].options)]
    rows = re.findall(r"^\| (`-.*?) \|", (PAGES / f"{name}.md").read_text(), re.MULTILINE)
    said = {frozenset(re.findall(r"(?<![\w-])--?[\w-]+", row)): row for row in rows}
    assert set(said) == {frozenset(option.names) for option in options}
    for option in options:
        assert said[frozenset(option.names)].split("`")[-2].partition(" ")[2] == option.metavar


def test_every_page_is_about_a_command() -> None:
    assert {page.stem for page in PAGES.iterdir()} == {"global", *COMMANDS}


def test_the_readme_names_every_command_and_no_other() -> None:
    readme = (CHECKOUT / "README.md").read_text()
    assert set(re.findall(r"^\| \[`(\w+)`\]", readme, re.MULTILINE)) == set(COMMANDS)
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", readme, re.MULTILINE | re.DOTALL))
    assert set(re.findall(r"^pyrun (\w+)", shell, re.MULTILINE)) <= set(COMMANDS)
    targets = set(re.findall(r"^([\w-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)", shell, re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))], ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


DEBUGGING = CHECKOUT / "docs/debugging.md"
BY_HAND = re.findall(r"^```sh\n(.*?)^```", DEBUGGING.read_text().partition("## Below a manager")[0], re.M | re.S)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.pyrun_only("about its documents")
@pytest.mark.parametrize("script", BY_HAND, ids=[script.splitlines()[0] for script in BY_HAND])
def test_the_commands_for_debugging_work(container: Container, tmp_path: Path, script: str) -> None:
    container.sh("exit 0")
    container.write()
    programs = tmp_path / "programs"
    programs.mkdir()
    words = " ".join(shlex.quote(word) for word in container.runtime.command())
    (programs / "pyrun").write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    (programs / "pyrun").chmod(0o755)
    script = script.replace("/tmp/", f"{tmp_path}/").replace("/run/pyrun/", f"{container.runtime.root}/")
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    said = tmp_path / "said"
    with said.open("w") as out:  # no pipe, which a container that is left would hold open
        shell = ["sh", "-e", "-c", script]
        done = subprocess.run(shell, cwd=container.path, env=environment, stdout=out, stderr=out, timeout=60)
    assert done.returncode == 0, said.read_text()
    assert "level=error" not in said.read_text()
