"""What is bad, and how it is told."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

KINDS = ("tracebacks", "hangs", "leftovers", "harm", "false success", "growth")
_UNCAUGHT = ("Traceback (most recent call last)", "Fatal Python error: ", "Exception ignored in")
# Where the interpreter was still on its way to pyrun's first line, and nobody there who could have caught it.
_FRAME = re.compile(r'File "([^"]+)", line (-?\d+)')
_NOT_YET = ("Python runtime state: preinitialized", "Python runtime state: core initialized")
_MOST = 1000  # characters of a command's output in a report


def is_traceback(said: str) -> bool:
    """An exception that nobody has caught, or nobody has thought of."""
    if "pyrun itself failed" in said:
        return True
    frames = _FRAME.findall(said)
    early = bool(frames) and all(file.startswith("<frozen") or line == "0" for file, line in frames)
    return any(words in said for words in _UNCAUGHT) and not early and not any(words in said for words in _NOT_YET)


@dataclass
class Verdict:
    """On one round. bad: (kind, what). notes: what was special. lines: its commands, as they ended."""

    bad: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def add(self, kind: str, what: str) -> None:
        """Something bad."""
        self.bad.append((kind, what))

    def log(self, line: str, code: int, said: str) -> None:
        """A command has ended."""
        self.lines.append(f"$ {line}\n  exit status {code}\n{said[-_MOST:]}".rstrip())

    def kinds(self) -> set[str]:
        """Which columns it goes into."""
        return {kind for kind, _ in self.bad}

    def __str__(self) -> str:
        return "\n".join([*self.notes, *(f"  {kind}: {what}" for kind, what in self.bad), *self.lines])


@dataclass
class Row:
    """Of the table at the end."""

    name: str
    rounds: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))

    def add(self, verdict: Verdict) -> None:
        """One more round, or what came after the last."""
        for kind in verdict.kinds():
            self.counts[kind] += 1

    @property
    def is_good(self) -> bool:
        """No cell is bad."""
        return not any(self.counts.values())

    def __str__(self) -> str:
        cells = [self.name, self.rounds, *(self.counts[kind] for kind in KINDS)]
        return "| " + " | ".join(map(str, cells)) + " |"


def table(rows: list[Row]) -> str:
    """In Markdown."""
    head = ["trial", "rounds", "tracebacks", "hangs", "leftovers", "foreign harm", "false success", "growth"]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *map(str, rows)])
