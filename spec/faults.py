"""A fault is a value: where in the document, what is wrong there, the rule it breaks, what to do about it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Fault:
    """One thing wrong with a document.

    pointer -- JSON pointer (RFC 6901) of the value, "" for the whole document
    problem -- what is wrong, to be read after the pointer: "must be a string, not 5"
    rule    -- the rule broken, such as "MUST 54" (the numbered list of the docs), or ""
    hint    -- what to do about it, or ""
    """

    __slots__ = ("hint", "pointer", "problem", "rule")

    def __init__(self, pointer: str, problem: str, rule: str = "", hint: str = "") -> None:
        self.pointer = pointer
        self.problem = problem
        self.rule = rule
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.pointer}: {self.problem}" if self.pointer else self.problem
        return printable(f"{text} ({self.hint})" if self.hint else text)

    def __repr__(self) -> str:
        return f"Fault({self.pointer!r}, {self.problem!r}, {self.rule!r}, {self.hint!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fault):
            return NotImplemented
        mine = (self.pointer, self.problem, self.rule, self.hint)
        return mine == (other.pointer, other.problem, other.rule, other.hint)

    def __hash__(self) -> int:
        return hash((self.pointer, self.problem, self.rule, self.hint))


class Invalid(Exception):
    """A document or a value that can't be used; .faults says why and is never empty."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = list(faults)
        super().__init__(self.faults)

    def __str__(self) -> str:
        return "; ".join(map(str, self.faults))


def escape(token: object) -> str:
    """A member's name or an index as one token of a JSON pointer (RFC 6901: ~ is ~0, / is ~1)."""
    return str(token).replace("~", "~0").replace("/", "~1")


def show(value: object) -> str:
    """The value as JSON would write it, on one line, cut to a length fit for a message."""
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, str):
        return '"' + printable(value if len(value) <= 80 else value[:60] + "…") + '"'
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"


def printable(text: str) -> str:
    """The text on one line, with escapes for what a terminal or a log must not be sent, surrogates too."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
