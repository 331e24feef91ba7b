"""linux.intelRdt (config-linux.md "IntelRdt")."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.harness import Container

RESCTRL = Path("/sys/fs/resctrl")
MOUNTED = (RESCTRL / "tasks").exists()
needs_resctrl = pytest.mark.skipif(not MOUNTED, reason="no resctrl here: needs the hardware")


@pytest.mark.must(113)
@pytest.mark.skipif(MOUNTED, reason="resctrl is mounted here")
@pytest.mark.parametrize(
    "rdt",
    [
        {"closID": "guests"},
        {"memBwSchema": "MB:0=70"},
        {"l3CacheSchema": "L3:0=f"},
        {"schemata": ["MB:0=70"]},
        {"enableMonitoring": True},
        {},
    ],
    ids=str,
)
def test_without_resctrl(container: Container, rdt: dict[str, Any]) -> None:
    container.linux["intelRdt"] = rdt
    container.refused()


def group(name: str) -> Path:
    return RESCTRL if name == "/" else RESCTRL / name


def tasks(name: str) -> list[str]:
    return (group(name) / "tasks").read_text().split()


def schemata(name: str) -> dict[str, str]:
    """Resource → what it is set to, of a group."""
    lines = (group(name) / "schemata").read_text().splitlines()
    return {kind.strip(): value for kind, _, value in (line.partition(":") for line in lines)}


def of_kind(kind: str) -> str:
    """A schema that the hardware takes: what the default group has."""
    if kind not in (found := schemata("/")):
        pytest.skip(f"no {kind} in this hardware")
    return f"{kind}:{found[kind]}"


def narrow(kind: str) -> str:
    """Another one: one bit of the cache, a tenth of the bandwidth, in every domain."""
    domains = [domain.partition("=")[0] for domain in of_kind(kind).partition(":")[2].split(";")]
    least = (RESCTRL / "info" / kind / ("min_bandwidth" if kind == "MB" else "min_cbm_bits")).read_text().strip()
    value = least if kind == "MB" else f"{(1 << int(least)) - 1:x}"
    return f"{kind}:" + ";".join(f"{domain}={value}" for domain in domains)


@pytest.fixture
def made(container: Container) -> Iterator[str]:
    """A group that somebody else has made, by its name."""
    name = f"{container.id}-made"
    group(name).mkdir()
    yield name
    group(name).rmdir()


@pytest.fixture
def nothing_in_resctrl() -> Iterator[None]:
    before = set(RESCTRL.rglob("tasks"))
    yield
    left = set(RESCTRL.rglob("tasks")) - before
    for file in sorted(left, reverse=True):
        file.parent.rmdir()
    assert not left, "leaves groups"


with_resctrl = pytest.mark.usefixtures("nothing_in_resctrl")


@needs_resctrl
@with_resctrl
@pytest.mark.must(114)
def test_without_intel_rdt_nothing_is_touched(container: Container) -> None:
    before = sorted(RESCTRL.iterdir()), schemata("/")
    container.create()
    assert (sorted(RESCTRL.iterdir()), schemata("/")) == before
    assert str(container.pid) in tasks("/")


@needs_resctrl
@with_resctrl
@pytest.mark.must(112, 115)
def test_the_default_group(container: Container) -> None:
    before = sorted(RESCTRL.iterdir())
    container.linux["intelRdt"] = {"closID": "/"}
    container.create()
    assert str(container.pid) in tasks("/")
    assert sorted(RESCTRL.iterdir()) == before


@needs_resctrl
@with_resctrl
@pytest.mark.must(112, 120, 124)
@pytest.mark.parametrize(("key", "kind"), [("l3CacheSchema", "L3"), ("memBwSchema", "MB")])
def test_a_group_of_the_containers_name(container: Container, key: str, kind: str) -> None:
    container.linux["intelRdt"] = {key: narrow(kind)}
    container.create()
    assert str(container.pid) in tasks(container.id)
    assert schemata(container.id)[kind] == narrow(kind).partition(":")[2]
    container.delete("--force")
    assert not group(container.id).exists()


@needs_resctrl
@with_resctrl
@pytest.mark.must(118)
def test_the_last_schema_wins(container: Container) -> None:
    """l3CacheSchema, memBwSchema, then schemata: what a later one says again is what counts."""
    container.linux["intelRdt"] = {"l3CacheSchema": of_kind("L3"), "schemata": [narrow("L3")]}
    container.create()
    assert schemata(container.id)["L3"] == narrow("L3").partition(":")[2]


@needs_resctrl
@with_resctrl
@pytest.mark.must(118)
def test_a_schema_list_in_its_order(container: Container) -> None:
    container.linux["intelRdt"] = {"schemata": [narrow("L3"), of_kind("L3")]}
    container.create()
    assert schemata(container.id)["L3"] == schemata("/")["L3"]


@needs_resctrl
@with_resctrl
@pytest.mark.must(119)
def test_no_schema_is_none_written(container: Container, made: str) -> None:
    (group(made) / "schemata").write_text(narrow("L3") + "\n")
    container.linux["intelRdt"] = {"closID": made}
    container.create()
    assert schemata(made)["L3"] == narrow("L3").partition(":")[2]


@needs_resctrl
@with_resctrl
@pytest.mark.must(121, 124)
def test_a_missing_group_is_made_for_a_schema(container: Container) -> None:
    name = f"{container.id}-clos"
    container.linux["intelRdt"] = {"closID": name, "l3CacheSchema": narrow("L3")}
    container.create()
    assert str(container.pid) in tasks(name)
    container.delete("--force")
    assert not group(name).exists()


@needs_resctrl
@with_resctrl
@pytest.mark.must(122)
def test_a_group_with_another_schema(container: Container, made: str) -> None:
    container.linux["intelRdt"] = {"closID": made, "l3CacheSchema": narrow("L3")}
    container.refused()
    assert schemata(made)["L3"] == schemata("/")["L3"]


@needs_resctrl
@with_resctrl
@pytest.mark.must(112, 122, 125)
def test_a_group_with_the_same_schema(container: Container, made: str) -> None:
    container.linux["intelRdt"] = {"closID": made, "l3CacheSchema": of_kind("L3")}
    container.create()
    assert str(container.pid) in tasks(made)
    container.delete("--force")
    assert group(made).exists()


@needs_resctrl
@with_resctrl
@pytest.mark.must(123)
def test_a_missing_group_without_a_schema(container: Container) -> None:
    container.linux["intelRdt"] = {"closID": f"{container.id}-none"}
    container.refused()
    assert not group(f"{container.id}-none").exists()


@needs_resctrl
@with_resctrl
@pytest.mark.must(123, 125)
def test_a_group_that_is_there(container: Container, made: str) -> None:
    container.linux["intelRdt"] = {"closID": made}
    container.create()
    assert str(container.pid) in tasks(made)
    container.delete("--force")
    assert group(made).exists()


@needs_resctrl
@with_resctrl
@pytest.mark.must(126)
def test_monitoring(container: Container, made: str) -> None:
    if not (RESCTRL / "info/L3_MON").exists():
        pytest.skip("no monitoring in this hardware")
    container.linux["intelRdt"] = {"closID": made, "enableMonitoring": True}
    container.create()
    monitored = group(made) / "mon_groups" / container.id
    assert str(container.pid) in (monitored / "tasks").read_text().split()
    container.delete("--force")
    assert not monitored.exists()


@needs_resctrl
@with_resctrl
@pytest.mark.must(126)
def test_monitoring_that_fails(container: Container, made: str) -> None:
    """The group's place is taken."""
    (group(made) / "mon_groups" / container.id).mkdir()
    try:
        container.linux["intelRdt"] = {"closID": made, "enableMonitoring": True}
        container.write()
        done = container.runtime("create", "--bundle", container.path, container.id)
        assert done.code != 0
        assert not container.exists()
    finally:
        if (group(made) / "mon_groups" / container.id).exists():
            (group(made) / "mon_groups" / container.id).rmdir()


# Said whether there is the hardware or not: a schema that no hardware takes.
@pytest.mark.parametrize(
    "rdt",
    [
        pytest.param({"memBwSchema": "L3:0=f"}, marks=pytest.mark.must(116)),
        pytest.param({"memBwSchema": "MB:0=70\nL3:0=f"}, marks=pytest.mark.must(116)),
        pytest.param({"schemata": ["MB:0=70\nL3:0=f"]}, marks=pytest.mark.must(117)),
        pytest.param({"schemata": ["MB:0=70", "L3:0=f\n"]}, marks=pytest.mark.must(117)),
    ],
    ids=str,
)
def test_schemata_that_are_none(container: Container, rdt: dict[str, Any]) -> None:
    container.linux["intelRdt"] = rdt
    container.refused()
