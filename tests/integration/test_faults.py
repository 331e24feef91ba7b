"""docs/faults.md says what pyrun says now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from harness import PYRUN, enterable

from conformance.faults import FAULTS, OF_THE_HOST, Fault, recorded, said

PAGE = recorded("pyrun")


def test_the_page_has_all() -> None:
    titles = [fault.title for fault in FAULTS]
    assert list(PAGE) == titles == list(recorded("runc")) == list(recorded("crun"))
    assert set(OF_THE_HOST) <= set(titles)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.title)
def test_a_fault(fault: Fault, tmp_path: Path) -> None:
    enterable(tmp_path)
    now = said(str(PYRUN), fault, tmp_path)
    if fault.title in OF_THE_HOST:
        pointer = re.search(r"/(process|linux)/[\w/]+", PAGE[fault.title])
        assert pointer and pointer[0] in now
    else:
        assert now == PAGE[fault.title]
