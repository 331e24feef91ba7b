"""linux.cgroupsPath → the container's directory in each hierarchy (config-linux.md, "Cgroups Path", MUST 97-100).

- An absolute path is relative to the mount point of every hierarchy (MUST 98), whatever root the mount shows.
- A relative path, and the container's id when there is none, is relative to the *caller's* cgroup, on version 1 below
  it and on version 2 beside it. Below the caller and not below the mount point, since a caller that is itself limited
  would otherwise let its containers out of its limits, and hierarchies differ in where the caller is. Beside it on
  version 2, since a cgroup with processes (the caller is one) can't give controllers to its children. runc does the
  same, and the same value in the same place gives the same directory (MUST 99).
- What could leave the mount, or be the mount or the caller's own cgroup, is refused (MUST 100).
"""

from __future__ import annotations

from pyrun.spec.faults import Fault, Invalid
from pyrun.spec.paths import cgroup_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cgroups.host import Hierarchies, Hierarchy

POINTER = "/linux/cgroupsPath"


def locate(hierarchies: Hierarchies, container: str, cgroups_path: str | None) -> list[tuple[Hierarchy, str]]:
    """The container's directory in each hierarchy, in the order of `hierarchies`. Absent and empty are the same.

    Raises Invalid.
    """
    try:
        inner = cgroup_path(cgroups_path or container)
    except ValueError as error:
        raise Invalid([Fault(POINTER, str(error), "MUST 100")]) from None
    if inner.startswith("/"):
        return [(tree, tree.mountpoint + inner) for tree in hierarchies.trees]
    result = []
    for tree in hierarchies.trees:
        base = tree.own_below_mount
        if hierarchies.mode == "v2":
            base = base.rpartition("/")[0]
        result.append((tree, f"{tree.mountpoint}{base}/{inner}"))
    return result
