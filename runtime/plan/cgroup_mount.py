"""A mount of type cgroup: the container's view of its cgroups (config-linux.md "Default Filesystems", cgroups(7)).

With a cgroup namespace the kernel shows the right part by itself; without one the container's own cgroup is bound.
On v1 there is a directory a hierarchy in a small tmpfs, and a symlink for each controller that shares its hierarchy.
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
    from pyrun.plan.mounts import MountEntry
    from pyrun.plan.namespaces import Namespaces


def make(p: Program, entry: MountEntry, root: Register, namespaces: Namespaces, facts: Facts) -> None:
    """Mount the view, at the entry's place. Raises Error when there is no cgroup to show."""
    attributes = entry.options.attr_set
    # Mounting cgroup2 from the host's cgroup namespace would take nsdelegate and memory_recursiveprot from the host's
    # own mount, so it is done only in a new namespace.
    fresh = bool(namespaces.new & CLONE_NEWCGROUP)
    if facts.cgroup_v2:
        if fresh:
            tree = p.file_system("cgroup2", "cgroup", {}, attributes)
        elif facts.cgroups:
            _, mount_point, path = facts.cgroups[0]
            tree = _bound(p, f"{mount_point}{path}", attributes)
        else:
            what, detail = f"mount {entry.destination}", "the container has no cgroup that could be shown"
            raise Error(what, pointer=entry.pointer, detail=detail, hint="is /sys/fs/cgroup mounted?")
        with p.opened(tree), p.opened(entry.target(p, root)) as point:
            p.move_mount(tree, point)
        return
    options: dict[str, str | None] = {"mode": "755"}
    if facts.mount_label:
        options["context"] = facts.mount_label
    with p.opened(p.file_system("tmpfs", "tmpfs", options, attributes & ~MOUNT_ATTR_RDONLY)) as directory:
        with p.opened(entry.target(p, root)) as point:
            p.move_mount(directory, point)
        for controllers, mount_point, path in facts.cgroups:
            # name=systemd is mounted at .../systemd.
            name = controllers.removeprefix("name=")
            if fresh:
                with p.opened(p.file_system("cgroup", "cgroup", _v1_options(controllers), attributes)) as tree:
                    _attach(p, tree, directory, name)
            else:
                p.do(_bind, f"{mount_point}{path}", directory, name, constants=(attributes,))
            names = name.split(",")
            for controller in names if len(names) > 1 else ():
                p.call("symlinkat", name, directory, controller, ignore=(EEXIST,))
        if attributes & MOUNT_ATTR_RDONLY:
            p.mount_setattr(directory, attr_set=MOUNT_ATTR_RDONLY)


def _v1_options(name: str) -> dict[str, str | None]:
    if name.startswith("name="):
        return {"none": None, "name": name.removeprefix("name=")}
    return dict.fromkeys(name.split(","))


def _bind(p: Program, path: Register, directory: Register, name: Register, attributes: int) -> None:
    with p.opened(_bound(p, path, attributes)) as tree:
        _attach(p, tree, directory, name)


def _bound(p: Program, path: str | Register, attributes: int) -> Register:
    tree = p.clone_tree(AT_FDCWD, path)
    p.mount_setattr(tree, attr_set=attributes, propagation=MS_PRIVATE)
    return tree


def _attach(p: Program, tree: Register, directory: Register, name: str | Register) -> None:
    """At `name` in the tmpfs that is the `directory`, where nobody else has been yet."""
    p.call("mkdirat", directory, name, 0o755)
    with p.opened(p.openat2(directory, name, O_PATH, 0)) as place:
        p.move_mount(tree, place)
