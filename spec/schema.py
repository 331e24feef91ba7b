"""A fast judge by the schemas in schemas/: the small part of JSON Schema (draft 2020-12) that they use, and no more.

It stops at the first fault; pyrun.spec.wording finds all of them with the real library. A property test holds the two
to the same verdict. As Go's decoder does, and unlike plain JSON Schema, an integer is a number written without
fraction and exponent: 1.0 is none.
"""

from __future__ import annotations

import posix

from pyrun.spec import strictjson
from pyrun.spec.faults import Fault, escape, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Schema: TypeAlias = dict[str, Any]

# The keywords understood; a test holds the schema files to them.
ASSERTIONS = (
    "type",
    "properties",
    "additionalProperties",
    "required",
    "items",
    "enum",
    "minimum",
    "maximum",
    "minLength",
)
ANNOTATIONS = ("$schema", "$ref", "$defs", "title", "description")

_loaded: dict[str, Schema] = {}


def load(name: str, part: str = "") -> Schema:
    """The schema of that name ("config", "state", "features"), or one of its $defs, with every $ref resolved."""
    schema = _loaded.get(name)
    if schema is None:
        schema = strictjson.trusted(read(name))
        definitions = schema.get("$defs", {})
        _resolve(schema, definitions)
        _loaded[name] = schema
    if part:
        found: Schema = schema["$defs"][part]
        return found
    return schema


def read(name: str) -> bytes:
    """The schema file as it is."""
    fd = posix.open(f"{__file__.rpartition('/')[0]}/schemas/{name}.json", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        raw = b""
        while chunk := posix.read(fd, 1 << 16):
            raw += chunk
        return raw
    finally:
        posix.close(fd)


def _resolve(schema: Schema, definitions: Schema) -> None:
    """Put the definition itself in the place of each reference to it: judging then follows no pointers."""
    for members in (schema.get("properties"), schema.get("$defs")):
        if members is not None:
            for name, member in members.items():
                if "$ref" in member:
                    members[name] = _target(member, definitions)
                else:
                    _resolve(member, definitions)
    for keyword in ("items", "additionalProperties"):
        member = schema.get(keyword)
        if member is not None:
            if "$ref" in member:
                schema[keyword] = _target(member, definitions)
            else:
                _resolve(member, definitions)


def _target(schema: Schema, definitions: Schema) -> Schema:
    target: Schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    return target


def first_fault(value: Any, schema: Schema) -> Fault | None:
    """The first fault of the value by a schema from load(), None when there is none."""
    found = _judge(value, schema)
    if found is None:
        return None
    path, problem = found
    return Fault("".join("/" + escape(token) for token in reversed(path)), problem)


_CLASSES: dict[str, type] = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
_KINDS = {
    "object": "an object",
    "array": "an array",
    "string": "a string",
    "integer": "a whole number",
    "boolean": "true or false",
}


def _judge(value: Any, schema: Schema) -> tuple[list[object], str] | None:
    """What is wrong with the value and, innermost first, the path to it."""
    kind = schema.get("type")
    if kind is None:
        return None if value in schema["enum"] and type(value) is str else _wrong("enum", schema, value)
    found_type: type = type(value)
    if found_type is not _CLASSES[kind]:
        return _wrong("type", schema, value)
    if kind == "object":
        properties = schema.get("properties", _NONE)
        rest = schema.get("additionalProperties")
        for name, member in value.items():
            known = properties.get(name, rest)
            if known is not None:
                found = _judge(member, known)
                if found is not None:
                    found[0].append(name)
                    return found
        for name in schema.get("required", ()):
            if name not in value:
                return [name], MISSING
    elif kind == "array":
        items = schema["items"]
        if items.get("type") == "string" and "minLength" not in items:
            # Most arrays of a config are lists of strings, some of them long.
            for i, member in enumerate(value):
                if type(member) is not str:
                    return [i], problem("type", "string", member)
        else:
            for i, member in enumerate(value):
                found = _judge(member, items)
                if found is not None:
                    found[0].append(i)
                    return found
    elif kind == "integer":
        if value < schema.get("minimum", value):
            return _wrong("minimum", schema, value)
        if value > schema.get("maximum", value):
            return _wrong("maximum", schema, value)
    elif kind == "string" and len(value) < schema.get("minLength", 0):
        return _wrong("minLength", schema, value)
    return None


_NONE: Schema = {}


def _wrong(keyword: str, schema: Schema, value: Any) -> tuple[list[object], str]:
    return [], problem(keyword, schema[keyword], value)


# The words for a keyword broken, for this module and pyrun.spec.wording alike.

MISSING = "is required"


def problem(keyword: str, demanded: Any, value: Any) -> str:
    """What is wrong with a value that breaks a keyword of a schema, in words to be read after its pointer."""
    if keyword == "type":
        return f"must be {_KINDS[demanded]}, not {show(value)}"
    if keyword == "enum":
        choices = ", ".join(choice for choice in demanded if choice)
        return f"must be one of {choices}, not {show(value)}"
    if keyword == "minimum":
        return f"must be at least {demanded}, not {show(value)}"
    if keyword == "maximum":
        return f"must be at most {demanded}, not {show(value)}"
    if keyword == "minLength":
        return "must not be empty"
    raise ValueError(f"no words for the keyword {keyword}")
