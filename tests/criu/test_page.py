"""What docs/commands/checkpoint.md shows, as tests/integration/test_pages.py has it of the other pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Box

from tests.transcripts import run, same

PAGE = Path(__file__).parents[2] / "docs/commands/checkpoint.md"


@pytest.mark.pyrun_only("about its documents")
def test_the_page(box: Box, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    for step, said in run(PAGE, place, [box.runtime, *box.options]):
        assert same(step.shown, said), f"$ {step.command}\n{said}"
