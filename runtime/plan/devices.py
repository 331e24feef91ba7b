"""linux.devices, the default devices, and the links of /dev (config-linux.md "Devices", runtime-linux.md MUST 42)."""

from __future__ import annotations

from errno import EEXIST, ENOENT

from pyrun.kernel.constants import (
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    O_DIRECTORY,
    O_NOFOLLOW,
    O_PATH,
    S_IFIFO,
)
from pyrun.machine.program import Program, Register
from pyrun.plan import verify
from pyrun.plan.paths import DIRECTORY, open_in_root, open_place
from pyrun.spec.devices import DEFAULT_DEVICE_MODE, DEFAULT_DEVICES, DEV_LINKS, PTMX_LINK, TYPES
from pyrun.spec.mount_options import MS_PRIVATE
from pyrun.spec.paths import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import Config, Device


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
        self.source: Register | None = None

    def verify(self, p: Program, fd: Register) -> None:
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


def open_sources(p: Program, nodes: list[Node]) -> None:
    """In a user namespace mknod is refused: the host's own devices are bound instead, opened here with its rights."""
    for node in nodes:
        with p.source(node.pointer):
            if node.kind == S_IFIFO:
                continue
            node.source = p.clone_tree(AT_FDCWD, node.path)
            p.mount_setattr(node.source, propagation=MS_PRIVATE)
            node.verify(p, node.source)


def make(p: Program, nodes: list[Node], root: Register, mounted: set[str]) -> None:
    """Make devices and links, all through descriptors of their folders: a /dev that is a link in the image leads
    somewhere inside the root (CVE-2026-41579). `mounted`: where the config mounts something."""
    with p.source("/linux/devices"):
        dev = open_in_root(p, root, "/dev", flags=O_PATH | O_DIRECTORY, create=DIRECTORY)
    taken = set(mounted)
    for node in nodes:
        parent, _, name = node.path.rpartition("/")
        with p.source(node.pointer):
            if parent == "/dev":
                _make_one(p, node, dev, name, fresh="/dev" in mounted and node.path not in taken)
                taken.add(node.path)
            else:
                folder = open_in_root(p, root, parent or "/", flags=O_PATH | O_DIRECTORY, create=DIRECTORY)
                _make_one(p, node, folder, name, fresh=False)
                p.close(folder)
    with p.source("/linux/devices"):
        _links(p, root, dev)
    p.close(dev)


def _make_one(p: Program, node: Node, folder: Register, name: str, fresh: bool) -> None:
    if node.source:
        place = open_place(p, folder, name)
        p.move_mount(node.source, place)
        p.close(place)
        p.close(node.source)
        return
    exists, done = p.label(), p.label()
    # In a new tmpfs nothing can be there yet; should it be all the same, EEXIST is an error.
    errors = None if fresh else {EEXIST: exists}
    number = _makedev(*node.number) if node.number else 0
    p.call("mknodat", folder, name, node.kind | node.mode, number, errors=errors)
    if node.uid or node.gid:
        p.call("fchownat", folder, name, node.uid, node.gid, AT_SYMLINK_NOFOLLOW)
    if fresh:
        return
    p.jump(done)
    p.place(exists)
    # What is there already must be the same device (MUST 87), not something that the image put in its place.
    found = p.openat(folder, name, O_PATH | O_NOFOLLOW)
    node.verify(p, found)
    p.close(found)
    p.place(done)


def _makedev(major: int, minor: int) -> int:
    """The kernel's new_encode_dev: what mknodat takes."""
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)


def _links(p: Program, root: Register, dev: Register) -> None:
    without_proc = p.label()
    p.close(open_in_root(p, root, "/proc/self/fd", missing=without_proc))
    for name, target in DEV_LINKS:
        present = p.label()
        p.call("symlinkat", target, dev, name.removeprefix("/dev/"), errors={EEXIST: present})
        p.place(present)
    p.place(without_proc)
    # The container's ptmx is that of its own devpts, whatever the image has there.
    name, target = PTMX_LINK
    absent = p.label()
    p.call("unlinkat", dev, name.removeprefix("/dev/"), 0, errors={ENOENT: absent})
    p.place(absent)
    p.call("symlinkat", target, dev, name.removeprefix("/dev/"))
