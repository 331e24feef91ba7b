"""pyrun plan [ID]: what create would do, and where in the config each step comes from. Runs nothing, needs no root."""

from __future__ import annotations

import difflib
import os
import re

from pyrun.cli._screen import BOLD, Screen
from pyrun.container.bundle import CreateOptions, absolute, read_config
from pyrun.container.planned import Planned
from pyrun.container.store import check_id
from pyrun.errors import Error
from pyrun.machine.listing import executed, lines
from pyrun.plan.summary import STAGES, summary
from pyrun.spec import checks, strictjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values
    from pyrun.plan.summary import Stage

_WIDTH = 88
_MOST_CALLS = 5
# What differs between two programs that do the same: registers, places in the data, numbers of instructions.
_PLACES = re.compile(r"\br\d+\b|\[\d+:|-> \d+")


def run(context: Context, values: Values, arguments: list[str]) -> int:
    form = values["format"] or ("json" if values["json"] else "text")
    if form not in ("text", "json"):
        raise Error(f"--format is text or json, not {form}")
    bundle = absolute(values.text("bundle") or ".")
    name = arguments[0] if arguments else bundle.rstrip("/").rpartition("/")[2]
    check_id(name)
    planned = _planned(context, values, name, bundle, values.text("config"))
    if values["digest"]:
        print(planned.digest())
        return 0
    if values["diff"]:
        other = absolute(values.text("diff"))
        to = (other, "") if os.path.isdir(other) else (bundle, other)
        return _compare(planned, _planned(context, values, name, *to), whole=values.flag("all"))
    if form == "json":
        print(strictjson.dumps(_document(name, planned), indent=2))
        return 0
    for fault in checks.config_warnings(planned.config):
        print(f"warning: {fault}")
    screen = Screen(context.caller.environ)
    if values["all"]:
        for what, pointer in planned.rows:
            print(screen.cut(f"      {what:<{_WIDTH}}  {pointer}"))
        for i, (what, pointer) in enumerate(lines(planned.program)):
            print(screen.cut(f"{i:4}  {what:<{_WIDTH}}  {pointer}".rstrip()))
        return 0
    for stage, rows in _stages(planned):
        print(screen.paint(screen.cut(f"{stage.name:<11} {stage.why}  ({stage.section})"), BOLD))
        for row in rows:
            print(screen.cut(f"    {row}"))
    print(f"{len(planned.program.instructions)} instructions; --all shows each of them")
    return 0


def _planned(context: Context, values: Values, name: str, bundle: str, config: str) -> Planned:
    options = CreateOptions(
        bundle=bundle,
        config=config,
        pivot=not values["no_pivot"],
        keyring=not values["no_new_keyring"],
        cgroup_manager=context.cgroup_manager,
        rootless=bool(context.rootless),
        require=context.require,
    )
    _, document = read_config(options)
    return Planned(name, document, options, context.caller)


def _stages(planned: Planned) -> Iterator[tuple[Stage, list[str]]]:
    """Each stage that there is something of, with a line for what each part of the config becomes."""
    found: dict[str, list[str]] = {}
    by_pointer: dict[str, list[str]] = {}
    for what, pointer in planned.rows:
        by_pointer.setdefault(pointer, []).append(what)
    for pointer, whats in by_pointer.items():
        words = whats[0] if len(whats) == 1 else f"{len(whats)} steps: {whats[0]} …"
        found.setdefault("cgroup", []).append(f"{pointer:<28} {words}".rstrip())
    for line in summary(planned.program, planned.config):
        calls = " ".join(line.calls[:_MOST_CALLS] + ["…"] * (len(line.calls) > _MOST_CALLS))
        found.setdefault(line.stage, []).append(f"{line.pointer:<28} {line.becomes:<58}  {calls}".rstrip())
    for stage in STAGES:
        if stage.name in found:
            yield stage, found[stage.name]


def _document(name: str, planned: Planned) -> dict[str, object]:
    """stages: what the summary shows. cgroup, program: each step, in order."""
    return {
        "id": name,
        "warnings": [str(fault) for fault in checks.config_warnings(planned.config)],
        "stages": [
            {"stage": line.stage, "pointer": line.pointer, "becomes": line.becomes, "calls": line.calls}
            for line in summary(planned.program, planned.config)
        ],
        "cgroup": [{"step": what, "pointer": pointer} for what, pointer in planned.rows],
        "program": [{"step": what, "pointer": pointer} for what, pointer in lines(planned.program)],
    }


def _compare(one: Planned, other: Planned, *, whole: bool) -> int:
    """What only one of the two does: - the first, + the second. 1 when they differ, as diff(1)."""
    shown = [_flat(planned, whole=whole) for planned in (one, other)]
    changes = [line for line in difflib.ndiff(shown[0], shown[1]) if line[0] in "+-"]
    for line in changes:
        print(line.rstrip())
    return 1 if changes else 0


def _flat(planned: Planned, *, whole: bool) -> list[str]:
    if not whole:
        return [f"{stage.name}: {row}" for stage, rows in _stages(planned) for row in rows]
    steps = planned.rows + [(_PLACES.sub(_place, what), pointer) for what, pointer in executed(planned.program)]
    return [f"{what}  {pointer}" for what, pointer in steps]


def _place(found: re.Match[str]) -> str:
    return {"r": "r", "[": "[", "-": "->"}[found[0][0]]
