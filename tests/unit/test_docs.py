"""The documents say what the command table says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pyrun.cli.table import COMMANDS, GLOBAL, Option

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
