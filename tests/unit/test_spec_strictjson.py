from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun.spec import strictjson
from pyrun.spec.faults import Invalid


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"{}", {}),
        (b' \t\r\n[1, -2.5, 1e2, true, false, null, "\\u00e9\xc3\xa9"] \n', [1, -2.5, 100.0, True, False, None, "éé"]),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b"0", 0),
        (b"18446744073709551615", 2**64 - 1),
        (b"[" * 200 + b"]" * 200, None),
    ],
)
def test_good(raw: bytes, value: object) -> None:
    loaded = strictjson.loads(raw)
    assert value is None or loaded == value


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "line 1, column 1: a value is expected here"),
        (b'{\n  "a": }', "line 2, column 8: a value is expected here"),
        (b"[1,]", "line 1, column 4: a value is expected here"),
        (b"[1 2]", "line 1, column 4: expecting ',' delimiter"),
        (b'{"a" 1}', "line 1, column 6: expecting ':' delimiter"),
        (b"{a:1}", "line 1, column 2: expecting property name enclosed in double quotes"),
        (b'"abc', "line 1, column 1: unterminated string starting"),
        (b'["a\nb"]', "line 1, column 4: invalid control character"),
        (b"1 2", "line 1, column 3: nothing may follow the document"),
        (b"{}\n{}", "line 2, column 1: nothing may follow the document"),
        (b"01", "line 1, column 2: nothing may follow the document"),
        (b"\xef\xbb\xbf{}", "the document begins with a byte order mark"),
        (b'{\n"a": "\xff"}', "not UTF-8: byte 8 (line 2, column 7) is 0xff"),
        (b'"\xed\xa0\x80"', "not UTF-8: byte 1 (line 1, column 2) is 0xed"),
        (b'{"a": [{"b/c": 1, "b/c": 2}]}', "/a/0/b~1c: the name occurs more than once in its object"),
        (b'{"a": null, "a": null}', "/a: the name occurs more than once in its object"),
        (b'{"a": NaN}', "/a: NaN is not JSON"),
        (b"[-Infinity]", "/0: -Infinity is not JSON"),
        (b"[1e999]", "/0: 1e999 is too large a number"),
        (b"[0, " + b"9" * 101 + b"]", "/1: a number of 101 digits, the limit is 100"),
        (b"[0." + b"1" * 9999 + b"]", "/0: a number of 10001 digits, the limit is 100"),
        (b'{"a": ["x\\u0000y"]}', "/a/0: holds the character NUL"),
        (b'{"\\u0000": 1}', "/\\x00: holds the character NUL"),
        (b'{"a": "\\ud800"}', "/a: holds half of a surrogate pair"),
        (b'{"a": "\\uDFFF"}', "/a: holds half of a surrogate pair"),
        (b"[" * 201 + b"]" * 201, "nested too deep, the limit is 200"),
        (b"[" * 100_000, "nested too deep, the limit is 200"),
        (b'{"a":' * 100_000, "nested too deep, the limit is 200"),
    ],
)
@pytest.mark.parametrize("drop_nulls", [False, True])
def test_bad(raw: bytes, text: str, drop_nulls: bool) -> None:
    with pytest.raises(Invalid) as raised:
        strictjson.loads(raw, drop_nulls)
    assert str(raised.value) == text


def test_all_breaches_are_found_in_order() -> None:
    with pytest.raises(Invalid) as raised:
        strictjson.loads(b'{"a": 1, "b": {"c": 1, "c": NaN}, "a": "\\u0000", "d": 1e999}')
    assert [fault.pointer for fault in raised.value.faults] == ["/a", "/b/c", "/b/c", "/a", "/d"]


def test_too_large() -> None:
    with pytest.raises(Invalid, match="the limit is"):
        strictjson.loads(b" " * (strictjson.MAX_BYTES + 1))


def test_nulls_of_objects_are_dropped_on_demand() -> None:
    raw = b'{"a": null, "b": {"c": null, "d": [null, {"e": null}]}}'
    assert strictjson.loads(raw, drop_nulls=True) == {"b": {"d": [None, {}]}}
    assert strictjson.loads(raw) == json.loads(raw)


def test_duplicates_hide_behind_no_null() -> None:
    with pytest.raises(Invalid, match="more than once"):
        strictjson.loads(b'{"a": 1, "a": null}', drop_nulls=True)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_dumps_says_what_json_says(value: object) -> None:
    assert strictjson.dumps(value) == json.dumps(value, separators=(",", ":"))
    assert strictjson.dumps(value, indent=2) == json.dumps(value, indent=2)


@given(VALUES.filter(lambda value: "\\u0000" not in json.dumps(value)))
def test_round_trip(value: object) -> None:
    assert strictjson.loads(strictjson.dumps(value).encode()) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"", object()])
def test_dumps_refuses(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        strictjson.dumps([value])


PIECES = [b"{", b"}", b"[", b"]", b",", b":", b'"', b'"a"', b"1", b"-", b".5", b"e9", b"null", b"NaN", b"\\u0000", b" "]


@given(st.binary() | st.lists(st.sampled_from([*PIECES, b"\xff", b"\n", b"true", b"\\ud800"])).map(b"".join))
def test_nothing_but_invalid_is_raised(raw: bytes) -> None:
    """And what is accepted, json accepts too, with the same value."""
    try:
        value = strictjson.loads(raw)
    except Invalid as invalid:
        assert invalid.faults
        assert str(invalid).isprintable()
    else:
        assert value == json.loads(raw)


def test_syntax_errors_without_json_loaded() -> None:
    """The C scanner can't raise its own error before json.decoder has been imported by somebody."""
    code = (
        "import sys; sys.path[:] = [sys.argv[1], *sys.path]\n"
        "from pyrun.spec import strictjson, faults\n"
        "strictjson.loads(b'[1]'); strictjson.dumps([1]); assert 'json' not in sys.modules\n"
        "try: strictjson.loads(b'[1 2]')\n"
        "except faults.Invalid as invalid: print(invalid)"
    )
    lib = strictjson.__file__.rpartition("/pyrun/")[0]
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, lib], capture_output=True, text=True, check=True)
    assert done.stdout == "line 1, column 4: expecting ',' delimiter\n"
