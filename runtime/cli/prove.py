"""pyrun prove [BUNDLE]: that a container's programs can't do what no program must, on any path. Runs nothing."""

from __future__ import annotations

from pyrun.container.bundle import CreateOptions, absolute, read_config
from pyrun.container.planned import Planned
from pyrun.errors import Error
from pyrun.prove.programs import of_container
from pyrun.prove.prove import prove
from pyrun.prove.rules import RULES
from pyrun.spec import strictjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values
    from pyrun.prove.prove import Violation


def run(context: Context, values: Values, arguments: list[str]) -> int:
    if arguments and values["bundle"]:
        raise Error("name the bundle once: as an argument, or by --bundle")
    options = CreateOptions(
        bundle=absolute(arguments[0] if arguments else values.text("bundle") or "."),
        config=values.text("config"),
        cgroup_manager=context.cgroup_manager,
        rootless=bool(context.rootless),
    )
    _, config = read_config(options)
    planned = Planned("container", config, options, context.caller)
    held = dict.fromkeys((rule.name for rule in RULES), 0)
    violations: list[tuple[str, Violation]] = []
    programs = 0
    for name, program, asked in of_container(config, planned.facts, planned.program):
        programs += 1
        proof = prove(program, asked)
        for rule, count in proof.held.items():
            held[rule] += count
        violations += [(name, violation) for violation in proof.violations]
    (_print_json if values["json"] else _print)(held, violations, programs)
    return 1 if violations else 0


def _print(held: dict[str, int], violations: list[tuple[str, Violation]], programs: int) -> None:
    broken = {violation.rule.name for _, violation in violations}
    for rule in RULES:
        word = "BROKEN" if rule.name in broken else "holds"
        print(f"{word:<7} {rule.name:<13} {held[rule.name]:>5}  {rule.holds}")
    for name, violation in violations:
        print(f"\n{name}: {violation.rule.name}: {violation.problem}")
        print(f"  at {violation.path[-1]} {violation.step}  {violation.pointer}".rstrip())
        print(f"  by {_ranges(violation.path)}")
    if not violations:
        print(f"{programs} program{'s' if programs > 1 else ''}, every path")


def _ranges(path: list[int]) -> str:
    """0-45, 52, 60-61"""
    found: list[list[int]] = []
    for index in path:
        if found and index == found[-1][1] + 1:
            found[-1][1] = index
        else:
            found.append([index, index])
    return ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in found)


def _print_json(held: dict[str, int], violations: list[tuple[str, Violation]], programs: int) -> None:
    document: dict[str, Any] = {
        "programs": programs,
        "rules": [
            {"name": rule.name, "holds": rule.holds, "closes": rule.hole, "checked": held[rule.name]} for rule in RULES
        ],
        "violations": [
            {
                "program": name,
                "rule": violation.rule.name,
                "problem": violation.problem,
                "step": violation.step,
                "pointer": violation.pointer,
                "path": violation.path,
            }
            for name, violation in violations
        ],
    }
    print(strictjson.dumps(document, indent=2))
