"""The tables of `explain` against the config's schema, and against one another."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from pyrun.failures.causes import CAUSES, Cause, cause
from pyrun.failures.flags import ORIGINS, origin
from pyrun.failures.record import excerpt
from pyrun.kernel.syscalls import NUMBERS

SCHEMA = json.loads((Path(__file__).parents[2] / "spec/schemas/config.json").read_text())


def known(pointer: str) -> bool:
    """The schema has such a property."""
    schema: Any = SCHEMA
    for name in pointer.split("/")[1:]:
        while "$ref" in schema:
            schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
        schema = schema.get("properties", {}).get(name)
        if schema is None:
            return False
    return True


@pytest.mark.parametrize("pointer", sorted({*ORIGINS, *(row.pointer for row in CAUSES)}))
def test_a_pointer_is_one_of_the_config(pointer: str) -> None:
    assert known(pointer)


def test_errnos_and_calls_are_there() -> None:
    for row in CAUSES:
        assert not row.errno or hasattr(errno, row.errno), row
        assert not row.call or row.call in NUMBERS, row


def covers(one: Cause, other: Cause) -> bool:
    """What fits the other fits this one as well."""
    return (
        (other.pointer == one.pointer or other.pointer.startswith(f"{one.pointer}/"))
        and one.call in ("", other.call)
        and one.errno in ("", other.errno)
        and one.word in other.word
    )


def test_no_row_is_hidden_by_one_above() -> None:
    for i, row in enumerate(CAUSES):
        assert not any(covers(above, row) for above in CAUSES[:i]), row


def test_the_first_that_fits() -> None:
    found = cause("/mounts/3/options/1", "fsconfig size=x", "EINVAL", "…")
    assert found and found.why.startswith("The file system does not know")
    assert cause("/mountsx", "", "EINVAL", "") is None
    assert cause("/linux/resources/memory/limit", "", "", "was OOM-killed")
    assert cause("", "", "", "") is None


@pytest.mark.parametrize(
    ("pointer", "value", "option"),
    [
        ("/mounts/0/options/1", {"type": "bind"}, "--volume, --mount type=bind"),
        ("/mounts/0", None, "--volume, --mount, --tmpfs, --shm-size, --read-only"),
        ("/linux/namespaces/2/path", {"type": "pid"}, "--pid"),
        ("/linux/resources/memory/limit", None, "--memory, --memory-swap, --memory-reservation, --memory-swappiness"),
    ],
)
def test_who_writes_a_property(pointer: str, value: Any, option: str) -> None:
    found = origin(pointer, value)
    assert found and found.options == option


def test_a_property_that_no_manager_writes() -> None:
    assert origin("/ociVersion", "1.0") is None


@pytest.mark.parametrize(
    ("document", "pointer", "shown"),
    [
        ({"a": [1, {"b": 2}]}, "/a/1", '{"b":2}'),
        ({"a~b/c": 1}, "/a~0b~1c", "1"),
        ({"a": 1}, "/a/b/c", "1"),
        ({"a": 1}, "/b", ""),
        ([], "/0", ""),
        (None, "/a", ""),
        ({"process": {"env": ["A=1", "B"]}}, "/process/env", ""),
        ({"process": {"env": ["A=1"], "args": []}}, "/process/x", '{"env":"...","args":[]}'),
        ({"a": "x" * 5000}, "/a", '"' + "x" * 4095 + "…"),
    ],
)
def test_an_excerpt(document: Any, pointer: str, shown: str) -> None:
    assert excerpt(document, pointer) == shown
