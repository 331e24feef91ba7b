"""GVariant's text form, as far as properties of units need it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun.cgroups.gvariant import parse


@pytest.mark.parametrize(
    ("text", "signature", "value"),
    [
        ("true", "b", True),
        ("false", "b", False),
        ("5", "i", 5),
        ("-5", "i", -5),
        ("uint64 123456789012", "t", 123456789012),
        ("uint32 0x10", "u", 16),
        ("byte 7", "y", 7),
        ("1.5", "d", 1.5),
        ("double 2", "d", 2.0),
        ("'a text'", "s", "a text"),
        ('"it\'s"', "s", "it's"),
        (r"'a\'b\\c'", "s", r"a'b\c"),
        ("['a', 'b']", "as", ["a", "b"]),
        ("[]", "as", []),
        ("@as []", "as", []),
        ("[('/dev/fuse', 'rw')]", "a(ss)", [("/dev/fuse", "rw")]),
        ("@a(ss) []", "a(ss)", []),
        ("('a', uint64 5)", "(st)", ("a", 5)),
        ("('a',)", "(s)", ("a",)),
        (" [ uint64 1 , uint64 2 ] ", "at", [1, 2]),
    ],
)
def test_values(text: str, signature: str, value: Any) -> None:
    assert parse(text) == (signature, value)


@pytest.mark.parametrize(
    "text",
    ["", "text", "'open", "['a'", "[1, 'a']", "uint32 -1", "byte 256", "3000000000", "1 2", "()", "uint64", "'a\\",
     "uint64 '5'", "[[[[[[[[[[[1]]]]]]]]]]]", "@as [1]", "@ay [1]", "double x", "nan.", "{'a': 1}"],
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(text)


@given(st.text())
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    try:
        parse(text)
    except ValueError as e:
        assert str(e)
