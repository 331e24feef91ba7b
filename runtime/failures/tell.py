"""A record in words: what failed, what the config says there, who wrote that, why it fails, how it is mended."""

from __future__ import annotations

import textwrap
import time
from typing import TYPE_CHECKING

from pyrun.failures.causes import cause
from pyrun.failures.flags import origin
from pyrun.spec import strictjson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.failures.record import Record

_WIDTH = 96


def tell(record: Record, checked: list[str]) -> Iterator[str]:
    """Line by line. checked: what `check` finds in the bundle."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["when"]))
    yield f"{record['verb']} of {record['id']} failed at {when} (pyrun {record['version']})"
    yield from _section("The error", record["error"])
    fields = record["fields"]
    pointer = fields.get("pointer", "")
    if len(record["faults"]) > 1:
        yield from _section("All faults of the config", *(f"{where}: {problem}" for where, problem in record["faults"]))
    if record["value"]:
        yield from _section(f"In the config, {record['part']}", record["value"])
    value = strictjson.loads(record["value"].encode()) if record["value"] and record["value"][-1] != "…" else None
    if written := origin(pointer, value):
        rows = (("podman, docker", written.options), ("Kubernetes", written.kubernetes))
        yield from _section("Who writes that", *(f"{who}: {what}" for who, what in rows if what))
    if record["steps"]:
        yield from _section(
            f"The step, of {record['total']}",
            *(
                f"{'→' if step['failed'] else ' '} {step['number']:4} {step['what']}  {step['pointer']}".rstrip()
                for step in record["steps"]
            ),
            wrap=False,
        )
    found = cause(pointer, fields.get("call", ""), fields.get("errno", ""), record["error"])
    hint = fields.get("hint", "")
    if found:
        yield from _section("Why", found.why)
    if checked:
        yield from _section("What check finds in the bundle", *checked)
    if ways := [way for way in (found.mend if found else "", hint) if way]:
        yield from _section("How to mend it", *ways)
    yield from _section("What there was", ", ".join(f"{name} {value}" for name, value in record["host"].items()))
    if record["bundle"]:
        yield from _section("To check the config again", f"pyrun check --host {record['bundle']}")


def _section(title: str, *paragraphs: str, wrap: bool = True) -> Iterator[str]:
    yield ""
    yield f"{title}:"
    for text in paragraphs:
        for line in textwrap.wrap(text, _WIDTH, break_on_hyphens=False) if wrap else [text]:
            yield f"  {line}"
