"""Where a document breaks the rules of strict JSON. Cold: called when pyrun.spec.strictjson has met a breach.

The same scanner goes over the text with `hooks`, which keep what is wrong in the tree, so that a walk finds its
pointers.
"""

from __future__ import annotations

import math

from pyrun.spec.faults import Fault, escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class _Object:
    __slots__ = ("items",)

    def __init__(self, items: list[tuple[str, Any]]) -> None:
        self.items = items


class _Bad:
    __slots__ = ("problem",)

    def __init__(self, problem: str) -> None:
        self.problem = problem


def hooks(max_digits: int) -> tuple[object, ...]:
    """For strictjson.scanner_with(): what is called for objects, integers, other numbers, NaN and its like."""

    def integer(digits: str) -> _Bad | None:
        if len(digits) <= max_digits:
            return None
        return _Bad(f"a number of {len(digits)} digits, the limit is {max_digits}")

    def other(digits: str) -> _Bad | None:
        bad = integer(digits)
        if bad is None and float(digits) in (math.inf, -math.inf):
            bad = _Bad(f"{digits} is too large a number")
        return bad

    return _Object, integer, other, lambda name: _Bad(f"{name} is not JSON")


def find(value: Any) -> list[Fault]:
    """All faults in a value, plain or as scanned with `hooks`, in the order of the document."""
    return [fault for fault in _walk(value) if fault is not None]


def _walk(tree: Any) -> Iterator[Fault | None]:
    """A fault, or None, for every node of a tree of plain values and of those of the slow pass, in document order."""
    todo: list[tuple[str, Any]] = [("", tree)]
    while todo:
        pointer, node = todo.pop()
        kind = type(node)
        if kind is str:
            yield _string_fault(pointer, node)
        elif kind is list:
            todo.extend((f"{pointer}/{i}", node[i]) for i in range(len(node) - 1, -1, -1))
        elif kind is dict or kind is _Object:
            items = list(node.items()) if kind is dict else node.items
            seen = set()
            for name, _ in items:
                here = f"{pointer}/{escape(name)}"
                yield _string_fault(here, name)
                if name in seen:
                    yield Fault(here, "the name occurs more than once in its object", "MUST 44")
                seen.add(name)
            todo.extend((f"{pointer}/{escape(name)}", member) for name, member in reversed(items))
        elif kind is _Bad:
            yield Fault(pointer, node.problem)


def _string_fault(pointer: str, text: str) -> Fault | None:
    if "\0" in text:
        return Fault(pointer, "holds the character NUL")
    # Only surrogates can't be encoded.
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        return Fault(pointer, "holds half of a surrogate pair")
    return None
