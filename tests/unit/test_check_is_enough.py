"""Every rule that needs no host stands in spec/checks/: what passes those, the rest of the runtime refuses for the
host's sake only. And `check` itself takes whatever it is given."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from examples import many
from hypothesis import given
from hypothesis import strategies as st
from mutations import mutated
from test_spec_schema import WHOLE

from pyrun.caller import Caller
from pyrun.cgroups.controllers.devices import device_properties, v2_device_program
from pyrun.cgroups.properties import limits
from pyrun.cgroups.resources import compile_writes
from pyrun.cli import check
from pyrun.cli.parse import Values
from pyrun.container.bundle import CreateOptions
from pyrun.container.gather import layout
from pyrun.plan.create import compile_container
from pyrun.plan.facts import Facts
from pyrun.spec import schema
from pyrun.spec.checks import config_faults, resources_faults
from pyrun.spec.example import example
from pyrun.spec.faults import Fault, Invalid
from pyrun.spec.mount_options import OPTIONS

# A few hundred mutations in the normal run, fewer in `make unit`; PYRUN_MUTATIONS=5000 for the long form.
MUTATIONS = int(os.environ.get("PYRUN_MUTATIONS", "60" if os.environ.get("QUICK") else "300"))

NUMBERS = (
    *(-(1 << 63), -5, -2, -1, 0, 1, 2, 5, 10, 100, 999, 1000, 4096),
    *(1 << 20, 1 << 32, 1 << 40, 1 << 44, (1 << 63) - 1),
)
TEXTS = (
    *("", "a", "b", "c", "p", "rwm", "r", "x", "0", "0-1", "all", "2MB", "64KB", "1GB", "eth0", "eth 0", "a/b", ".."),
    *("max", "memory.high", "memory.max", "cpu.max", "cgroup.procs", "50000 100000", "64M", "é"),
)


def values(part: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What has the shape that a part of the schema asks for, with edges of all rules among it."""
    if "enum" in part:
        return st.sampled_from(part["enum"])
    kind = part.get("type")
    if kind == "boolean":
        return st.booleans()
    if kind == "integer":
        low, high = part.get("minimum", NUMBERS[0]), part.get("maximum", NUMBERS[-1])
        return st.sampled_from([n for n in NUMBERS if low <= n <= high]) | st.integers(low, high)
    if kind == "string":
        return st.sampled_from([t for t in TEXTS if len(t) >= part.get("minLength", 0)])
    if kind == "array":
        return st.lists(values(part["items"]), max_size=3)
    properties = {name: values(member) for name, member in part.get("properties", {}).items()}
    if "additionalProperties" in part:
        return st.dictionaries(st.sampled_from(TEXTS), values(part["additionalProperties"]), max_size=3)
    required = {name: properties.pop(name) for name in part.get("required", ())}
    return st.fixed_dictionaries(required, optional=properties)


def mended(document: Any, faults: list[Fault], part: str) -> Any:
    """The document without what the first fault is at, or what is nearest above it that can be left out."""
    tokens = [token.replace("~1", "/").replace("~0", "~") for token in faults[0].pointer.split("/")[1:]]
    for length in range(len(tokens), 0, -1):
        copy = json.loads(json.dumps(document))
        node = copy
        try:
            for token in tokens[: length - 1]:
                node = node[token] if isinstance(node, dict) else node[int(token)]
            key = tokens[length - 1] if isinstance(node, dict) else int(tokens[length - 1])
            del node[key]
        except (IndexError, KeyError, TypeError, ValueError):
            continue  # a member that is missing
        if schema.first_fault(copy, schema.load("config", part)) is None:
            return copy
    raise AssertionError(faults)


def sound(document: Any, check: Callable[[Any], list[Fault]], part: str = "") -> Any:
    """The document without anything that is faulty."""
    while faults := check(document):
        document = mended(document, faults, part)
    return document


@given(values(schema.load("config", "resources")))
@many(400)
def test_resources_that_pass_are_refused_for_the_hosts_version_only(resources: Any) -> None:
    resources = sound(resources, resources_faults, "resources")
    for v2 in (False, True):
        try:
            writes = compile_writes(resources, v2=v2)
        except Invalid as e:
            # What a version doesn't have, and a hole that version 1 can't make in an earlier device rule.
            assert {fault.rule for fault in e.faults} <= {"MUST 111", "MUST 103"}
            continue
        for write in writes:
            assert write.value.isprintable()
            assert "/" not in write.file
        limits(resources, v2=v2)
    rules = resources.get("devices", [])
    v2_device_program(rules)
    device_properties(rules, "Character devices:\n  1 mem\n")


PLACES = ("/x", "x/y", "/", "/proc", "/proc/x", "/proc/uptime", "/dev", "/sys", "/a/../..")
TYPES = ("", "bind", "tmpfs", "proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "ext4")
DATA = ("mode=755", "size=1m,nr_inodes=5", "x" * 300, "", "idmap=x", "ridmap=uids=0-1-2;gids=0-1-2")
MAPPINGS = st.lists(values(schema.load("config", "mount")["properties"]["uidMappings"]["items"]), max_size=2)
MOUNT = st.fixed_dictionaries(
    {"destination": st.sampled_from(PLACES)},
    optional={
        "type": st.sampled_from(TYPES),
        "source": st.sampled_from(["", "x", "/x"]),
        "options": st.lists(st.sampled_from([*OPTIONS, *DATA]), max_size=4),
        "uidMappings": MAPPINGS,
        "gidMappings": MAPPINGS,
    },
)


@given(st.lists(MOUNT, max_size=4), st.booleans())
@many(400)
def test_mounts_that_pass_compile(mounts: Any, userns: bool) -> None:
    document: Any = example(rootless=userns)
    document["mounts"] = mounts
    document = sound(document, config_faults)
    options = CreateOptions(bundle="/bundle")
    for v2 in (False, True):
        facts = Facts(
            layout=layout(options, document),
            bundle="/bundle",
            container="box",
            cgroup_v2=v2,
            cgroups=[("", "/sys/fs/cgroup", "/box")],
        )
        compile_container(document, facts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle")
    (path / "rootfs/bin").mkdir(parents=True)
    (path / "rootfs/bin/sh").touch(mode=0o755)
    return path


def test_check_takes_any_mutation(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback, and what load() refuses `check` does too."""
    context: Any = SimpleNamespace(caller=Caller(), require="", cgroup_manager="cgroupfs")
    told = Values(bundle=str(folder), config="", json=True, host=True, explain="")
    bases: tuple[Any, ...] = (example(), example(rootless=True), WHOLE)
    for seed in range(MUTATIONS):
        what, document = mutated(bases[seed % len(bases)], seed)
        (folder / "config.json").write_text(json.dumps(document))
        try:
            code = check.run(context, told, [])
        except Exception as e:
            raise AssertionError(f"seed {seed}: {what}") from e
        assert json.loads(capsys.readouterr().out)["valid"] == (code == 0)
