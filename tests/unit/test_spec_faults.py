from __future__ import annotations

import pytest

from pyrun.spec.faults import Fault, Invalid, escape, printable, show


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (
            Fault("/mounts/3/options/2", "must be a string, not 5", "", "a hint"),
            "/mounts/3/options/2: must be a string, not 5 (a hint)",
        ),
        (Fault("", "must be an object"), "must be an object"),
        (Fault("/a\nb", "is \x1b[31mred\ud800"), "/a\\nb: is \\x1b[31mred\\ud800"),
    ],
)
def test_one_printable_line(fault: Fault, text: str) -> None:
    assert str(fault) == text


def test_invalid_names_all_faults() -> None:
    invalid = Invalid([Fault("/a", "x"), Fault("/b", "y")])
    assert str(invalid) == "/a: x; /b: y"
    assert [fault.pointer for fault in invalid.faults] == ["/a", "/b"]


def test_faults_are_values() -> None:
    assert Fault("/a", "x") == Fault("/a", "x")
    assert len({Fault("/a", "x"), Fault("/a", "x"), Fault("/a", "x", "MUST 1")}) == 2
    assert Fault("/a", "x") != "/a: x"


@pytest.mark.parametrize(("token", "escaped"), [("a/b", "a~1b"), ("a~b", "a~0b"), ("~1", "~01"), (3, "3"), ("", "")])
def test_escape(token: object, escaped: str) -> None:
    assert escape(token) == escaped


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        (5, "5"),
        (1.5, "1.5"),
        ("a", '"a"'),
        ({}, "an object"),
        ([1], "an array"),
        ("a\nb", '"a\\nb"'),
        ("x" * 100, '"' + "x" * 60 + '…"'),
    ],
)
def test_show(value: object, shown: str) -> None:
    assert show(value) == shown


def test_printable_leaves_plain_text_alone() -> None:
    assert printable("é ok") == "é ok"
