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

from pyrun.spec.faults import Fault, Invalid, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cgroups.host import Hierarchies, Hierarchy

POINTER = "/linux/cgroupsPath"
RULE = "MUST 100"


def clean(path: str, pointer: str = POINTER) -> str:
    """`path` without empty and `.` components and without a slash at its end; still absolute if it was.

    Raises Invalid for `..`, NUL, a newline, text that is no UTF-8, and a path that names no cgroup.
    """

    def invalid(problem: str, hint: str = "") -> Invalid:
        return Invalid([Fault(pointer, problem, rule=RULE, hint=hint)])

    if "\0" in path or "\n" in path:  # the kernel takes no newline: it would break /proc/PID/cgroup
        raise invalid("must not hold a NUL or a newline")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise invalid("must be UTF-8") from None
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise invalid(f"must not have a `..` component: {show(path)}", "write the path without `..`")
    if not parts:
        raise invalid(f"must name a cgroup of the container's own, not {show(path)}", "such as /pyrun/NAME")
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def directories(hierarchies: Hierarchies, container: str, cgroups_path: str | None) -> list[tuple[Hierarchy, str]]:
    """The container's directory in each hierarchy, in the order of `hierarchies`. Absent and empty are the same.

    Raises Invalid (see `clean`).
    """
    inner = clean(cgroups_path or container)
    if inner.startswith("/"):
        return [(tree, tree.mountpoint + inner) for tree in hierarchies.trees]
    result = []
    for tree in hierarchies.trees:
        base = tree.own_below_mount
        if hierarchies.mode == "v2":
            base = base.rpartition("/")[0]
        result.append((tree, f"{tree.mountpoint}{base}/{inner}"))
    return result
