"""pyrun check [BUNDLE]: all that is wrong with a bundle, before anything is done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrun.check import bundle, host
from pyrun.cli._screen import RED, YELLOW, Screen
from pyrun.container import policy
from pyrun.container.bundle import CreateOptions, absolute, read_raw
from pyrun.errors import Error
from pyrun.spec import strictjson
from pyrun.spec.audit import audit
from pyrun.spec.musts import musts

if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values
    from pyrun.spec.faults import Fault


def run(context: Context, values: Values, arguments: list[str]) -> int:
    if rule := values.text("explain"):
        return _explain(rule)
    where = arguments[0] if arguments else values.text("bundle") or "."
    options = CreateOptions(bundle=absolute(where), config=values.text("config"), cgroup_manager=context.cgroup_manager)
    found = audit(read_raw(options))
    if found.config is not None:
        found.errors += bundle.errors(found.config, options, sound=not found.errors)
        found.warnings += bundle.warnings(found.config, options)
        if values["host"]:
            this = host.Host(found.config, options, context.caller)
            told = {fault.pointer for fault in found.errors if fault.pointer}
            found.errors += [fault for fault in host.errors(this) if fault.pointer not in told]
            found.warnings += host.warnings(this)
        if context.require:
            found.errors += policy.faults(context.require, found.config, options.bundle)
    if values["json"]:
        print(
            strictjson.dumps(
                {
                    "bundle": options.bundle,
                    "valid": not found.errors,
                    "errors": [_row(fault) for fault in found.errors],
                    "warnings": [_row(fault) for fault in found.warnings],
                },
                indent=2,
            )
        )
        return 1 if found.errors else 0
    screen = Screen(context.caller.environ)
    for level, colour, faults in (("error", RED, found.errors), ("warning", YELLOW, found.warnings)):
        for fault in faults:
            rule = f" [{fault.rule}]" if fault.rule else ""
            print(screen.paint(f"{level}:", colour) + screen.fold(f"{level}: {fault}{rule}", 4)[len(level) + 1 :])
    if not found.errors:
        print(f"{options.bundle}: nothing wrong{' on this host' if values['host'] else ''}")
    return 1 if found.errors else 0


def _explain(rule: str) -> int:
    """What a rule says, and where it stands: `MUST 54` or 54."""
    digits = rule.upper().removeprefix("MUST").strip()
    known = musts()
    must = known.get(int(digits)) if digits.isascii() and digits.isdigit() else None
    if must is None:
        raise Error(f"there is no rule {rule}", hint=f"MUST 1 to MUST {len(known)}, as at the end of check's lines")
    print(f"MUST {int(digits)}: {must.text}\n{must.where}")
    return 0


def _row(fault: Fault) -> dict[str, str]:
    return {"pointer": fault.pointer, "problem": fault.problem, "rule": fault.rule, "hint": fault.hint}
