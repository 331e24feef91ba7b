"""linux.intelRdt (config-linux.md "IntelRdt")."""

from __future__ import annotations

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
    "rdt", [{"closID": "guests"}, {"memBwSchema": "MB:0=70"}, {"l3CacheSchema": "L3:0=f"}], ids=str
)
def test_without_resctrl(container: Container, rdt: dict[str, Any]) -> None:
    container.linux["intelRdt"] = rdt
    container.refused()


@needs_resctrl
@pytest.mark.must(114)
def test_without_intel_rdt_nothing_is_touched(container: Container) -> None:
    before = sorted(RESCTRL.iterdir())
    container.create()
    assert sorted(RESCTRL.iterdir()) == before
    assert str(container.pid) in (RESCTRL / "tasks").read_text().split()


@needs_resctrl
@pytest.mark.must(112, 115)
def test_the_default_group(container: Container) -> None:
    container.linux["intelRdt"] = {"closID": "/"}
    container.create()
    assert str(container.pid) in (RESCTRL / "tasks").read_text().split()


@needs_resctrl
@pytest.mark.parametrize(
    "rdt",
    [
        pytest.param({"memBwSchema": "L3:0=f"}, marks=pytest.mark.must(116)),
        pytest.param({"memBwSchema": "MB:0=70\nL3:0=f"}, marks=pytest.mark.must(116)),
        pytest.param({"schemata": ["MB:0=70\nL3:0=f"]}, marks=pytest.mark.must(117)),
    ],
    ids=str,
)
def test_schemata_that_are_none(container: Container, rdt: dict[str, Any]) -> None:
    container.linux["intelRdt"] = rdt
    container.refused()
