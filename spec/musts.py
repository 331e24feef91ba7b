"""What the OCI runtime spec 1.3 demands of a runtime: the texts to the numbers that faults carry. Cold."""

from __future__ import annotations

from typing import NamedTuple

from pyrun.spec import strictjson


class Must(NamedTuple):
    """One demand: where the file of the spec is that it stands in, and its text, in our own words."""

    where: str
    text: str


def musts() -> dict[int, Must]:
    """All of them, by number."""
    with open(f"{__file__.rpartition('/')[0]}/musts.json", "rb") as file:
        table = strictjson.loads(file.read())
    rows = [Must(f"{table['spec']}/{group['file']}", text) for group in table["musts"] for text in group["demands"]]
    return dict(enumerate(rows, 1))
