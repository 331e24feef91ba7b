"""The wire format of protocol buffers, as much of it as CRIU's rpc.proto and pagemap.proto use (protobuf.dev,
"Encoding").

A message is a dict by field names; its shape is a table, name -> (number, kind): bool, int, str, another such table,
or a list of one of them for what may be repeated. The official library would want code that is generated from a file of
CRIU's, and is larger than all of pyrun.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TypeAlias

    Kind: TypeAlias = Any  # a type, a Shape, or a list of one of them
    Shape: TypeAlias = Mapping[str, tuple[int, Kind]]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_U64 = (1 << 64) - 1


def encode(message: Mapping[str, Any], shape: Shape) -> bytes:
    """The message; a member that is None is left out."""
    found = bytearray()
    for name, value in message.items():
        number, kind = shape[name]
        values = [] if value is None else value if isinstance(kind, list) else [value]
        for one in values:
            found += _field(number, one, kind[0] if isinstance(kind, list) else kind)
    return bytes(found)


def _field(number: int, value: Any, kind: Kind) -> bytes:
    if kind in (bool, int):
        return _varint(number << 3 | _VARINT) + _varint(int(value) & _U64)
    raw = value.encode("utf-8", "surrogateescape") if kind is str else encode(value, kind)
    return _varint(number << 3 | _BYTES) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def decode(raw: bytes, shape: Shape) -> dict[str, Any]:
    """The message; fields that the shape does not have are passed over. Raises ValueError for what is no message."""
    names = {number: (name, kind) for name, (number, kind) in shape.items()}
    found: dict[str, Any] = {}
    for number, wire, value in _fields(raw):
        if number not in names:
            continue
        name, kind = names[number]
        one = kind[0] if isinstance(kind, list) else kind
        if (wire == _VARINT) != (one in (bool, int)) or wire not in (_VARINT, _BYTES):
            raise ValueError(f"{name} has another type")
        read = _value(value, one)
        if isinstance(kind, list):
            found.setdefault(name, []).append(read)
        else:
            found[name] = read
    return found


def _value(value: Any, kind: Kind) -> Any:
    if kind is bool:
        return bool(value)
    if kind is int:
        return value - (1 << 64) if value >> 63 else value
    return value.decode("utf-8", "replace") if kind is str else decode(value, kind)


def _fields(raw: bytes) -> Iterator[tuple[int, int, Any]]:
    at = 0
    while at < len(raw):
        key, at = _read(raw, at)
        wire = key & 7
        if wire == _VARINT:
            value: Any
            value, at = _read(raw, at)
        else:
            if wire == _BYTES:
                size, at = _read(raw, at)
            elif wire in (_FIXED64, _FIXED32):
                size = 8 if wire == _FIXED64 else 4
            else:
                raise ValueError(f"a field of type {wire}")
            value, at = raw[at : at + size], at + size
            if at > len(raw):
                raise ValueError("it is cut short")
        yield key >> 3, wire, value


def _read(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(raw) or shift > 63:
            raise ValueError("it is cut short")
        value |= (raw[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not raw[at - 1] & 0x80:
            return value, at
