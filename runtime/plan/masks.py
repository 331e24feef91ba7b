"""linux.maskedPaths and linux.readonlyPaths (config-linux.md)."""

from __future__ import annotations

from errno import ENXIO

from pyrun.kernel.constants import (
    O_NOFOLLOW,
    O_PATH,
    S_IFCHR,
    S_IFDIR,
    S_IFMT,
    STATX_MODE,
)
from pyrun.machine.program import Program, Register
from pyrun.plan import verify
from pyrun.plan.paths import open_in_root
from pyrun.spec.mount_options import MOUNT_ATTR_RDONLY
from pyrun.spec.paths import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import Config

NULL = (1, 3)


def read_only(p: Program, root: Register, config: Config) -> None:
    """Each path becomes a mount of itself that can't be written; what isn't there needs no protection."""
    for i, path in enumerate(config.get("linux", {}).get("readonlyPaths", [])):
        with p.at(f"/linux/readonlyPaths/{i}"):
            p.do(_read_only, root, path)


def _read_only(p: Program, root: Register, path: Register) -> None:
    absent = p.label()
    point = open_in_root(p, root, path, missing=absent)
    with p.opened(point), p.opened(p.clone_tree(point, recursive=True)) as tree:
        p.mount_setattr(tree, attr_set=MOUNT_ATTR_RDONLY)
        p.move_mount(tree, point)
    p.place(absent)


def masked(p: Program, root: Register, config: Config, label: str = "") -> None:
    """A file is hidden by the null device, a directory by an empty read-only tmpfs, one for all of them.

    label: the SELinux label of what is mounted; "" for none."""
    paths = config.get("linux", {}).get("maskedPaths", [])
    if not paths:
        return
    with p.at("/linux/maskedPaths"):
        null = open_null(p, root)
        empty = _empty_directory(p, label)
        attached = p.register()
        p.move(attached, 0)
    # Once each: over what is masked already nothing can be seen that would have to be masked.
    first: dict[str, int] = {}
    for i, path in enumerate(paths):
        first.setdefault(clean(path), i)
    for path, i in first.items():
        with p.at(f"/linux/maskedPaths/{i}"):
            p.do(_mask, root, path, null, empty, constants=(attached,))
    p.close(null)
    p.close(empty)
    p.free(attached)


def _mask(p: Program, root: Register, path: Register, null: Register, empty: Register, attached: Register) -> None:
    absent, directory, again, done = p.label(), p.label(), p.label(), p.label()
    with p.opened(open_in_root(p, root, path, missing=absent)) as point:
        with p.held(p.load(p.statx(point), STATX_MODE, 2)) as mode:
            p.branch(mode, S_IFDIR, directory, mask=S_IFMT)
        _cover(p, null, point)
        p.jump(done)
        # The first directory gets the tmpfs itself, the others copies of it: before Linux 6.15 a mount that is not
        # attached anywhere can't be copied.
        p.place(directory)
        p.branch(attached, 1, again)
        p.move_mount(empty, point)
        p.move(attached, 1)
        p.jump(done)
        p.place(again)
        _cover(p, empty, point)
        p.place(done)
    p.place(absent)


def _cover(p: Program, mount: Register, point: Register) -> None:
    with p.opened(p.clone_tree(mount)) as tree:
        p.move_mount(tree, point)


def open_null(p: Program, root: Register) -> Register:
    """The container's /dev/null, known to be the null device: anything else in its place would lend its content to
    whatever is hidden by it (CVE-2025-31133)."""
    null = open_in_root(p, root, "/dev/null", flags=O_PATH | O_NOFOLLOW)
    verify.is_node(p, null, S_IFCHR, NULL, ENXIO, "/dev/null in the container is not the null device")
    return null


def _empty_directory(p: Program, label: str) -> Register:
    options = {"mode": "755", "nr_blocks": "1", "nr_inodes": "1"}
    if label:
        options["context"] = label
    return p.file_system("tmpfs", "tmpfs", options, MOUNT_ATTR_RDONLY)
