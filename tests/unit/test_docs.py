"""The documents say what the command table says."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyrun.cli.parse import parse
from pyrun.cli.table import COMMANDS, GLOBAL, Option

if TYPE_CHECKING:
    from harness import Container

CHECKOUT = Path(__file__).parents[2]
PAGES = CHECKOUT / "docs/commands"
DOCUMENTS = [*sorted(CHECKOUT.glob("*.md")), *sorted((CHECKOUT / "docs").rglob("*.md"))]


def name(page: Path) -> str:
    return str(page.relative_to(CHECKOUT))


@pytest.mark.parametrize("name", ["global", *COMMANDS])
def test_a_page_has_the_options_of_its_command(name: str) -> None:
    options = [Option(row) for row in (GLOBAL if name == "global" else COMMANDS[name].options)]
    rows = re.findall(r"^\| (`-.*?) \|", (PAGES / f"{name}.md").read_text(), re.MULTILINE)
    said = {frozenset(re.findall(r"(?<![\w-])--?[\w-]+", row)): row for row in rows}
    assert set(said) == {frozenset(option.names) for option in options}
    for option in options:
        assert said[frozenset(option.names)].split("`")[-2].partition(" ")[2] == option.metavar


def test_the_glossary_is_sorted_and_has_each_word_that_it_uses() -> None:
    text = (CHECKOUT / "docs/glossary.md").read_text()
    words = re.findall(r"^\*\*(.*?)\*\*", text, re.MULTILINE)
    assert words == sorted(words, key=str.lower)
    used = re.findall(r"(?<!\*)\*([\w ]+)\*(?!\*)", text)
    assert {word if word in words else word.removesuffix("s") for word in used} <= set(words)


def test_every_page_is_about_a_command() -> None:
    assert {page.stem for page in PAGES.iterdir()} == {"global", *COMMANDS}


def test_the_readme_names_every_command_and_no_other() -> None:
    readme = (CHECKOUT / "README.md").read_text()
    assert set(re.findall(r"^\| \[`(\w+)`\]", readme, re.MULTILINE)) == set(COMMANDS)
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", readme, re.MULTILINE | re.DOTALL))
    assert set(re.findall(r"^pyrun (\w+)", shell, re.MULTILINE)) <= set(COMMANDS)
    targets = set(re.findall(r"^([\w-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)", shell, re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", DOCUMENTS, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", DOCUMENTS, ids=name)
def test_links_to_headings_lead_to_one(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
        text = re.sub(r"^```.*?^```", "", ((page.parent / target) if target else page).read_text(), flags=re.M | re.S)
        headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
        # As code hosts and the site make them.
        assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, anchor


def table(page: Path, heading: str) -> dict[str, set[str]]:
    """The words in code of a table's columns: those of the first, by those of the second."""
    rows = re.search(rf"^\| {heading} \|.*\n\|[ -|]+\n((?:\|.*\n)+)", page.read_text(), re.MULTILINE)
    assert rows
    cells = [row.split("|") for row in rows[1].splitlines()]
    return {cell[1].strip().strip("`"): set(re.findall(r"`([\w/.]+)`", cell[2])) for cell in cells}


def test_imports_point_the_way_that_the_table_says() -> None:
    arrows = table(CHECKOUT / "CONTRIBUTING.md", r"room \| imports")
    order = list(arrows)
    assert all(order.index(room) < order.index(other) for room in order for other in arrows[room] - {"hooks"})
    free = {"spec", "errors", "log", "trace", "record", "caller", "version", "run"}
    for room, allowed in arrows.items():
        top = CHECKOUT / room if room in ("hooks", "spec") else CHECKOUT / "runtime" / room
        assert top.is_dir()
        for file in top.rglob("*.py"):
            found = imported(ast.parse(file.read_text()))
            assert found <= {room, *allowed, *([] if room == "spec" else free)}, file


def imported(tree: ast.AST) -> set[str]:
    """The rooms that a module imports when it runs."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING":
        return set()
    if isinstance(tree, ast.ImportFrom) and (tree.module or "").partition(".")[0] == "pyrun":
        modules = [tree.module or ""] if "." in (tree.module or "") else [f"pyrun.{name.name}" for name in tree.names]
        return {module.split(".")[1] for module in modules}
    return set().union(*map(imported, ast.iter_child_nodes(tree)))


def test_the_design_names_every_instruction() -> None:
    rows = re.findall(r"^\| ([a-z, ]+) \|", (CHECKOUT / "docs/design.md").read_text(), re.MULTILINE)
    said = {name for row in rows if row != "instruction" for name in row.split(", ")}
    listed = (
        (CHECKOUT / "runtime/machine/executor.c").read_text().partition("enum { SYSCALL")[2].partition("OPCODES")[0]
    )
    assert said == {"syscall", *re.findall(r"\w+", listed.lower())}


def test_every_hole_that_is_replayed_is_listed() -> None:
    def holes(text: str) -> set[str]:
        return set(re.findall(r"CVE-\d+-\d+", text))

    replayed = holes((CHECKOUT / "tests/security/test_replays.py").read_text())
    assert replayed <= holes((CHECKOUT / "docs/security.md").read_text())


def test_every_decision_is_listed_and_has_its_parts() -> None:
    index = (CHECKOUT / "docs/decisions/README.md").read_text()
    pages = sorted((CHECKOUT / "docs/decisions").glob("[0-9]*.md"))
    assert re.findall(r"^\d+\. \[(.*)\]\((.*)\)$", index, re.MULTILINE) == [
        (page.read_text().splitlines()[0].partition(". ")[2], page.name) for page in pages
    ]
    for number, page in enumerate(pages, 1):
        assert page.name.startswith(f"{number:02}-")
        assert re.findall("^## (.*)", page.read_text(), re.MULTILINE) == ["Context", "Decision", "Consequences"]


@pytest.mark.parametrize("page", DOCUMENTS, ids=name)
def test_command_lines_can_be_parsed(page: Path) -> None:
    text = page.read_text()
    shell, sessions = (
        "\n".join(re.findall(rf"^```{kind}\n(.*?)^```", text, re.M | re.S)) for kind in ("sh", "console")
    )
    for line in re.findall("^pyrun (.+)", shell, re.M) + re.findall(r"^\$ pyrun (.+)", sessions, re.M):
        words = shlex.shlex(line, posix=True, punctuation_chars="<>|;&")
        words.whitespace_split = True
        _, command, _, _ = parse([*takewhile(lambda word: word[0] not in "<>|;&", filter(None, words))])
        assert command in COMMANDS, line


@pytest.mark.parametrize("page", DOCUMENTS, ids=name)
def test_files_that_are_named_exist(page: Path) -> None:
    for path in re.findall(r"`((?:runtime|spec|hooks|tests|conformance|packaging)/[\w/.-]+)`", page.read_text()):
        assert "NAME" in path or (CHECKOUT / path).exists(), path


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
