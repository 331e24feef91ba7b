"""All that is wrong with a config.json, at once, as far as the text alone shows. Cold: what `pyrun check` begins with.

`config.load` stops at the shape when that is wrong. Here the checks behind it are made all the same, over whatever has
the right shape, so that nobody has to mend a config one round after the other.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pyrun.spec import filesystems, schema, strictjson
from pyrun.spec.checks import (
    CONFIG_CHECKS,
    LINUX_CHECKS,
    PROCESS_CHECKS,
    RESOURCES_CHECKS,
    config_warnings,
)
from pyrun.spec.faults import Fault, Invalid, escape, show
from pyrun.spec.unknown import unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pyrun.spec.config import Config, IDMapping, Linux


class Audit:
    """errors: what makes `create` refuse the config; warnings: what deserves a word; config: the document, None when
    its shape is wrong."""

    __slots__ = ("config", "errors", "warnings")

    def __init__(self, errors: list[Fault], warnings: list[Fault], config: Config | None) -> None:
        self.errors = errors
        self.warnings = warnings
        self.config = config


def audit(raw: bytes) -> Audit:
    """Look at the text of a config.json."""
    try:
        value = strictjson.loads(raw, drop_nulls=True)
    except Invalid as e:
        return Audit(e.faults, [], None)
    shape = _shape(value)
    seen = {fault.pointer for fault in shape}
    # What the schema has found is not said twice, in other words.
    errors = shape + [f for f in collect(_checks(value)) if not any(_at_or_below(f.pointer, p) for p in seen)]
    warnings = collect([partial(config_warnings, value), partial(reserved_annotations, value)])
    told = {fault.pointer for fault in warnings}
    warnings += [f for f in collect([partial(unknown, value, schema.load("config"))]) if f.pointer not in told]
    return Audit(errors, warnings, None if shape else value)


def _shape(value: Any) -> list[Fault]:
    fault = schema.first_fault(value, schema.load("config"))
    if fault is None:
        return []
    try:
        from pyrun.spec import wording  # lazy: loads jsonschema
    except ImportError:  # jsonschema is missing: the one fault known is better than none
        return [fault]
    return wording.all_faults(value, "config") or [fault]


def _checks(value: Any) -> list[Callable[[], Iterable[Fault]]]:
    process = value.get("process") if isinstance(value, dict) else None
    linux = value.get("linux") if isinstance(value, dict) else None
    resources = linux.get("resources") if isinstance(linux, dict) else None
    found: list[Callable[[], Iterable[Fault]]] = [
        partial(check, value) for check in (*CONFIG_CHECKS, users, filesystems.data, limits)
    ]
    if process is not None:
        found += [partial(check, process, "/process") for check in PROCESS_CHECKS]
    if linux is not None:
        found += [partial(check, linux) for check in (*LINUX_CHECKS, overlaps)]
    if resources is not None:
        found += [partial(check, resources, "/linux/resources") for check in RESOURCES_CHECKS]
    return found


def collect(checks: list[Callable[[], Iterable[Fault]]]) -> list[Fault]:
    """What the checks find. They rely on the shape: one that stumbles has nothing to add to what the schema says."""
    found: list[Fault] = []
    for check in checks:
        try:
            found.extend(check())
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            continue
    return found


def _at_or_below(pointer: str, top: str) -> bool:
    return pointer == top or pointer.startswith(f"{top}/")


# What the kernel would refuse, and load() leaves to it.


def overlaps(linux: Linux) -> Iterator[Fault]:
    """user_namespaces(7): no id may be in two mappings, on either side."""
    both = (("uidMappings", linux.get("uidMappings", [])), ("gidMappings", linux.get("gidMappings", [])))
    for name, mappings in both:
        for i, mapping in enumerate(mappings):
            for j, other in enumerate(mappings[:i]):
                for side in ("containerID", "hostID"):
                    if _meet(mapping, other, side):
                        yield Fault(f"/linux/{name}/{i}", f"{side} overlaps with that of /linux/{name}/{j}", "MUST 80")


def _meet(one: IDMapping, other: IDMapping, side: str) -> bool:
    first, second = one[side], other[side]  # type: ignore[literal-required]
    return bool(first < second + other["size"] and second < first + one["size"])


def users(config: Config) -> Iterator[Fault]:
    """Ids of the process that its user namespace doesn't have."""
    linux, user = config.get("linux", {}), config.get("process", {}).get("user", {})
    ids = [("uid", user.get("uid", 0), "uidMappings"), ("gid", user.get("gid", 0), "gidMappings")]
    ids += [(f"additionalGids/{i}", gid, "gidMappings") for i, gid in enumerate(user.get("additionalGids", []))]
    for name, number, which in ids if "process" in config else []:
        mappings: list[IDMapping] = linux.get(which, [])  # type: ignore[assignment]
        if mappings and not any(m["containerID"] <= number < m["containerID"] + m["size"] for m in mappings):
            yield Fault(f"/process/user/{name}", f"{number} is in none of /linux/{which}", "MUST 80")


# No program starts with less: what execve takes of the address space for the arguments alone (fs/exec.c,
# setup_arg_pages), and what the kernel charges to the cgroup of a process that does nothing.
_LEAST_RLIMIT = {"RLIMIT_AS": 128 << 10}
_LEAST_MEMORY = 192 << 10


def limits(config: Config) -> Iterator[Fault]:
    """Limits below what any start takes."""
    for i, row in enumerate(config.get("process", {}).get("rlimits", [])):
        least = _LEAST_RLIMIT.get(row["type"], 0)
        if row["soft"] < least:
            problem = f"{row['soft']} is too little for any program to start"
            yield Fault(f"/process/rlimits/{i}/soft", problem, hint=f"at least {least} bytes")
    memory = config.get("linux", {}).get("resources", {}).get("memory", {}).get("limit", 0)
    if 0 < memory < _LEAST_MEMORY and "process" in config:
        problem = f"{memory} is too little for any program to start"
        yield Fault("/linux/resources/memory/limit", problem, hint=f"at least {_LEAST_MEMORY} bytes")


def reserved_annotations(config: Config) -> Iterator[Fault]:
    """Names that the specifications keep for themselves (config.md "Annotations")."""
    for name in config.get("annotations", {}):
        if name.startswith("org.opencontainers.") and not name.startswith("org.opencontainers.image."):
            pointer = f"/annotations/{escape(name)}"
            yield Fault(pointer, f"{show(name)} is a name that the OCI keeps for itself", "MUST 77")
