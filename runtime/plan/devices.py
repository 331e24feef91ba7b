"""linux.devices, default devices, and the symlinks of /dev (config-linux.md "Devices", runtime-linux.md MUST 42)."""

from __future__ import annotations

from errno import EEXIST, ENOENT

from pyrun.kernel.constants import (
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    O_DIRECTORY,
    O_NOFOLLOW,
    O_PATH,
    OPEN_TREE_CLONE,
    S_IFIFO,
)
from pyrun.machine.program import Buffer, Program, Register
from pyrun.plan import verify
from pyrun.plan.paths import DIRECTORY, open_in_root, open_place
from pyrun.spec.devices import DEFAULT_DEVICE_MODE, DEFAULT_DEVICES, DEV_LINKS, PTMX_LINK, TYPES
from pyrun.spec.mount_options import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MS_PRIVATE
from pyrun.spec.paths import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import Config, Device, IDMapping


class Node:
    """One device to make: a row of the config, or a default one."""

    __slots__ = ("gid", "kind", "mode", "number", "path", "pointer", "source", "uid")

    def __init__(self, device: Device, pointer: str) -> None:
        self.path = clean(device["path"])
        self.kind = TYPES[device["type"]]
        self.number = None if self.kind == S_IFIFO else (device.get("major", 0), device.get("minor", 0))
        self.mode = device.get("fileMode", DEFAULT_DEVICE_MODE) & 0o7777
        self.uid = device.get("uid", 0)
        self.gid = device.get("gid", 0)
        self.pointer = pointer
        self.source: Buffer | None = None

    def verify(self, p: Program, fd: Register) -> None:
        """Fail unless `fd` is this device."""
        verify.is_node(p, fd, self.kind, self.number, EEXIST, f"{self.path} is there already and is another file")


def nodes(config: Config) -> list[Node]:
    """The config's devices and the default ones, in that order; a config may give a default device its own shape."""
    listed = [Node(d, f"/linux/devices/{i}") for i, d in enumerate(config.get("linux", {}).get("devices", []))]
    named = {node.path for node in listed}
    defaults: list[Device] = [
        {"path": path, "type": kind, "major": major, "minor": minor, "fileMode": DEFAULT_DEVICE_MODE}
        for path, kind, major, minor in DEFAULT_DEVICES
        if path not in named
    ]
    return listed + [Node(d, "/linux/devices") for d in defaults]


_MADE = ".device-"  # as the store knows them (container/store.py)
PLACE = "place"  # in the layout: the container's directory in the store


def wants_place(config: Config) -> bool:
    """A device of the config may have to be made on the host."""
    linux = config.get("linux", {})
    return bool(linux.get("devices")) and any(row["type"] == "user" for row in linux.get("namespaces", []))


def open_sources(p: Program, nodes: list[Node], place: int = -1, config: Config | None = None) -> None:
    """In a user namespace mknod is refused: the host's own devices are bound instead, opened here with its rights. One
    of the config's that the host has not is made in the directory `place` of the host's (-1: it is an error), as what
    the config says it is."""
    for node in nodes:
        with p.at(node.pointer):
            if node.kind == S_IFIFO:
                continue
            if place < 0 or node.pointer == "/linux/devices":
                tree = p.clone_tree(AT_FDCWD, node.path)
            else:
                tree = _open_or_make(p, node, place, config or {})
            p.mount_setattr(tree, attr_set=MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, propagation=MS_PRIVATE)
            node.verify(p, tree)
            node.source = p.keep(tree)


