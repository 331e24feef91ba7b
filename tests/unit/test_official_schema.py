"""The spec's own schema documents against ours: what is valid for one is valid for the other.

They come with Debian's golang-github-opencontainers-specs-dev, and are older than spec 1.1: what they don't know is
left out of the comparison.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator, Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4
from test_spec_schema import WHOLE

OFFICIAL = Path("/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema")
OURS = Path(__file__).parents[2] / "spec/schemas"
pytestmark = pytest.mark.skipif(not OFFICIAL.is_dir(), reason="needs golang-github-opencontainers-specs-dev")

THEIRS, OURS_TAKES, HOOK = "theirs takes it", "ours takes it", {"-1": "ours takes it", "8589934592": "theirs takes it"}
# Place → new value → which of the two takes it. Theirs alone takes what the text of the spec, or a later version of the
# schema, forbids: empty names and paths, numbers beyond their C types, a personality without a domain. Ours alone takes
# what the text of a later spec allows (pids without a limit), and what is refused with better words after the schema
# (spec/checks.py: names of rlimits, sizes of pages, empty rules).
DIFFERENCES: dict[str, dict[str, str]] = {
    "/root/path": {'""': THEIRS},
    "/mounts/N/destination": {'""': THEIRS},
    "/process/rlimits/N/type": {'""': OURS_TAKES, '"text"': OURS_TAKES},
    "/process/oomScoreAdj": {"8589934592": THEIRS},
    "/hooks/prestart/N/timeout": HOOK,
    "/hooks/createRuntime/N/timeout": HOOK,
    "/hooks/createContainer/N/timeout": HOOK,
    "/hooks/startContainer/N/timeout": HOOK,
    "/hooks/poststart/N/timeout": HOOK,
    "/hooks/poststop/N/timeout": HOOK,
    "/linux/resources/devices/N/type": {'"text"': THEIRS},
    "/linux/resources/pids": {'{"key": 7}': OURS_TAKES, "{}": OURS_TAKES},
    "/linux/resources/pids/limit": {"removed": OURS_TAKES},
    "/linux/resources/hugepageLimits/N/pageSize": {'""': OURS_TAKES, '"text"': OURS_TAKES},
    "/linux/resources/network/priorities/N/name": {'""': THEIRS},
    "/linux/seccomp/syscalls/N/names": {"[]": OURS_TAKES},
    "/linux/seccomp/syscalls/N/names/N": {'""': THEIRS},
    "/linux/seccomp/syscalls/N/args/N/index": {"7": THEIRS},
    "/linux/rootfsPropagation": {'""': OURS_TAKES},
    "/linux/intelRdt/memBwSchema": {'""': OURS_TAKES, '"text"': OURS_TAKES},
    "/linux/personality": {'{"key": 7}': THEIRS, "{}": THEIRS},
    "/linux/personality/domain": {"removed": THEIRS},
}


def official(name: str) -> Draft4Validator:
    documents: Registry[Any] = Registry()
    for path in OFFICIAL.glob("*.json"):
        resource = Resource.from_contents(json.loads(path.read_text()), default_specification=DRAFT4)
        documents = documents.with_resource(path.name, resource)
    return Draft4Validator({"$ref": f"{name}-schema.json"}, registry=documents)


def ours(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((OURS / f"{name}.json").read_text()))


class Known:
    """Which properties the official schema speaks of: by following its references."""

    def __init__(self) -> None:
        self.files = {path.name: json.loads(path.read_text()) for path in OFFICIAL.glob("*.json")}

    def prune(self, value: Any, schema: dict[str, Any], file: str) -> Any:
        """The value without what the schema doesn't name."""
        while "$ref" in schema:
            target, _, pointer = schema["$ref"].partition("#")
            file = target or file
            schema = self.files[file]
            for token in pointer.strip("/").split("/") if pointer.strip("/") else ():
                schema = schema[token]
        for part in (*schema.get("allOf", ()), *schema.get("oneOf", ())):
            if "$ref" in part or "properties" in part:
                schema = schema | {"properties": schema.get("properties", {}) | self.properties(part, file)}
        if isinstance(value, dict) and "properties" in schema:
            named = schema["properties"]
            return {k: self.prune(v, named[k], file) for k, v in value.items() if k in named}
        if isinstance(value, list) and isinstance(schema.get("items"), dict):
            return [self.prune(item, schema["items"], file) for item in value]
        return value

    def properties(self, schema: dict[str, Any], file: str) -> dict[str, Any]:
        if "$ref" in schema:
            target, _, pointer = schema["$ref"].partition("#")
            file = target or file
            node = self.files[file]
            for token in pointer.strip("/").split("/"):
                node = node[token]
            schema = node
        return {
            key: {"$ref": f"{file}{value['$ref']}"} if value.get("$ref", "").startswith("#") else value
            for key, value in schema.get("properties", {}).items()
        }


def known() -> dict[str, Any]:
    """The config with every property that both know, once."""
    found = Known()
    document: dict[str, Any] = found.prune(
        copy.deepcopy(WHOLE), found.files["config-schema.json"], "config-schema.json"
    )
    document["ociVersion"] = "1.0.2"
    document["linux"]["rootfsPropagation"] = "slave"
    for mount in document["mounts"]:
        mount["options"] = [option for option in mount.get("options", ()) if "idmap" not in option]
    document["linux"]["namespaces"] = [n for n in document["linux"]["namespaces"] if n["type"] != "time"]
    return document


def places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*at, key))


def changed(document: Any, place: tuple[str | int, ...], value: Any, remove: bool = False) -> Any:
    document = copy.deepcopy(document)
    node = document
    for token in place[:-1]:
        node = node[token]
    if remove:
        del node[place[-1]]
    else:
        node[place[-1]] = value
    return document


VALUES = ("text", "", 7, -1, 1 << 33, True, {}, [], [7], {"key": 7}, 1.5)


def test_the_whole_is_valid_for_both() -> None:
    assert sorted(error.message for error in official("config").iter_errors(known())) == []
    assert sorted(error.message for error in ours("config").iter_errors(known())) == []


def test_every_change_is_judged_alike() -> None:
    document, theirs, mine = known(), official("config"), ours("config")
    differing: dict[str, dict[str, str]] = {}
    for place in places(document):
        changes = [("removed", changed(document, place, None, remove=True))]
        changes += [(json.dumps(value), changed(document, place, value)) for value in VALUES]
        name = "/" + "/".join("N" if isinstance(token, int) else token for token in place)
        for what, config in changes:
            if (a := theirs.is_valid(config)) != mine.is_valid(config):
                differing.setdefault(name, {})[what] = THEIRS if a else OURS_TAKES
    assert differing == DIFFERENCES


def test_state() -> None:
    whole = {
        "ociVersion": "1.0.2", "id": "x", "status": "running", "pid": 7, "bundle": "/x", "annotations": {"a": "b"}
    }  # fmt: skip
    theirs, mine = official("state"), ours("state")
    differing = [
        (place, value)
        for place in places(whole)
        for value in VALUES
        if theirs.is_valid(changed(whole, place, value)) != mine.is_valid(changed(whole, place, value))
    ]
    assert theirs.is_valid(whole) and mine.is_valid(whole)
    assert {place for place, _ in differing} <= {("ociVersion",), ("id",), ("bundle",), ("pid",), ("annotations", "a")}
