"""pyrun check [BUNDLE]: all that is wrong with a bundle, before anything is done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrun.check import bundle, host
from pyrun.container.bundle import CreateOptions, absolute, read_raw
from pyrun.spec import strictjson
from pyrun.spec.audit import audit

if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values
    from pyrun.spec.faults import Fault


def run(context: Context, values: Values, arguments: list[str]) -> int:
    where = arguments[0] if arguments else values.text("bundle") or "."
    options = CreateOptions(bundle=absolute(where), config=values.text("config"))
    found = audit(read_raw(options))
    if found.config is not None:
        found.errors += bundle.errors(found.config, options, sound=not found.errors)
        found.warnings += bundle.warnings(found.config, options)
        if values["host"]:
            this = host.Host(found.config, options, context.caller)
            found.errors += host.errors(this)
            found.warnings += host.warnings(this)
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
    for level, faults in (("error", found.errors), ("warning", found.warnings)):
        for fault in faults:
            rule = f" [{fault.rule}]" if fault.rule else ""
            print(f"{level}: {fault}{rule}")
    if not found.errors:
        print(f"{options.bundle}: nothing wrong{' on this host' if values['host'] else ''}")
    return 1 if found.errors else 0


def _row(fault: Fault) -> dict[str, str]:
    return {"pointer": fault.pointer, "problem": fault.problem, "rule": fault.rule, "hint": fault.hint}
