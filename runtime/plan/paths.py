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
    path: str | Register,
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
    follow   False: a symlink anywhere in the path is an error
    missing  where to go when there is nothing and nothing is to be made
    existed  a register that is set to 1 when nothing had to be made, else to 0
    """
    resolve = _IN_ROOT if follow else _IN_ROOT | RESOLVE_NO_SYMLINKS
    if not create or isinstance(path, Register):
        assert not create  # what is made is made by name
        return p.openat2(root, path, flags, resolve, {ENOENT: missing} if missing else None, note=note)
    found = p.register()
    absent, done = p.label(), p.label()
    p.openat2(root, path, flags, resolve, {ENOENT: absent}, note=note, into=found)
    if existed:
        p.move(existed, 1)
    p.jump(done)
    p.place(absent)
    if existed:
        p.move(existed, 0)
    _make(p, root, clean(path), create, found, resolve)
    p.place(done)
    return found


def open_place(p: Program, directory: Register, name: str | Register) -> Register:
    """A descriptor of `name` in `directory` to mount a file on; made empty when it isn't there. It is never opened for
    use: it could be a fifo, which would wait, or a device. A symlink is refused."""
    p.call("mknodat", directory, name, S_IFREG | 0o600, 0, ignore=(EEXIST,))
    return p.openat2(directory, name, O_PATH, _ONE_STEP)


def place_for(p: Program, directory: Register, name: str | Register, tree: Register) -> Register:
    """A new mount point `name` in `directory` for the file or directory that `tree` is."""
    return p.do(_new_like, directory, name, tree)


def _make(p: Program, root: Register, path: str, kind: str | Register, into: Register, resolve: int) -> None:
    """Make `path` and every missing directory above it.

    Each prefix is opened from the root: opened from its parent, an absolute symlink in it would start at the parent.
    What is made is made by name in a parent that is held open, and opened again only in that parent, as what it is.
    """
    names = path[1:].split("/")
    parent = root
    for depth, name in enumerate(names[:-1], 1):
        above, prefix = parent, "/" + "/".join(names[:depth])
        parent = p.do(_directory, root, above, name, prefix, constants=(resolve,))
        if above is not root:
            p.close(above)
    if isinstance(kind, str):
        p.do(_new_directory if kind == DIRECTORY else _new_file, parent, names[-1], into=into)
    else:
        p.do(_new_like, parent, names[-1], kind, into=into)
    if parent is not root:
        p.close(parent)


def _directory(
    p: Program, root: Register, parent: Register, name: Register, prefix: Register, resolve: int
) -> Register:
    """The directory `prefix` of the root, made by its name in its parent where there is none."""
    found = p.register()
    absent, done = p.label(), p.label()
    p.openat2(root, prefix, O_PATH | O_DIRECTORY, resolve, {ENOENT: absent}, into=found)
    p.jump(done)
    p.place(absent)
    with p.held(_new_directory(p, parent, name)) as new:
        p.move(found, new)
    p.place(done)
    return found


def _new_directory(p: Program, parent: Register, name: Register) -> Register:
    p.call("mkdirat", parent, name, 0o755, note=_DANGLING)
    return p.openat2(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, _ONE_STEP)


def _new_file(p: Program, parent: Register, name: Register) -> Register:
    p.call("mknodat", parent, name, S_IFREG | 0o644, 0, note=_DANGLING)
    return p.openat2(parent, name, O_PATH | O_NOFOLLOW, _ONE_STEP)


def _new_like(p: Program, parent: Register, name: Register, tree: Register) -> Register:
    """A mount point for the file or directory that is open."""
    made = p.register()
    as_file, done = p.label(), p.label()
    with p.held(p.load(p.statx(tree), STATX_MODE, 2)) as mode:
        p.branch_unless(mode, S_IFDIR, as_file, mask=S_IFMT)
    with p.held(_new_directory(p, parent, name)) as new:
        p.move(made, new)
    p.jump(done)
    p.place(as_file)
    with p.held(_new_file(p, parent, name)) as new:
        p.move(made, new)
    p.place(done)
    return made


_DANGLING = "EEXIST here means: the image has a symlink there that leads nowhere"
