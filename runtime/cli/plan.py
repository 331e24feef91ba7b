"""pyrun plan [ID]: what create would do, and where in the config each step comes from. Runs nothing, needs no root."""

from __future__ import annotations

import posix

from pyrun.cgroups.host import host
from pyrun.container.bundle import CreateOptions, absolute, read_config
from pyrun.container.gather import facts, own_cgroup, resources
from pyrun.container.store import check_id
from pyrun.errors import ConfigError, Error
from pyrun.machine.listing import lines
from pyrun.plan.create import compile_container
from pyrun.spec import checks, strictjson
from pyrun.spec.faults import Invalid

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
        cgroup_manager=context.cgroup_manager,
        rootless=bool(context.rootless),
    )
    _, config = read_config(options)
    container = arguments[0] if arguments else absolute(options.bundle).rstrip("/").rpartition("/")[2]
    check_id(container)
    try:
        hierarchies = host()
        cgroup = own_cgroup(options, hierarchies, container, config, context.caller)
        if not cgroup.needs_process:
            cgroup.foresee()
        writes = cgroup.writes(resources(config, cgroup))  # type: ignore[arg-type]
        found = facts(container, config, options, hierarchies, cgroup, context.caller, cache=False)
        # What root would run, whoever asks; with --rootless=true, what a user would.
        found.privileged = not context.rootless
        if posix.geteuid() != 0:
            found.capabilities = (1 << 41) - 1
        program = compile_container(config, found)
    except Invalid as e:
        raise ConfigError(e.faults) from None
    except OverflowError as e:
        raise Error(str(e)) from None
    rows = cgroup.steps() + [(f"write {write.value!r} to {write.file}", write.pointer) for write in writes]
    steps = lines(program)
    if form == "json":
        print(
            strictjson.dumps(
                {
                    "id": container,
                    "warnings": [str(fault) for fault in checks.config_warnings(config)],
                    "cgroup": [{"step": what, "pointer": pointer} for what, pointer in rows],
                    "program": [{"step": what, "pointer": pointer} for what, pointer in steps],
                },
                indent=2,
            )
        )
        return 0
    for fault in checks.config_warnings(config):
        print(f"warning: {fault}")
    for what, pointer in rows:
        print(f"      {what:<{_WIDTH}}  {pointer}")
    for i, (what, pointer) in enumerate(steps):
        print(f"{i:4}  {what:<{_WIDTH}}  {pointer}".rstrip())
    return 0
