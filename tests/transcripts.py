"""The ```console blocks of a page, run from the first to the last in one shell, and compared with what the page shows.
All but the tour go on where the first block of the tour ends.

After `$ ` comes what a shell is given, after `> ` more of it; what follows is what it says, stderr included. `...`
stands for anything there. Lines that begin with the prompt of a container's shell are typed at a terminal. What
changes from run to run, the time and the like, is compared as one word: _CHANGES.

`python -m tests.transcripts PAGE...` writes what is said today into those blocks that say otherwise.
"""

from __future__ import annotations

import doctest
import os
import re
import select
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).parents[1]
# Where the pages say that all of it is done.
PLACE = "/srv/tour"
PROMPT = "/ # "
_AT_TERMINAL = CHECKOUT / "tests/at_terminal.py"
_TOUR = CHECKOUT / "docs/tour.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SECONDS = 60
_CHANGES = (
    # What a trace shows of a step is there when it took long enough.
    (r"^ +\d+\.\d{3} +\d+\.\d{3} .*\n", ""),
    (r"^[\d.]+ ms, \d+ events; .*", "SUM"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "TIME"),
    (r"\b[0-9a-f]{64}\b", "DIGEST"),
    # Of `list` and `ps`.
    (r"^(\w+ +)\d+( +(?:created|running|paused|stopped) )", r"\1PID\2"),
    (r"^(\w+ +)\d+ +\d+ +\S+( +\S+ +)\d\d:\d\d:\d\d ", r"\1PID PPID STIME\2TIME "),
    # How many instructions there are, and so their numbers and registers, follows the host's cgroups.
    (r"\br\d+\b", "rN"),
    (r"^( *→? +)\d+ (?=.*\()", r"\1N "),
    (r"-> \d+\b", "-> N"),
    (r"\b\d+ instructions", "N instructions"),
    (r"^(The step, of )\d+", r"\1N"),
    # The first address of a network that nobody has.
    (r"\b10\.87\.0\.(?![01]\b)\d+", "10.87.0.N"),
    (r"\(pyrun \d+\.\d+\S*\)", "(pyrun VERSION)"),
    (r"^pyrun version .*", "pyrun version VERSION"),
    (r"/fd/\d+", "/fd/N"),
    (r"^(Name:\s+)\d+", r"\1N"),
    (r"^(VmRSS:\s+)\d+ ", r"\1N "),
    (r"/proc/\d+/", "/proc/N/"),
    (r"\[40265\d{5}\]", "[INODE]"),
    # What is between columns follows what is in them.
    (r" +", " "),
)


class Step(NamedTuple):
    """A command of a page, what the page shows of it, and the lines typed at a terminal."""

    command: str
    shown: str
    typed: list[str]


def steps(page: str) -> list[Step]:
    return [step for block in _BLOCK.findall(page) for step in _of_block(block)]


def _of_block(block: str) -> Iterator[Step]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        end = next((i for i, line in enumerate(lines[1:], 1) if not line.startswith("> ")), len(lines))
        command = "\n".join([lines[0], *(line[2:] for line in lines[1:end])])
        typed = [line.removeprefix(PROMPT) for line in lines[end:] if line.startswith(PROMPT)]
        yield Step(command, "\n".join([*lines[end:], ""]) if lines[end:] else "", typed)


def same(shown: str, said: str) -> bool:
    return doctest.OutputChecker().check_output(_settled(shown), _settled(said), doctest.ELLIPSIS)


def _settled(text: str) -> str:
    for pattern, word in _CHANGES:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return "\n".join(line.strip() for line in text.splitlines()) + "\n" * bool(text)


class Shell:
    """One that a page's commands are given to. What they say goes to files, since a container may keep them open."""

    def __init__(self, place: Path, pyrun: list[str], *wrap: str) -> None:
        self.place = place
        self.pyrun = pyrun
        self.said = place / ".said"
        programs = place / ".programs"
        programs.mkdir()
        # Layers are kept where they are gone with the rest.
        layers = f'case $1 in bundle) shift; set -- bundle --layers {shlex.quote(str(place))}/.layers "$@";; esac'
        (programs / "pyrun").write_text(f'#!/bin/sh\n{layers}\nexec {shlex.join(pyrun)} "$@"\n')
        (programs / "pyrun").chmod(0o755)
        environment = {
            "PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "120",
        }
        null = subprocess.DEVNULL
        self.done, self.tell = os.pipe()
        self.shell = subprocess.Popen(
            [*wrap, "bash"],
            cwd=place,
            env=environment,
            pass_fds=[self.tell],
            stdin=subprocess.PIPE,
            stdout=null,
            stderr=null,
        )

    def run(self, step: Step) -> str:
        command = step.command.replace(PLACE, str(self.place))
        if step.typed:
            command = shlex.join([sys.executable, str(_AT_TERMINAL), command, PROMPT, *step.typed])
        given = f"{{\n{command}\n}} < /dev/null > {self.said} 2>&1 {self.tell}>&-\necho >&{self.tell}\n"
        assert self.shell.stdin
        self.shell.stdin.write(given.encode())
        self.shell.stdin.flush()
        if not select.select([self.done], [], [], _SECONDS)[0]:
            raise TimeoutError(command)
        os.read(self.done, 1)
        return _here(self.said.read_text().replace(str(self.place), PLACE))

    def end(self) -> None:
        """Of containers and mounts too: a page that fails half-way has not deleted its own."""
        for name in subprocess.check_output([*self.pyrun, "list", "--quiet"], text=True).split():
            subprocess.run([*self.pyrun, "delete", "--force", name], check=False)
        self.shell.kill()
        self.shell.communicate()
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            if (point := line.split()[4]).startswith(f"{self.place}/"):
                subprocess.run(["umount", point], check=True)
        os.close(self.done)
        os.close(self.tell)


def _here(said: str) -> str:
    """Without the caller's own cgroups, in which those of a container are."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        path = line.split(":", 2)[2]
        if path != "/":
            said = said.replace(f"{path}/", "/")
    return said


def rewritten(page: str, said: Iterable[str]) -> str:
    """The page with what was said of each step in place of what it shows, where that differs."""
    each = iter(said)

    def block(found: re.Match[str]) -> str:
        text = ""
        for step in _of_block(found[1]):
            now = next(each)
            text += "$ " + step.command.replace("\n", "\n> ") + "\n"
            text += step.shown if same(step.shown, now) else now
        return f"```console\n{text}```"

    return _BLOCK.sub(block, page)


def run(page: Path, place: Path, pyrun: list[str]) -> Iterator[tuple[Step, str]]:
    """Each step, and what it says, in a network namespace that is no other's."""
    shell = Shell(place, pyrun, "unshare", "--net")
    try:
        if page.resolve() != _TOUR:
            for step in _of_block(_BLOCK.findall(_TOUR.read_text())[0]):
                shell.run(step)
        for step in steps(page.read_text()):
            yield step, shell.run(step)
    finally:
        shell.end()


def main(pages: list[str]) -> None:
    for page in map(Path, pages):
        place = Path(PLACE)
        place.mkdir(parents=True)
        try:
            pyrun = [str(CHECKOUT / "build/pyrun"), "--root", f"{place}/.store"]
            said = [said for _, said in run(page, place, pyrun)]
        finally:
            shutil.rmtree(place)
        page.write_text(rewritten(page.read_text(), said))


if __name__ == "__main__":
    main(sys.argv[1:])
