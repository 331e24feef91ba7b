"""pyrun plan [ID]: what create would do, and where in the config each step comes from. Runs nothing, needs no root."""

from __future__ import annotations

from pyrun.container.bundle import CreateOptions, absolute, read_config
from pyrun.container.planned import Planned
from pyrun.container.store import check_id
from pyrun.errors import Error
from pyrun.machine.listing import lines
from pyrun.plan.summary import summary
from pyrun.spec import checks, strictjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values
    from pyrun.spec.config import Config

_WIDTH = 88
_MOST_CALLS = 5


def run(context: Context, values: Values, arguments: list[str]) -> int:
    form = values["format"] or "text"
    if form not in ("text", "json"):
        raise Error(f"--format is text or json, not {form}")
    options = CreateOptions(
        bundle=absolute(values.text("bundle") or "."),
        config=values.text("config"),
        pivot=not values["no_pivot"],
        keyring=not values["no_new_keyring"],
        cgroup_manager=context.cgroup_manager,
        rootless=bool(context.rootless),
    )
    _, config = read_config(options)
    container = arguments[0] if arguments else absolute(options.bundle).rstrip("/").rpartition("/")[2]
    check_id(container)
    planned = Planned(container, config, options, context.caller)
    if values["digest"]:
        print(planned.digest())
        return 0
    steps = lines(planned.program)
    if form == "json":
        print(
            strictjson.dumps(
                {
                    "id": container,
                    "warnings": [str(fault) for fault in checks.config_warnings(config)],
                    "cgroup": [{"step": what, "pointer": pointer} for what, pointer in planned.rows],
                    "program": [{"step": what, "pointer": pointer} for what, pointer in steps],
                },
                indent=2,
            )
        )
        return 0
    for fault in checks.config_warnings(config):
        print(f"warning: {fault}")
    if not values["all"]:
        _summarise(planned, config)
        return 0
    for what, pointer in planned.rows:
        print(f"      {what:<{_WIDTH}}  {pointer}")
    for i, (what, pointer) in enumerate(steps):
        print(f"{i:4}  {what:<{_WIDTH}}  {pointer}".rstrip())
    return 0


def _summarise(planned: Planned, config: Config) -> None:
    """A line for what each part of the config becomes."""
    by_pointer: dict[str, list[str]] = {}
    for what, pointer in planned.rows:
        by_pointer.setdefault(pointer, []).append(what)
    rows = [
        ("cgroup", pointer, whats[0] if len(whats) == 1 else f"{len(whats)} steps: {whats[0]} …", "")
        for pointer, whats in by_pointer.items()
    ]
    for line in summary(planned.program, config):
        shown = line.calls[:_MOST_CALLS] + ["…"] * (len(line.calls) > _MOST_CALLS)
        rows.append((line.stage, line.pointer, line.becomes, " ".join(shown)))
    last = ""
    for stage, pointer, words, calls in rows:
        print(f"{stage if stage != last else '':<11} {pointer:<28} {words:<58}  {calls}".rstrip())
        last = stage
    print(f"{len(planned.program.instructions)} instructions; --all shows each of them")
