"""What each hot verb imports: the interpreter's start is most of the time of a call, so every module counts.

What is not the project's own is pinned by name; a library that needs more belongs into a function on a cold path.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pyrun

if TYPE_CHECKING:
    from harness import Container

LIB = Path(pyrun.__file__).parents[1]
HOT = ("create", "start", "state", "kill", "delete", "run", "exec")

# Modules in C, and those that cost nothing.
ALLOWED = {
    "__future__",
    "_functools",
    "_json",
    "_signal",
    "_socket",
    "_struct",
    "errno",
    "fcntl",
    "math",
    "posix",
    "select",
    "time",
}
FORBIDDEN = {
    "argparse", "array", "click", "collections", "contextlib", "ctypes", "dataclasses", "enum", "functools", "inspect",
    "json", "jsonschema", "logging", "os", "pathlib", "platform", "prctl", "psutil", "re", "shutil", "signal", "site",
    "socket", "stat", "string", "struct", "subprocess", "tempfile", "threading", "traceback", "types", "typing",
    "warnings", "weakref",
}  # fmt: skip

IMPORT = """
import sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
import pyrun.cli.main
__import__("pyrun.cli." + sys.argv[2])
print(*sorted(set(sys.modules) - before))
"""

RUN = """
import sys
before = set(sys.modules)
out, lib, *argv = sys.argv[1:]
sys.path.insert(0, lib)
from pyrun.cli.main import main
code = main(argv)
with open(out, "w") as file:
    print(*sorted(set(sys.modules) - before), file=file)
sys.exit(code)
"""


def foreign(names: list[str]) -> set[str]:
    return {name for name in names if name.partition(".")[0] != "pyrun"}


@pytest.mark.parametrize("verb", HOT)
def test_importing_the_command(verb: str) -> None:
    command = [sys.executable, "-I", "-S", "-c", IMPORT, str(LIB), verb]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert f"pyrun.cli.{verb}" in names
    assert not FORBIDDEN & set(names)
    assert foreign(names) <= ALLOWED


@pytest.mark.parametrize("verb", HOT)
def test_a_command_loads_no_other(verb: str) -> None:
    command = [sys.executable, "-I", "-S", "-c", IMPORT, str(LIB), verb]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    commands = {name.rpartition(".")[2] for name in names if name.startswith("pyrun.cli.")}
    assert commands <= {verb, "main", "parse", "table", "_lifecycle"}


# What a verb really loads when it does its work: the most, by verb. state, kill and delete do without the compiler.
LEAN = ("state", "kill", "delete", "start")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.pyrun_only("about its modules")
def test_a_whole_life(container: Container, tmp_path: Path) -> None:
    container.sh("exit 0")
    container.write()
    root = ("--root", str(container.runtime.root))
    bundle = ("--bundle", str(container.path))
    life = [
        ("create", *bundle, container.id),
        ("state", container.id),
        ("kill", container.id, "CONT"),
        ("start", container.id),
        ("delete", "--force", container.id),
        ("run", *bundle, container.id),
    ]
    for verb, *arguments in life:
        out = tmp_path / f"modules-{verb}"
        command = [sys.executable, "-I", "-S", "-c", RUN, str(out), str(LIB), *root, verb, *arguments]
        subprocess.run(command, check=True, timeout=20, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        names = out.read_text().split()
        assert foreign(names) <= ALLOWED, verb
        if verb in LEAN:
            heavy = {n for n in names if n.startswith(("pyrun.plan", "pyrun.spec.checks", "pyrun.spec.schema"))}
            assert not heavy, (verb, heavy)
