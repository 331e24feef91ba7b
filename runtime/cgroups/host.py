"""Which cgroup hierarchies this host has, and where the caller is in each."""

from __future__ import annotations

from pyrun.kernel.files import read, unescaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Mode = Literal["v1", "v2", "none"]

TOP = "/sys/fs/cgroup"


class Hierarchy:
    """One mounted cgroup tree.

    controllers: ("cpu", "cpuacct") where two share a tree, ("name=systemd",) for a named one, () for cgroup2;
    mountpoint: where it is seen; root: the cgroup shown there (not `/` inside a container without a cgroup namespace);
    own: the caller's cgroup, in the same terms as root.
    """

    __slots__ = ("controllers", "mountpoint", "own", "root")

    def __init__(self, controllers: tuple[str, ...], mountpoint: str, root: str, own: str) -> None:
        self.controllers = controllers
        self.mountpoint = mountpoint
        self.root = root
        self.own = own

    @property
    def own_below_mount(self) -> str:
        """The caller's cgroup as a path below the mount point: "" or "/a/b".

        "" also when it can't be seen through this mount (`/..` of a cgroup namespace, a foreign bind mount).
        """
        own, root = self.own, self.root
        if root != "/":
            if own != root and not own.startswith(root + "/"):
                return ""
            own = own[len(root) :]
        return "" if own == "/" or own.startswith("/..") else own


class Hierarchies:
    """All trees that a container is placed in. mode "v2": exactly one; "v1": all of them, the unified one of a hybrid
    host too; "none": no tree."""

    __slots__ = ("mode", "trees")

    def __init__(self, mode: Mode, trees: list[Hierarchy]) -> None:
        self.mode: Mode = mode
        self.trees = trees


def detect(mountinfo: str, own: str) -> Hierarchies:
    """Hierarchies from the texts of /proc/self/mountinfo and /proc/self/cgroup (proc(5), cgroups(7))."""
    owns: dict[tuple[str, ...], str] = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        owns[tuple(controllers.split(",")) if controllers else ()] = path.removesuffix(" (deleted)")

    mounts: list[tuple[str, str, str, list[str]]] = []  # mount point, root, type, super block options
    for line in mountinfo.splitlines():
        if "cgroup" not in line:
            continue
        fields, _, tail = line.partition(" - ")
        root, mountpoint = fields.split(" ", 5)[3:5]
        fstype, _, options = tail.split(" ", 2)
        if "\\" in line:
            root, mountpoint = unescaped(root), unescaped(mountpoint)
        if mountpoint == TOP:  # hides whatever was mounted there or below before
            mounts = [mount for mount in mounts if mount[0] != TOP and not mount[0].startswith(TOP + "/")]
        if fstype == "cgroup2" or fstype == "cgroup":
            mounts.append((mountpoint, root, fstype, options.split(",")))

    for mountpoint, root, fstype, _ in mounts:
        if mountpoint == TOP and fstype == "cgroup2":
            return Hierarchies("v2", [Hierarchy((), TOP, root, owns.get((), "/"))])

    mounts.sort(key=lambda mount: not mount[0].startswith(TOP + "/"))  # copies in containers' roots come last
    trees = []
    for names, path in owns.items():
        for mountpoint, root, fstype, words in mounts:
            if (fstype == "cgroup2") if not names else (fstype == "cgroup" and all(name in words for name in names)):
                trees.append(Hierarchy(names, mountpoint, root, path))
                break
    return Hierarchies("v1" if trees else "none", trees)


def host() -> Hierarchies:
    """The hierarchies of the calling process. Raises OSError when /proc can't be read."""
    return detect(read("/proc/self/mountinfo"), read("/proc/self/cgroup"))
