"""Members of a config that no specification knows. They are no error (config.md "Extensibility"), and mostly a slip of
the pen: a limit with a wrong name is no limit. For `pyrun check`, and `update` of a document."""

from __future__ import annotations

from pyrun.spec.faults import Fault, escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyrun.spec.schema import Schema

# What the specification has for others than Linux.
_ELSEWHERE = {
    "/freebsd": "FreeBSD",
    "/process/commandLine": "Windows",
    "/process/user/username": "Windows",
    "/solaris": "Solaris",
    "/vm": "virtual machines",
    "/windows": "Windows",
    "/zos": "z/OS",
}
# What it had once, and what has taken its place.
_RETIRED = {"/linux/intelRdt/enableCMT": "enableMonitoring", "/linux/intelRdt/enableMBM": "enableMonitoring"}
_ALIKE = 0.7


def unknown(value: Any, schema: Schema, at: str = "") -> Iterator[Fault]:
    """A warning for each member, at whatever depth, that the schema does not name."""
    if isinstance(value, list):
        for i, member in enumerate(value):
            yield from unknown(member, schema.get("items", {}), f"{at}/{i}")
    elif isinstance(value, dict):
        properties, rest = schema.get("properties", {}), schema.get("additionalProperties")
        for name, member in value.items():
            where = f"{at}/{escape(name)}"
            known = properties.get(name, rest)
            if known is not None:
                yield from unknown(member, known, where)
            elif schema.get("type") == "object":
                yield _warning(name, where, [*properties])


def _warning(name: str, where: str, known: list[str]) -> Fault:
    if platform := _ELSEWHERE.get(where):
        return Fault(where, f"has no effect: it is for {platform}")
    if successor := _RETIRED.get(where):
        return Fault(where, "has no effect any more", hint=f"{successor} has taken its place")
    by_case = [other for other in known if other.lower() == name.lower()]
    if by_case:
        # Two readers of one file would make two containers of it.
        problem = f"has no effect here, but Go's programs read it as {by_case[0]}"
        return Fault(where, problem, hint=f"write {by_case[0]}")
    import difflib  # lazy: only for a slip of the pen

    near = difflib.get_close_matches(name, known, 1, _ALIKE)
    return Fault(where, "has no effect: it is unknown", hint=f"did you mean {near[0]}?" if near else "")
