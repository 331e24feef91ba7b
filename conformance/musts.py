"""What the OCI runtime spec 1.3 demands of a runtime, numbered, in our own words; and why some of it can't be shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple


class Must(NamedTuple):
    """One demand: the file of the spec that it stands in, its text, and why no black-box test can show it."""

    file: str
    text: str
    why_not: str = ""


_WHY_NOT = {77: "about the bundle's author or its validator, not about what a runtime does"}

# The files of the spec in order, each with its demands; the numbers count through. `check --explain` reads it too.
_TABLE = json.loads((Path(__file__).parents[1] / "spec/musts.json").read_text())
SPEC: str = _TABLE["spec"]
_DEMANDS = [(group["file"], text) for group in _TABLE["musts"] for text in group["demands"]]
MUSTS = {number: Must(*row, _WHY_NOT.get(number, "")) for number, row in enumerate(_DEMANDS, 1)}
