"""The part of the standing trial (tests/trial) that takes CRIU itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Box

SEED, SECONDS = 1, 900


@pytest.mark.pyrun_only("what may be left is known of pyrun only")
def test_trial(box: Box) -> None:
    """Its short form. What is bad is printed with the seed and the number of the round."""
    options = ["--pyrun", box.runtime, "--criu", "/usr/sbin/criu", "--minutes", "0", "--seed", str(SEED), *box.options]
    done = subprocess.run(
        [sys.executable, "-m", "tests.trial", *options], cwd=Path(__file__).parents[2], timeout=SECONDS
    )
    assert done.returncode == 0
