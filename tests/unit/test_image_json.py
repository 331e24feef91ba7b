"""What the start-up image has in the place of _json (packaging/image/json.c) says the same, or leaves it to that."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from examples import many
from hypothesis import given
from hypothesis import strategies as st

from pyrun.spec import strictjson
from pyrun.spec.example import example

SOURCE = Path(__file__).parents[2] / "packaging/image/json.c"
INCLUDE = sysconfig.get_path("include")
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(1 << 63), 1 << 64)
    | st.floats(allow_nan=False)
    | st.text()
    | st.text(st.characters(max_codepoint=127))
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
# Of whatever a text of JSON is made, in any order
PIECES = st.lists(
    st.sampled_from(
        [*'[]{}:,"\\ \t\n\r\0\x7fé', '"a"', '"b":', '{"a":1', "null", "true", "false", "nul", "NaN", "Infinity"]
    )
    | st.sampled_from(
        [
            "0",
            "-0",
            "01",
            "-",
            "-1",
            "1.5",
            "1e3",
            "18446744073709551615",
            "18446744073709551616",
            "9223372036854775808",
            "\\n",
            "\\/",
            "\\u0041",
            "\\ud800",
            "\\x",
        ]
    )
).map("".join)


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    if not Path(INCLUDE, "Python.h").exists():
        pytest.skip("Python's headers are not here, so there is no start-up image either")
    built = tmp_path_factory.mktemp("json") / "_pyrun_json.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{INCLUDE}"]
    subprocess.run(["gcc", *flags, SOURCE, "-o", built], check=True)
    spec = importlib.util.spec_from_file_location("_pyrun_json", built)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pythons(text: str, drop_nulls: bool) -> Any:
    """What _json answers, or None where it refuses."""
    scanner = strictjson._DROPPING if drop_nulls else strictjson._KEEPING
    try:
        return scanner(text, 0)
    except (StopIteration, ValueError, strictjson._Refused):
        return None


def same(found: Any, expected: Any) -> bool:
    """Of the same types too: 1 is not True, nor 1.0."""
    return repr(found) == repr(expected)


@given(VALUES, st.sampled_from([None, 0, 2]), st.booleans(), st.booleans())
@many(500)
def test_what_is_written_is_read(ours: ModuleType, value: Any, indent: int | None, ascii_: bool, drop: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_)
    found = ours.scan(text, 0, drop)
    assert found is None or same(found, pythons(text, drop))


@given(PIECES, st.booleans())
@many(2000)
def test_what_python_refuses_is_not_taken(ours: ModuleType, text: str, drop: bool) -> None:
    found = ours.scan(text, 0, drop)
    assert found is None or same(found, pythons(text, drop))


@given(VALUES)
@many(500)
def test_it_writes_what_python_writes(ours: ModuleType, value: Any) -> None:
    text = ours.encode(value)
    assert text is None or text == "".join(strictjson._encoder()(value, 0))


def test_the_usual_is_done(ours: ModuleType) -> None:
    """A config, as it comes and as it is kept, and a state: without _json."""
    config = example() | {
        "annotations": {"a": 'quotes " and \\ and\nlines'},
        "hooks": {},
        "count": -12,
        "limit": (1 << 64) - 1,
        "none": None,
    }
    text = json.dumps(config, indent="\t")
    assert same(ours.scan(text, 0, False), (config, len(text)))
    without = {name: value for name, value in config.items() if value is not None}
    assert same(ours.scan(f"  {text}\n", 2, True), (without, len(text) + 2))
    assert ours.encode(config) == json.dumps(config, separators=(",", ":"))


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":null,"a":1}',
        '"a\tb"',
        '"é"',
        '"\\u00e9"',
        "1.0",
        "18446744073709551616",
        "01",
        "[1,]",
        "[" * 101 + "]" * 101,
        "",
    ],
)
def test_what_is_left_to_python(ours: ModuleType, text: str) -> None:
    assert ours.scan(text, 0, True) is None


@pytest.mark.parametrize("value", [1.5, "é", "\x01", 1 << 64, {1: 2}, {"a"}, b"", object()])
def test_what_is_left_to_python_to_write(ours: ModuleType, value: object) -> None:
    assert ours.encode([value]) is None


def test_a_value_that_holds_itself_is_left_to_python(ours: ModuleType) -> None:
    value: list[Any] = []
    value.append(value)
    assert ours.encode(value) is None
