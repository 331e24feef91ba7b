"""All that is wrong with the shape of a document, in plain words, found with jsonschema. Cold: it is a heavy import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from jsonschema import Draft202012Validator
from jsonschema.validators import extend

from pyrun.spec import schema, strictjson
from pyrun.spec.faults import Fault, escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema.exceptions import ValidationError


def _is_integer(checker: object, value: object) -> bool:
    # Go's decoder, for whose types the specification is written, takes neither 1.0 nor 1e3 for an integer.
    return type(value) is int


_TYPES = Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
_Validator: Any = extend(Draft202012Validator, type_checker=_TYPES)  # type: ignore[no-untyped-call]


def all_faults(value: Any, name: str, part: str = "") -> list[Fault]:
    """Every fault of the value by the schema of that name, or by one of its $defs, in the order of the document."""
    whole = strictjson.trusted(schema.read(name))
    if part:
        whole = {"$ref": f"#/$defs/{part}", "$defs": whole["$defs"]}
    order = _order(value)
    faults = [fault for error in _Validator(whole).iter_errors(value) for fault in _faults(error)]
    # A required member that is absent has no place of its own, but its object has.
    return sorted(faults, key=lambda fault: order.get(fault.pointer, order.get(fault.pointer.rpartition("/")[0], 0)))


def _faults(error: ValidationError) -> Iterator[Fault]:
    pointer = "".join("/" + escape(token) for token in error.absolute_path)
    keyword, demanded = str(error.validator), cast("Any", error.validator_value)
    instance = cast("Any", error.instance)
    if keyword != "required":
        yield Fault(pointer, schema.problem(keyword, demanded, instance))
        return
    # jsonschema reports each absent name as an error of its own, but holds the name in its message only.
    for name in demanded:
        if name not in instance and error.message.startswith(repr(name)):
            yield Fault(f"{pointer}/{escape(name)}", schema.MISSING)


def _order(value: Any) -> dict[str, int]:
    """The place in the document of every pointer."""
    order: dict[str, int] = {}
    todo: list[tuple[str, Any]] = [("", value)]
    while todo:
        pointer, node = todo.pop()
        order[pointer] = len(order)
        if isinstance(node, dict):
            todo.extend((f"{pointer}/{escape(name)}", member) for name, member in reversed(node.items()))
        elif isinstance(node, list):
            todo.extend((f"{pointer}/{i}", node[i]) for i in range(len(node) - 1, -1, -1))
    return order
