"""pyrun plan [ID]: what create would do, and where in the config each step comes from. Runs nothing, needs no root."""

from __future__ import annotations

from pyrun.container.bundle import CreateOptions, absolute, read_config
from pyrun.container.planned import Planned
from pyrun.container.store import check_id
from pyrun.errors import Error
from pyrun.machine.listing import lines
from pyrun.spec import checks, strictjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values

_WIDTH = 88


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
    for what, pointer in planned.rows:
        print(f"      {what:<{_WIDTH}}  {pointer}")
    for i, (what, pointer) in enumerate(steps):
        print(f"{i:4}  {what:<{_WIDTH}}  {pointer}".rstrip())
    return 0
