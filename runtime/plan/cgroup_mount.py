"""A mount of type cgroup: the container's view of its cgroups (config-linux.md "Default Filesystems", cgroups(7)).

With a cgroup namespace the kernel shows the right part by itself; without one the container's own cgroup is bound.
On v1 there is a folder a hierarchy in a small tmpfs, and a link for each controller that shares its hierarchy.
"""

from __future__ import annotations

from errno import EEXIST

from pyrun.errors import Error
from pyrun.kernel.constants import AT_FDCWD, O_PATH
from pyrun.machine.program import Program, Register
from pyrun.spec.mount_options import MOUNT_ATTR_RDONLY, MS_PRIVATE
from pyrun.spec.namespaces import CLONE_NEWCGROUP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.plan.facts import Facts
    from pyrun.plan.mounts import Entry
    from pyrun.plan.namespaces import Namespaces


def make(p: Program, entry: Entry, root: Register, namespaces: Namespaces, facts: Facts) -> None:
    from pyrun.plan import mounts  # not above: it imports this module

    attributes = entry.options.attr_set
    # Mounting cgroup2 from the host's cgroup namespace would take nsdelegate and memory_recursiveprot from the host's
    # own mount, so it is done only in a new namespace.
    fresh = bool(namespaces.new & CLONE_NEWCGROUP)
    if facts.cgroup_v2:
        if fresh:
            tree = _fresh(p, "cgroup2", [], attributes)
        elif facts.cgroups:
            tree = _bound(p, *facts.cgroups[0][1:], attributes)
        else:
            words = "the container has no cgroup that could be shown"
            raise Error(
                f"mount {entry.destination}", pointer=entry.pointer, detail=words, hint="is /sys/fs/cgroup mounted?"
            )
        point = mounts.target(p, entry, root)
        p.move_mount(tree, point)
        p.close(point)
        p.close(tree)
        return
    fs = p.fsopen("tmpfs")
    p.fsconfig_set_string(fs, "source", "tmpfs")
    p.fsconfig_set_string(fs, "mode", "755")
    if facts.mount_label:
        p.fsconfig_set_string(fs, "context", facts.mount_label)
    p.fsconfig_create(fs)
    folder = p.fsmount(fs, attributes & ~MOUNT_ATTR_RDONLY)
    p.close(fs)
    point = mounts.target(p, entry, root)
    p.move_mount(folder, point)
    p.close(point)
    for name, mount_point, path in facts.cgroups:
        if fresh:
            tree = _fresh(p, "cgroup", _v1_options(name), attributes)
        else:
            tree = _bound(p, mount_point, path, attributes)
        # name=systemd is mounted at .../systemd.
        folder_name = name.removeprefix("name=")
        p.call("mkdirat", folder, folder_name, 0o755)
        place = p.openat2(folder, folder_name, O_PATH, 0)
        p.move_mount(tree, place)
        p.close(place)
        p.close(tree)
        controllers = folder_name.split(",")
        if len(controllers) > 1:
            for controller in controllers:
                exists = p.label()
                p.call("symlinkat", folder_name, folder, controller, errors={EEXIST: exists})
                p.place(exists)
    if attributes & MOUNT_ATTR_RDONLY:
        p.mount_setattr(folder, attr_set=MOUNT_ATTR_RDONLY)
    p.close(folder)


def _v1_options(name: str) -> list[tuple[str, str | None]]:
    if name.startswith("name="):
        return [("none", None), ("name", name.removeprefix("name="))]
    return [(controller, None) for controller in name.split(",")]


def _fresh(p: Program, kind: str, options: list[tuple[str, str | None]], attributes: int) -> Register:
    fs = p.fsopen(kind)
    p.fsconfig_set_string(fs, "source", "cgroup")
    for key, value in options:
        if value is None:
            p.fsconfig_set_flag(fs, key)
        else:
            p.fsconfig_set_string(fs, key, value)
    p.fsconfig_create(fs)
    tree = p.fsmount(fs, attributes)
    p.close(fs)
    return tree


def _bound(p: Program, mount_point: str, path: str, attributes: int) -> Register:
    tree = p.clone_tree(AT_FDCWD, f"{mount_point}{path}")
    p.mount_setattr(tree, attr_set=attributes, propagation=MS_PRIVATE)
    return tree
