"""RFC 8259 JSON, strictly, on the C scanner of the standard library: importing json would cost more than a whole start.

Where json is lenient this is not: the text is UTF-8 without a byte order mark (MUST 43), no name occurs twice in an
object (MUST 44), NaN and Infinity don't exist, numbers are finite, and no string holds a NUL (a path or an argument
would end there for the kernel) or half a surrogate pair (it could not be encoded again).
"""

from __future__ import annotations

from _json import encode_basestring_ascii, make_encoder, make_scanner

from pyrun.spec.faults import Fault, Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, TypeAlias

    Scanner: TypeAlias = Callable[[str, int], tuple[Any, int]]

# Bounds on what one document may make us do. A config.json has a depth of about 8; a real one of 1 MiB is unknown.
MAX_BYTES = 16 << 20
MAX_DEPTH = 200
MAX_DIGITS = 100

_WHITESPACE = " \t\n\r"


class _Refused(Exception):
    """Raised out of the scanner by a hook; pyrun.spec.jsonfaults then finds out where."""


def loads(raw: bytes, drop_nulls: bool = False) -> Any:
    """The value that the document holds: dict, list, str, int, float, bool or None.

    drop_nulls -- leave out the members of objects whose value is null, as if they were not there

    Raises Invalid, with the JSON pointer of each fault, or line and column for an error of syntax.
    """
    if len(raw) > MAX_BYTES:
        raise Invalid([Fault("", f"the document has {len(raw)} bytes, the limit is {MAX_BYTES}")])
    if raw.startswith(b"\xef\xbb\xbf"):
        raise Invalid([Fault("", "the document begins with a byte order mark", "MUST 43")])
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line, column = _place(raw[: error.start].decode())
        problem = f"not UTF-8: byte {error.start} (line {line}, column {column}) is {raw[error.start]:#04x}"
        raise Invalid([Fault("", problem, "MUST 43")]) from None
    try:
        value = scan(text, _DROPPING if drop_nulls else _KEEPING)
    except _Refused:
        from pyrun.spec import jsonfaults  # lazy: a fault

        raise Invalid(jsonfaults.find(scan(text, scanner_with(*jsonfaults.hooks(MAX_DIGITS))))) from None
    # Only an escape can bring these in: UTF-8 has no surrogates, and the scanner refuses bare control characters.
    if b"\\u0000" in raw or b"\\ud" in raw or b"\\uD" in raw:
        from pyrun.spec import jsonfaults  # lazy: hardly ever

        faults = jsonfaults.find(value)
        if faults:
            raise Invalid(faults)
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _check_depth(value)
    return value


def trusted(raw: bytes) -> Any:
    """The value of a document that is part of pyrun: quicker, as nothing is checked but the syntax."""
    return scan(raw.decode(), _TRUSTED)


def dumps(value: Any, indent: int | None = None) -> str:
    """The value as JSON text in pure ASCII: compact, or with `indent` blanks a level.

    Raises TypeError for what JSON can't say, ValueError for NaN, Infinity and circular values.
    """
    if indent is not None:
        import json  # lazy: takes longer than a whole start

        return json.dumps(value, indent=indent, allow_nan=False)
    return "".join(_encoder()(value, 0))


def scan(text: str, scanner: Scanner) -> Any:
    """The one value in the text, by a scanner from scanner_with(). Raises Invalid for an error of syntax."""
    start = len(text) - len(text.lstrip(_WHITESPACE))
    try:
        try:
            value, end = scanner(text, start)
        except SystemError:
            # Before Python 3.12, _json can raise its JSONDecodeError only when json.decoder has been imported.
            import json.decoder  # noqa: F401  # lazy: takes longer than a whole start

            value, end = scanner(text, start)
    except StopIteration as stop:
        _syntax(text, int(stop.value), "a value is expected here")
    except RecursionError:
        _too_deep()
    except ValueError as error:
        position = getattr(error, "pos", None)
        if position is None:
            raise
        _syntax(text, position, _reword(getattr(error, "msg", "")))
    if end != len(text):
        rest = len(text) - len(text[end:].lstrip(_WHITESPACE))
        if rest != len(text):
            _syntax(text, rest, "nothing may follow the document")
    return value


def _syntax(text: str, position: int, problem: str) -> NoReturn:
    line, column = _place(text[:position])
    raise Invalid([Fault("", f"line {line}, column {column}: {problem}")])


def _too_deep() -> NoReturn:
    raise Invalid([Fault("", f"nested too deep, the limit is {MAX_DEPTH}")])


def _reword(message: str) -> str:
    message = message.removesuffix(" at").removesuffix(" starting at")
    return message[:1].lower() + message[1:]


def _place(before: str) -> tuple[int, int]:
    """Line and column, both from 1, of what follows this text."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _check_depth(value: Any) -> None:
    # Breadth first, not by recursion: a hostile document must not reach Python's own limit.
    level = [value] if type(value) is dict or type(value) is list else []
    for _ in range(MAX_DEPTH):
        if not level:
            return
        level = [
            member
            for node in level
            for member in (node.values() if type(node) is dict else node)
            if type(member) is dict or type(member) is list
        ]
    if level:
        _too_deep()


# What the C scanner calls while it goes. On a refusal it is left, and jsonfaults goes over the text again.


def _pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) != len(items):
        raise _Refused
    return found


def _pairs_without_nulls(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) != len(items):
        raise _Refused
    if None in found.values():
        return {name: value for name, value in items if value is not None}
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _Refused
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits) if len(digits) <= MAX_DIGITS else _INFINITY
    if value in (_INFINITY, -_INFINITY):
        raise _Refused
    return value


def _constant(name: str) -> NoReturn:
    raise _Refused


_INFINITY = 1e999


class _Context:
    """The attributes that the C scanner reads, in the place of a json.JSONDecoder."""

    def __init__(self, pairs: object, integer: object, float_: object, constant: object) -> None:
        self.strict = True
        self.object_hook = None
        self.object_pairs_hook = pairs
        self.parse_int = integer
        self.parse_float = float_
        self.parse_constant = constant


def scanner_with(pairs: object, integer: object, float_: object, constant: object) -> Scanner:
    """The scanner of the standard library, to call these for objects, integers, other numbers, and NaN and its like."""
    context: Any = _Context(pairs, integer, float_, constant)
    scanner: Scanner = make_scanner(context)
    return scanner


_KEEPING = scanner_with(_pairs, _integer, _float, _constant)
_DROPPING = scanner_with(_pairs_without_nulls, _integer, _float, _constant)
_TRUSTED = scanner_with(None, int, float, _constant)


def _refuse(value: object) -> NoReturn:
    raise TypeError(f"JSON can't say {type(value).__name__}")


def _encoder() -> Callable[[Any, int], tuple[str, ...]]:
    # Positional: markers (to find circles), default, encoder, indent, separators, sort_keys, skipkeys, allow_nan.
    return make_encoder({}, _refuse, encode_basestring_ascii, None, ":", ",", False, False, False)
