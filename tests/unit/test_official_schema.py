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
from examples import many
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator, Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4
from test_spec_schema import WHOLE

from pyrun.spec import config, schema
from pyrun.spec.audit import audit
from pyrun.spec.faults import Invalid

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

# Places where only generated values show a difference. Theirs takes sizes of memory below -1, which is no limit. Ours
# takes what later versions have: time namespaces, more architectures; and modes with set-user-ID and the like.
MEMORY = ("limit", "reservation", "swap", "kernel", "kernelTCP")
GENERATED = {f"/linux/resources/memory/{name}": THEIRS for name in MEMORY} | {
    "/linux/namespaces/N": OURS_TAKES,
    "/linux/seccomp/architectures/N": OURS_TAKES,
    "/linux/devices/N/fileMode": OURS_TAKES,
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


def name_of(place: tuple[str | int, ...]) -> str:
    return "/" + "/".join("N" if isinstance(token, int) else token for token in place)


def around(document: dict[str, Any], place: tuple[str | int, ...]) -> dict[str, Any]:
    """The document without most of what the place has nothing to do with: that is judged elsewhere, and takes time."""
    document = {key: value for key, value in document.items() if key in (*REQUIRED, place[0])}
    if place[0] == "linux" and len(place) > 1:
        document["linux"] = {place[1]: document["linux"][place[1]]}
    return document


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


REQUIRED = ("ociVersion", "root")
VALUES = ("text", "", 7, -1, 1 << 33, True, {}, [], [7], {"key": 7}, 1.5)


def test_the_whole_is_valid_for_both() -> None:
    assert sorted(error.message for error in official("config").iter_errors(known())) == []
    assert sorted(error.message for error in ours("config").iter_errors(known())) == []


# Every place, and for `make unit` some of them.
STEPS = [pytest.param(1, marks=pytest.mark.slow), 7]


@pytest.mark.parametrize("step", STEPS)
def test_every_change_is_judged_alike(step: int) -> None:
    document, theirs, mine = known(), official("config"), ours("config")
    differing: dict[str, dict[str, str]] = {}
    some = list(places(document))[::step]
    for place in some:
        part = around(document, place)
        changes = [("removed", changed(part, place, None, remove=True))]
        changes += [(json.dumps(value), changed(part, place, value)) for value in VALUES]
        for what, edited in changes:
            if (a := theirs.is_valid(edited)) != mine.is_valid(edited):
                differing.setdefault(name_of(place), {})[what] = THEIRS if a else OURS_TAKES
    assert differing == {name: takes for name, takes in DIFFERENCES.items() if name in map(name_of, some)}


@pytest.mark.parametrize("step", STEPS)
def test_the_fast_loader_judges_as_ours_does(step: int) -> None:
    document, mine, fast = known(), ours("config"), schema.load("config")
    for place in list(places(document))[::step]:
        for value in VALUES:
            edited = changed(around(document, place), place, value)
            assert (schema.first_fault(edited, fast) is None) == mine.is_valid(edited), (place, value)


# Documents that are generated from one schema, and judged by the other ------------------------------------------------

PATTERNS = {
    "^[cbup]$": st.sampled_from("cbup"),
    "^RLIMIT_[A-Z]+$": st.sampled_from(["RLIMIT_CORE", "RLIMIT_NOFILE"]),
    "^[1-9][0-9]*[KMG]B$": st.sampled_from(["2MB", "1GB"]),
    "^MB:[^\\n]*$": st.just("MB:0=70"),
}
TEXTS = st.text("ab/.\u00e9", min_size=1, max_size=4)


class Documents:
    """Strategies for what a schema takes."""

    def __init__(self, files: dict[str, Any]) -> None:
        self.files = files

    def of(self, node: dict[str, Any], file: str) -> st.SearchStrategy[Any]:
        if "$ref" in node:
            target, _, pointer = node["$ref"].partition("#")
            found = self.files[target or file]
            for token in filter(None, pointer.split("/")):
                found = found[token]
            return st.deferred(lambda: self.of(found, target or file))
        if "anyOf" in node:
            return st.one_of([self.of(part, file) for part in node["anyOf"]])
        if "allOf" in node:
            parts = [self.of(part, file) for part in node["allOf"]]
            return st.tuples(*parts).map(lambda found: {key: value for part in found for key, value in part.items()})
        if "enum" in node:
            return st.sampled_from(node["enum"])
        kind = node.get("type") or "object"
        return getattr(self, f"{kind}_")(node, file) if isinstance(kind, str) else st.none()

    def object_(self, node: dict[str, Any], file: str) -> st.SearchStrategy[Any]:
        members = {key: self.of(value, file) for key, value in node.get("properties", {}).items()}
        required = {key: members.pop(key) for key in node.get("required", ()) if key in members}
        free = next(iter(node.get("patternProperties", {}).values()), node.get("additionalProperties"))
        if not required and not members and isinstance(free, dict):
            return st.dictionaries(TEXTS, self.of(free, file), max_size=2)
        return st.fixed_dictionaries(required, optional=members)

    def array_(self, node: dict[str, Any], file: str) -> st.SearchStrategy[Any]:
        return st.lists(self.of(node.get("items", {}), file), min_size=node.get("minItems", 0), max_size=2)

    def string_(self, node: dict[str, Any], file: str) -> st.SearchStrategy[Any]:
        return PATTERNS[node["pattern"]] if "pattern" in node else TEXTS

    def integer_(self, node: dict[str, Any], file: str) -> st.SearchStrategy[Any]:
        return st.integers(node.get("minimum", -(1 << 31)), node.get("maximum", 1 << 31))

    def boolean_(self, node: dict[str, Any], file: str) -> st.SearchStrategy[Any]:
        return st.booleans()


def judged(validator: Any, document: Any) -> set[str]:
    """Where it finds fault."""
    found = set()
    for error in validator.iter_errors(document):
        missing = [error.message.split("'")[1]] if error.validator == "required" else []
        found.add("/" + "/".join("N" if isinstance(t, int) else str(t) for t in [*error.absolute_path, *missing]))
    return found


def differing(who: str) -> set[str]:
    shown = {place for place, values in DIFFERENCES.items() if who in values.values()}
    return shown | {place for place, takes in GENERATED.items() if takes == who}


THEIR_FILES = {path.name: json.loads(path.read_text()) for path in OFFICIAL.glob("*.json")}
OUR_FILES = {"config": json.loads((OURS / "config.json").read_text())}
FROM_THEIRS = (
    Documents(THEIR_FILES).of({"$ref": "config-schema.json"}, "config-schema.json") if THEIR_FILES else st.nothing()
)
FROM_OURS = Documents(OUR_FILES).of(OUR_FILES["config"], "config")
MANY = many(200)


@given(FROM_THEIRS)
@MANY
def test_what_theirs_takes(document: Any) -> None:
    """Ours takes it, but for the differences that are known; the fast loader is of ours' mind; check is of load's."""
    assert official("config").is_valid(document)
    assert judged(ours("config"), document) <= differing(THEIRS)
    assert (schema.first_fault(document, schema.load("config")) is None) == ours("config").is_valid(document)
    raw = json.dumps(document).encode()
    try:
        config.load(raw)
    except Invalid as error:
        assert {fault.pointer for fault in error.faults} <= {fault.pointer for fault in audit(raw).errors}
    else:
        assert audit(raw).errors == []


@given(FROM_OURS)
@MANY
def test_what_ours_takes(document: Any) -> None:
    """Theirs takes as much of it as it knows, but for the known differences."""
    assert ours("config").is_valid(document)
    assert schema.first_fault(document, schema.load("config")) is None
    pruned = Known().prune(document, THEIR_FILES["config-schema.json"], "config-schema.json")
    assert judged(official("config"), pruned) <= differing(OURS_TAKES)


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
