"""Values as GVariant's text format writes them, for annotations org.systemd.property.* (GLib's manual). Pure.

What a property of systemd can be: booleans, numbers, strings, arrays and tuples of these. A bare whole number is an
int32, as there; another type stands before it (`uint64 5`, `@as []`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Value = tuple[str, Any]
    """A D-Bus signature and what it describes"""

# name: (signature, least, most)
_NUMBERS = {
    "byte": ("y", 0, 255),
    "int16": ("n", -(1 << 15), (1 << 15) - 1),
    "uint16": ("q", 0, (1 << 16) - 1),
    "int32": ("i", -(1 << 31), (1 << 31) - 1),
    "uint32": ("u", 0, (1 << 32) - 1),
    "int64": ("x", -(1 << 63), (1 << 63) - 1),
    "uint64": ("t", 0, (1 << 64) - 1),
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
_ARRAYS = ("as", "a(ss)", "at", "au", "ay")
_DEEPEST = 8


def parse(text: str) -> Value:
    """Raises ValueError, whose text says what is wrong."""
    reader = _Reader(text)
    value = reader.value(0)
    if reader.peek():
        raise ValueError(f"{reader.rest()!r} stands behind the value")
    return value


class _Reader:
    __slots__ = ("at", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> str:
        """The next character that is no space; "" at the end."""
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1
        return self.text[self.at : self.at + 1]

    def rest(self) -> str:
        return self.text[self.at : self.at + 20]

    def word(self) -> str:
        self.peek()
        start = self.at
        while (c := self.text[self.at : self.at + 1]) and (c.isalnum() or c in "+-._"):
            self.at += 1
        return self.text[start : self.at]

    def value(self, depth: int) -> Value:
        if depth > _DEEPEST:
            raise ValueError("is nested too deeply")
        first = self.peek()
        if first in ("'", '"') and first:
            return "s", self.string()
        if first == "[":
            return self.array(depth)
        if first == "(":
            values = self.items("(", ")", depth)
            if not values:
                raise ValueError("has an empty tuple")
            return f"({''.join(kind for kind, _ in values)})", tuple(value for _, value in values)
        if first == "@":
            return self.typed(depth)
        word = self.word()
        if word in ("true", "false"):
            return "b", word == "true"
        if word in _NUMBERS:
            kind, least, most = _NUMBERS[word]
            return kind, _whole(self.word(), least, most)
        if word == "double":
            return "d", _real(self.word())
        if word == "string" and self.peek() in ("'", '"'):
            return "s", self.string()
        if "." in word:
            return "d", _real(word)
        return "i", _whole(word, *_NUMBERS["int32"][1:])

    def array(self, depth: int) -> Value:
        values = self.items("[", "]", depth)
        kinds = {kind for kind, _ in values}
        if len(kinds) != 1:
            # Of an empty one nothing tells the type; systemd's are of strings.
            if kinds:
                raise ValueError("has an array of several types")
            kinds = {"s"}
        return f"a{kinds.pop()}", [value for _, value in values]

    def typed(self, depth: int) -> Value:
        """An array with its type before it, which an empty one needs."""
        for wanted in _ARRAYS:
            if self.text.startswith(f"@{wanted} ", self.at):
                self.at += len(wanted) + 1
                kind, found = self.array(depth) if self.peek() == "[" else ("", [])
                if kind == wanted or (kind and not found):
                    return wanted, found
        raise ValueError(f"has {self.rest()!r} where a value is expected")

    def items(self, opening: str, closing: str, depth: int) -> list[Value]:
        assert self.peek() == opening
        self.at += 1
        found: list[Value] = []
        while self.peek() != closing:
            if found:
                if self.peek() != ",":
                    raise ValueError(f"has {self.rest()!r} where a comma or {closing} is expected")
                self.at += 1
                if self.peek() == closing:  # ('a',) is a tuple of one
                    break
            found.append(self.value(depth + 1))
        self.at += 1
        return found

    def string(self) -> str:
        quote = self.peek()
        self.at += 1
        found = []
        while (c := self.text[self.at : self.at + 1]) != quote:
            self.at += 1
            if c == "\\":
                c = _ESCAPES.get(self.text[self.at : self.at + 1], "")
                self.at += 1
            if not c:
                raise ValueError("has a string without an end")
            found.append(c)
        self.at += 1
        return "".join(found)


def _whole(word: str, least: int, most: int) -> int:
    try:
        number = int(word, 0)
    except ValueError:
        raise ValueError(f"has {word!r} where a value is expected: strings are quoted") from None
    if not least <= number <= most:
        raise ValueError(f"{number} is not within {least} to {most}")
    return number


def _real(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"has {word!r} where a number is expected") from None
