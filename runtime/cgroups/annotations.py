"""Annotations org.systemd.property.* → properties of the container's scope (systemd.scope(5)). Pure.

Whoever writes an annotation need not be who writes the config: managers copy those of an image. So what is allowed is
a list: what limits or divides resources, and when and how systemd is to stop the scope. A property that names a
program, a file, or a unit to start, that keeps the scope when it should go, or that hides it from pyrun, is not in it,
and nor is what systemd has yet to invent.

The config's limits win. An annotation for a file that linux.resources writes is an error, whatever the property is
called: `unified` counts, a startup value counts, and a second property for the same file counts, of which systemd might
take the wrong one. Where the config is silent, a scope has one limit of its own, DefaultTasksMax of the manager, which
an annotation may lower only (`systemd`). Weights and protections are no limits: they divide what the slice has.
"""

from __future__ import annotations

from pyrun.cgroups import gvariant
from pyrun.cgroups.controllers import controllers
from pyrun.cgroups.properties import INFINITY, Property
from pyrun.spec.faults import Fault, Invalid, escape, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cgroups.controller import Write

PREFIX = "org.systemd.property."

# property, D-Bus type, the file of version 2 that it ends in, of version 1 ("": it has none)
_LIMITS = [row for controller in controllers() for row in controller.annotations]
# How it is stopped, and by whom. Without ManagedOOMPreference, which would shield it from the host's own watch over
# memory; and FinalKillSignal, after which nothing must live.
_CONDUCT = {
    "After": "as",  # CRI-O's: of services, below
    "DefaultDependencies": "b",  # CRI-O's: to end before the system does
    "IPAccounting": "b",
    "KillSignal": "i",
    "ManagedOOMMemoryPressure": "s",
    "ManagedOOMMemoryPressureDurationUSec": "t",
    "ManagedOOMMemoryPressureLimit": "u",
    "ManagedOOMSwap": "s",
    "RuntimeMaxUSec": "t",
    "RuntimeRandomizedExtraUSec": "t",
    "SendSIGHUP": "b",
    "TimeoutStopUSec": "t",
}
# What pyrun or systemd sets by itself and needs so. Managers say it too, and nothing need be done about it.
_FIXED: dict[str, bool | str] = {
    "BlockIOAccounting": True,
    "CPUAccounting": True,
    "CollectMode": "inactive-or-failed",
    "Delegate": True,
    "IOAccounting": True,
    "KillMode": "control-group",
    "MemoryAccounting": True,
    "SendSIGKILL": True,
    "TasksAccounting": True,
}
# A D-Bus type, and a value of it.
_FORMS = {
    "as": "an array of texts, as ['crio.service']",
    "a(st)": "an array of pairs, as [('/dev/sda', uint64 1000)]",
    "ay": "an array of bytes, as [byte 3]",
    "b": "true or false",
    "i": "an int32, as 15",
    "s": "a text, as 'text'",
    "t": "a uint64, as uint64 5",
    "u": "a uint32, as uint32 5",
}


def annotated(annotations: dict[str, str], *, v2: bool) -> list[Property]:
    """The properties that annotations ask for. A name in …Sec takes seconds, as in unit files. Raises Invalid."""
    types = {name: type_ for name, type_, *files in _LIMITS if files[not v2]} | _CONDUCT
    found: dict[str, Property] = {}
    faults: list[Fault] = []
    listed = False
    for key, text in annotations.items():
        if not key.startswith(PREFIX):
            continue
        pointer = f"/annotations/{escape(key)}"
        name = key[len(PREFIX) :]
        seconds = name.endswith("Sec") and not name.endswith("USec")
        if seconds:
            name = f"{name[:-3]}USec"
        if name not in types and name not in _FIXED:
            faults.append(_unknown(pointer, key[len(PREFIX) :], v2, "" if listed else _allowed(types)))
            listed = True
            continue
        try:
            signature, value = gvariant.parse(text)
            if seconds and types.get(name) == "t":
                signature, value = "t", _microseconds(value)
        except ValueError as e:
            faults.append(Fault(pointer, str(e), hint="the form is GVariant's: 'text', true, uint64 5"))
            continue
        if name in _FIXED:
            if (type(value), value) != (type(_FIXED[name]), _FIXED[name]):
                faults.append(Fault(pointer, f"{name} must be {_shown(name)}", hint="the runtime needs it so"))
        elif signature != types[name]:
            faults.append(Fault(pointer, f"{name} must be {_FORMS[types[name]]}; got {show(text)}"))
        elif name == "After" and not all(unit.endswith(".service") for unit in value):
            # An order alone starts and stops nothing; but what the system's own start waits for is no container's.
            faults.append(Fault(pointer, f"After must name services; got {show(text)}"))
        elif name in found:
            faults.append(Fault(pointer, f"{name} is set by {found[name].pointer} already", hint="leave one out"))
        else:
            found[name] = Property(pointer, name, signature, bytes(value) if signature == "ay" else value)
    if faults:
        raise Invalid(faults)
    return list(found.values())


def _unknown(pointer: str, name: str, v2: bool, allowed: str) -> Fault:
    if any(row[0] == name for row in _LIMITS):
        here, there = (2, 1) if v2 else (1, 2)
        return Fault(pointer, f"{name} is of cgroup version {there}, and this host has version {here}", hint=allowed)
    return Fault(pointer, f"{show(name)} can't be set by an annotation", hint=allowed)


def _allowed(types: dict[str, str]) -> str:
    """All names, one that has a Startup… too with it."""
    names = [f"(Startup){name}" if f"Startup{name}" in types else name for name in types]
    return "allowed: " + ", ".join(name for name in names if not name.startswith("Startup"))


def _shown(name: str) -> str:
    value = _FIXED[name]
    return "true" if value is True else f"'{value}'"


def _microseconds(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < INFINITY / 1_000_000:
        raise ValueError(f"is no number of seconds: {show(value)}")
    return int(value * 1_000_000)


def contested(wanted: list[Property], writes: list[Write], *, v2: bool) -> None:
    """Raises Invalid where an annotation is for what linux.resources sets."""
    files = {name: row[not v2] for name, _, *row in _LIMITS}
    decided = {file: other for controller in controllers() for file, other in controller.decided_by.items()}
    taken: dict[str, str] = {}
    for write in writes:
        taken.setdefault(decided.get(write.file, write.file), write.pointer)
    faults = []
    for row in wanted:
        other = taken.get(files.get(row.name, ""))
        if other:
            faults.append(Fault(row.pointer, f"{row.name} is set by {other} already", hint="leave one out"))
    if faults:
        raise Invalid(faults)
