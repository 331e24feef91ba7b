"""Can the caller make the container's cgroup here, and has it what the limits ask for?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pyrun.cgroups.cgroup import Cgroup
from pyrun.cgroups.controller import Wanted
from pyrun.cgroups.controllers import controllers
from pyrun.cgroups.host import host as hierarchies_of_host
from pyrun.check.content import content
from pyrun.spec.faults import Fault, Invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.cgroups.controller import Write
    from pyrun.cgroups.directories import Directory
    from pyrun.spec.config import Linux


def faults(linux: Linux, root: bool, manager: str = "") -> Iterator[Fault]:
    """MUST 30, 110, 111. root: the caller is. manager: of --cgroup-manager, "" for the default."""
    resources = linux.get("resources", {})
    try:
        cgroup = Cgroup(hierarchies_of_host(), "check", linux.get("cgroupsPath"))
        writes = cgroup.writes(resources)  # type: ignore[arg-type]
    except Invalid as e:
        yield from e.faults
        return
    if root and manager in ("", "cgroupfs") and (denied := next(filter(None, map(_denied, cgroup.directories)), "")):
        yield Fault("/linux/cgroupsPath", denied, hint="or --cgroup-manager disabled, without limits")
        return
    wanted = Wanted(resources, v2=cgroup.mode == "v2")  # type: ignore[arg-type]
    found = [fault for controller in controllers(resources) for fault in controller.lacks(wanted)]
    yield from found
    said = {fault.pointer for fault in found}
    for write in writes:
        if not write.optional and not any(write.pointer.startswith(pointer) for pointer in said):
            missing = _missing(cgroup, write, root)
            if missing:
                said.add(write.pointer)
                rule = "MUST 110" if write.pointer.startswith("/linux/resources/unified") else "MUST 30"
                yield Fault(write.pointer, missing, rule)


def _missing(cgroup: Cgroup, write: Write, root: bool) -> str:
    """What the caller lacks for a write: the controller, its delegation, or the file that this kernel doesn't have; ""
    where all are there, and where there is no other cgroup to look at."""
    v2 = cgroup.mode == "v2"
    own = [d for d in cgroup.directories if v2 or write.controller in d.controllers]
    there = set(content(f"{own[0].top}/cgroup.controllers").split()) if own and v2 else {write.controller}
    if not own or write.controller not in there | {""}:
        return f"this host has no cgroup controller {write.controller}"
    if not root:
        if _denied(own[0]):
            return f"the cgroup can't be made by this caller: {_denied(own[0])}"
        if v2 and write.controller and write.controller not in (given := _delegated(own[0])):
            return (
                f"the controller {write.controller} is not delegated to this caller, only {' '.join(given) or 'none'}"
            )
    # A cgroup that is there, not the top one: some files are not in that.
    for name in os.listdir(own[0].top):
        here = f"{own[0].top}/{name}"
        enabled = not v2 or not write.controller or write.controller in content(f"{here}/cgroup.controllers").split()
        if enabled and os.path.exists(f"{here}/cgroup.procs"):
            files = [write.file, *([write.otherwise.file] if write.otherwise else [])]
            there_is = any(os.path.exists(f"{here}/{file}") for file in files)
            return "" if there_is else f"this host has no file {write.file} in its cgroups"
    return ""


def _ancestors(directory: Directory) -> list[str]:
    """What there is of its path already, the deepest first."""
    found, path = [], directory.path
    while len(path) >= len(directory.top):
        if os.path.isdir(path):
            found.append(path)
        path = path.rpartition("/")[0]
    return found


def _denied(directory: Directory) -> str:
    """Why no directory can be made there; "" when it can."""
    above = _ancestors(directory)[:1]
    if not above or os.access(above[0], os.W_OK):
        return ""
    read_only = os.statvfs(above[0]).f_flag & os.ST_RDONLY
    return f"{above[0]} {'is mounted read-only' if read_only else 'is not to be written by this caller'}"


def _delegated(directory: Directory) -> list[str]:
    """The controllers of the highest cgroup that the caller may write to: it can hand them down from there."""
    given = ""
    for path in _ancestors(directory):
        if not os.access(f"{path}/cgroup.subtree_control", os.W_OK):
            break
        given = path
    return content(f"{given}/cgroup.controllers").split()
