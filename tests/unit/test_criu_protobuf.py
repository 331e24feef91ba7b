"""The wire format: what is written is read back, what others have written is read, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun.criu.messages import NOTIFY, OPTIONS, REQUEST, RESPONSE
from pyrun.criu.protobuf import decode, encode

INNER = {"n": (1, int), "s": (2, str)}
SHAPE: dict[str, tuple[int, Any]] = {
    "flag": (1, bool),
    "number": (2, int),
    "text": (16, str),
    "inner": (2047, INNER),
    "texts": (37, [str]),
    "numbers": (38, [int]),
    "inners": (39, [INNER]),
}

numbers = st.integers(-(1 << 63), (1 << 63) - 1)
inners = st.fixed_dictionaries({}, optional={"n": numbers, "s": st.text()})
messages = st.fixed_dictionaries(
    {},
    optional={
        "flag": st.booleans(),
        "number": numbers,
        "text": st.text(),
        "inner": inners,
        "texts": st.lists(st.text(), min_size=1),
        "numbers": st.lists(numbers, min_size=1),
        "inners": st.lists(inners, min_size=1),
    },
)


@given(messages)
def test_round_trip(message: dict[str, Any]) -> None:
    assert decode(encode(message, SHAPE), SHAPE) == message


@given(st.binary(max_size=200))
def test_hostile_bytes(raw: bytes) -> None:
    """They are a message, or a ValueError."""
    for shape in (SHAPE, RESPONSE):
        try:
            found = decode(raw, shape)
        except ValueError:
            continue
        assert found.keys() <= shape.keys()


@given(messages, st.data())
def test_cut_short(message: dict[str, Any], data: st.DataObject) -> None:
    raw = encode(message, SHAPE)
    cut = raw[: data.draw(st.integers(0, len(raw)))]
    try:
        found = decode(cut, SHAPE)
    except ValueError:
        return
    assert encode(found, SHAPE) == cut  # between two fields


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", {}),
        (b"\x08\x96\x01", {"number": 150}),  # protobuf.dev, "Encoding": the first example
        (b"\x12\x07testing", {"text": "testing"}),
        (b"\x08\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", {"number": -2}),
        (b"\x1a\x03\x08\x96\x01", {"inner": {"n": 150}}),
        (b"\x21" + bytes(8) + b"\x2d" + bytes(4) + b"\x08\x01", {"number": 1}),  # fields that it does not know
    ],
)
def test_as_others_write_it(raw: bytes, message: dict[str, Any]) -> None:
    shape = {"number": (1, int), "text": (2, str), "inner": (3, INNER)}
    assert decode(raw, shape) == message


@pytest.mark.parametrize(
    "raw",
    [
        b"\x08",  # a key alone
        b"\x08\x80",  # a number that does not end
        b"\x08" + b"\x80" * 10 + b"\x01",  # one that is longer than 64 bits
        b"\x12\x05four",  # a text that ends early
        b"\x0b",  # a group, which is no more
        b"\x0a\x00",  # a text where a number is to be
        b"\x10\x00",  # the other way round
        b"\x21\x00",  # eight bytes, of which there is one
        b"\x1a\x02\x08\x80",  # within
    ],
)
def test_what_is_no_message(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut short|type"):
        decode(raw, {"number": (1, int), "text": (2, str), "inner": (3, INNER)})


def test_none_is_left_out() -> None:
    assert encode({"flag": None, "texts": []}, SHAPE) == b""
    assert encode({"flag": False}, SHAPE) == b"\x08\x00"


def test_the_numbers_of_rpc_proto() -> None:
    """As they stand there; each once."""
    for shape in (OPTIONS, REQUEST, RESPONSE):
        found = [number for number, _ in shape.values()]
        assert len(set(found)) == len(found)
    assert encode({"type": NOTIFY, "notify_success": True}, REQUEST) == b"\x08\x06\x18\x01"
    assert encode({"type": 1, "opts": {"images_dir_fd": 5, "pid": 7}}, REQUEST) == b"\x08\x01\x12\x04\x08\x05\x10\x07"
    assert encode({"external": ["mnt[/a]:/a"]}, OPTIONS) == b"\xaa\x02\x0amnt[/a]:/a"
