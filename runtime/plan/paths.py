"""The one place where a path of the image is resolved.

openat2 with RESOLVE_IN_ROOT walks the path as the container would see it, to a descriptor; whatever is done next is
done through that descriptor. No path is resolved again after it was checked: nearly all published holes of low-level
runtimes are a path that was resolved twice (CVE-2019-19921, CVE-2021-30465, CVE-2024-45310, CVE-2026-41579 ...).
"""

from __future__ import annotations

from errno import EEXIST, ENOENT

from pyrun.kernel.constants import (
    O_DIRECTORY,
    O_NOFOLLOW,
    O_PATH,
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    S_IFDIR,
    S_IFMT,
    S_IFREG,
    STATX_MODE,
)
from pyrun.machine.program import Label, Program, Register
from pyrun.spec.paths import clean

DIRECTORY = "directory"
FILE = "file"

_IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_ONE_STEP = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS


def open_in_root(
    p: Program,
    root: Register,
    path: str,
    *,
    flags: int = O_PATH,
    create: str | Register = "",
    follow: bool = True,
    missing: Label | None = None,
    existed: Register | None = None,
    note: str = "",
) -> Register:
    """A descriptor (O_PATH unless `flags` say otherwise) of `path` inside `root`.

    create   what to make when there is nothing: DIRECTORY, FILE, or whichever a register with an open file is
    follow   False: a symbolic link anywhere in the path is an error
    missing  where to go when there is nothing and nothing is to be made
    existed  a register that is set to 1 when nothing had to be made, else to 0
    """
    resolve = _IN_ROOT if follow else _IN_ROOT | RESOLVE_NO_SYMLINKS
    if not create:
        return p.openat2(root, path, flags, resolve, {ENOENT: missing} if missing else None, note=note)
    found = p.register()
    absent, done = p.label(), p.label()
    p.openat2(root, path, flags, resolve, {ENOENT: absent}, note=note)
    p.set_result(found)
    if existed:
        p.move(existed, 1)
    p.jump(done)
    p.place(absent)
    if existed:
        p.move(existed, 0)
    _make(p, root, clean(path), create, found, resolve)
    p.place(done)
    return found


def open_place(p: Program, folder: Register, name: str) -> Register:
    """A descriptor of `name` in `folder` to mount a file on; made empty when it isn't there. It is never opened for
    use: it could be a fifo, which would wait, or a device. A link is refused."""
    exists = p.label()
    p.call("mknodat", folder, name, S_IFREG | 0o600, 0, errors={EEXIST: exists})
    p.place(exists)
    return p.openat2(folder, name, O_PATH, _ONE_STEP)


def _make(p: Program, root: Register, path: str, kind: str | Register, into: Register, resolve: int) -> None:
    """Make `path` and every missing folder above it.

    Each prefix is opened from the root: opened from its parent, an absolute link in it would start at the parent.
    What is made is made by name in a parent that is held open, and opened again only in that parent, as what it is.
    """
    names = path[1:].split("/")
    parent = root
    for depth, name in enumerate(names[:-1], 1):
        parent = _make_directory(p, root, parent, name, "/" + "/".join(names[:depth]), resolve)
    _make_as(p, parent, names[-1], kind, into)
    if parent is not root:
        p.close(parent)


def _make_directory(p: Program, root: Register, parent: Register, name: str, prefix: str, resolve: int) -> Register:
    found = p.register()
    absent, done = p.label(), p.label()
    p.openat2(root, prefix, O_PATH | O_DIRECTORY, resolve, {ENOENT: absent})
    p.set_result(found)
    p.jump(done)
    p.place(absent)
    p.call("mkdirat", parent, name, 0o755, note=_DANGLING)
    p.openat2(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, _ONE_STEP)
    p.set_result(found)
    p.place(done)
    if parent is not root:
        p.close(parent)
    return found


def place_for(p: Program, folder: Register, name: str, tree: Register) -> Register:
    """A new mount point `name` in `folder` for the file or folder that `tree` is."""
    into = p.register()
    _make_as(p, folder, name, tree, into)
    return into


def _make_as(p: Program, parent: Register, name: str, kind: str | Register, into: Register) -> None:
    if isinstance(kind, str):
        _make_last(p, parent, name, kind, into)
        return
    as_file, made = p.label(), p.label()
    mode = p.load(p.statx(kind), STATX_MODE, 2)
    p.branch_unless(mode, S_IFDIR, as_file, mask=S_IFMT)
    p.free(mode)
    _make_last(p, parent, name, DIRECTORY, into)
    p.jump(made)
    p.place(as_file)
    _make_last(p, parent, name, FILE, into)
    p.place(made)


def _make_last(p: Program, parent: Register, name: str, kind: str, into: Register) -> None:
    if kind == DIRECTORY:
        p.call("mkdirat", parent, name, 0o755, note=_DANGLING)
        p.openat2(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, _ONE_STEP)
    else:
        p.call("mknodat", parent, name, S_IFREG | 0o644, 0, note=_DANGLING)
        p.openat2(parent, name, O_PATH | O_NOFOLLOW, _ONE_STEP)
    p.set_result(into)


_DANGLING = "EEXIST here means: the image has a symbolic link there that leads nowhere"