def _open_or_make(p: Program, node: Node, place: int, config: Config) -> Register:
    # A mount can be attached only while what it shows has a name: the runtime takes that away.
    name = f"{_MADE}{node.pointer.rpartition('/')[2]}"
    tree = p.register()
    absent, opened = p.label(), p.label()
    p.open_tree(AT_FDCWD, node.path, OPEN_TREE_CLONE, tree, {ENOENT: absent})
    p.jump(opened)
    p.place(absent)
    number = _makedev(*node.number) if node.number else 0
    p.call("mknodat", place, name, node.kind | node.mode, number)
    linux = config.get("linux", {})
    owner = outside(linux.get("uidMappings", []), node.uid), outside(linux.get("gidMappings", []), node.gid)
    p.call("fchownat", place, name, *owner, AT_SYMLINK_NOFOLLOW)
    with p.held(p.clone_tree(place, name)) as made:
        p.move(tree, made)
    # Whatever the store lies on.
    p.mount_setattr(tree, attr_clr=MOUNT_ATTR_NODEV)
    p.place(opened)
    return tree


def outside(mappings: list[IDMapping], number: int) -> int:
    """The id of the host's that `number` is in the container; 0 without a mapping, as of a namespace that is joined."""
    for row in mappings:
        if 0 <= number - row["containerID"] < row["size"]:
            return row["hostID"] + number - row["containerID"]
    return 0


def make(p: Program, nodes: list[Node], root: Register, mounted: set[str]) -> None:
    """Make devices and symlinks, all through descriptors of their directories: a /dev that is a symlink in the image
    leads somewhere inside the root (CVE-2026-41579). `mounted`: where the config mounts something."""
    with p.at("/linux/devices"):
        dev = open_in_root(p, root, "/dev", flags=O_PATH | O_DIRECTORY, create=DIRECTORY)
    taken = set(mounted)
    for node in nodes:
        parent, _, name = node.path.rpartition("/")
        with p.at(node.pointer):
            if parent == "/dev":
                _make_one(p, node, dev, name, fresh="/dev" in mounted and node.path not in taken)
                taken.add(node.path)
            else:
                where = open_in_root(p, root, parent or "/", flags=O_PATH | O_DIRECTORY, create=DIRECTORY)
                with p.opened(where) as directory:
                    _make_one(p, node, directory, name, fresh=False)
    with p.at("/linux/devices"):
        _symlinks(p, root, dev)
    p.close(dev)


def _make_one(p: Program, node: Node, directory: Register, name: str, fresh: bool) -> None:
    if node.source:
        with p.held(p.fetch(node.source)) as tree:
            p.do(_bind, directory, name, tree)
        return
    done = p.label()
    number = _makedev(*node.number) if node.number else 0
    # In a new tmpfs nothing can be there yet; should it be all the same, EEXIST is an error.
    exists = p.label()
    errors = None if fresh else {EEXIST: exists}
    p.call("mknodat", directory, name, node.kind | node.mode, number, errors=errors)
    if node.uid or node.gid:
        p.call("fchownat", directory, name, node.uid, node.gid, AT_SYMLINK_NOFOLLOW)
    if fresh:
        return
    p.jump(done)
    p.place(exists)
    # What is there already must be the same device (MUST 87), not something that the image put in its place.
    with p.opened(p.openat(directory, name, O_PATH | O_NOFOLLOW)) as found:
        node.verify(p, found)
    p.place(done)


def _bind(p: Program, directory: Register, name: Register, tree: Register) -> None:
    with p.opened(open_place(p, directory, name)) as place:
        p.move_mount(tree, place)
    p.call("close", tree)


def _makedev(major: int, minor: int) -> int:
    """The kernel's new_encode_dev: what mknodat takes."""
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)


def _symlinks(p: Program, root: Register, dev: Register) -> None:
    without_proc = p.label()
    p.close(open_in_root(p, root, "/proc/self/fd", missing=without_proc))
    for name, target in DEV_LINKS:
        p.call("symlinkat", target, dev, name.removeprefix("/dev/"), ignore=(EEXIST,))
    p.place(without_proc)
    # The container's ptmx is that of its own devpts, whatever the image has there.
    name, target = PTMX_LINK
    p.call("unlinkat", dev, name.removeprefix("/dev/"), 0, ignore=(ENOENT,))
    p.call("symlinkat", target, dev, name.removeprefix("/dev/"))
