"""linux.cgroupsPath under systemd: the unit that a container is, and the slice that it is in (systemd.slice(5),
systemd.unit(5)). Pure.

The form is runc's, SLICE:PREFIX:NAME: the scope PREFIX-NAME.scope in SLICE, which managers rely on.
"""

from __future__ import annotations

from pyrun.spec.faults import Fault, Invalid, show

POINTER = "/linux/cgroupsPath"
_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.\\-@")
_MOST = 255


def unit_of(container: str, cgroups_path: str | None, default_slice: str = "system.slice") -> tuple[str, str]:
    """(slice, scope) of a container. Raises Invalid (MUST 100)."""
    if not cgroups_path:
        return default_slice, _scope("pyrun", escape(container))
    parts = cgroups_path.split(":")
    if len(parts) != 3:
        words = 'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got'  # runc's
        raise _invalid(f"{words} {show(cgroups_path)} instead")
    slice_, prefix, name = parts
    if name.endswith(".slice"):
        raise _invalid(f"must name a scope, not {show(name)}", "a slice holds no processes itself")
    if not name:
        raise _invalid("must name the container after the last colon")
    scope = _scope(prefix, name)
    for text in (slice_, scope):
        if not _CHARACTERS.issuperset(text) or len(text) > _MOST:
            raise _invalid(f"{show(text)} is no name of a unit", "letters, digits and : _ . \\ - @ are allowed")
    return slice_ or default_slice, scope


def slice_directory(slice_: str) -> str:
    """Where a slice's cgroup is below that of its manager: a-b.slice → /a.slice/a-b.slice, `-` and -.slice → "".

    Raises Invalid."""
    stem = slice_.removesuffix(".slice")
    if slice_ in ("-", "-.slice"):
        return ""
    words = stem.split("-")
    if stem == slice_ or "" in words:
        raise _invalid(f"{show(slice_)} is no slice", "such as user-1000.slice")
    return "".join(f"/{'-'.join(words[: i + 1])}.slice" for i in range(len(words)))


def escape(text: str) -> str:
    """What a unit's name can't hold, as \\xNN (systemd-escape(1)); an id may hold a plus."""
    return "".join(c if c in _CHARACTERS else f"\\x{ord(c):02x}" for c in text)


def _scope(prefix: str, name: str) -> str:
    return f"{prefix}-{name}.scope" if prefix else f"{name}.scope"


def _invalid(problem: str, hint: str = "") -> Invalid:
    return Invalid([Fault(POINTER, problem, "MUST 100", hint)])
