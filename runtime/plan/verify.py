"""An open file is what it is taken for: checked on the descriptor through which it is then used."""

from __future__ import annotations

from errno import EPERM

from pyrun.kernel.constants import PROC_SUPER_MAGIC, S_IFMT, STATX_DEV, STATX_INO, STATX_MNT_ID, STATX_MODE, STATX_RDEV
from pyrun.machine.program import Program, Register


def rdev(major: int, minor: int) -> int:
    """Both numbers as they lie in struct statx, to be compared at once."""
    return major | minor << 32


def on_file_system(p: Program, fd: Register, magic: int, error: int, note: str) -> None:
    """Fail with `error` unless the file is on a file system of this `magic` (statfs(2))."""
    with p.held(p.load(p.fstatfs(fd), 0, 8)) as found, p.unless(found, magic):
        p.fail(error, note)


def not_on_file_system(p: Program, fd: Register, magic: int, error: int, note: str) -> None:
    """Fail with `error` if it is."""
    with p.held(p.load(p.fstatfs(fd), 0, 8)) as found, p.when(found, magic):
        p.fail(error, note)


def is_node(p: Program, fd: Register, kind: int, number: tuple[int, int] | None, error: int, note: str) -> None:
    """Fail with `error` unless the file is of this `kind` (S_IF…) and, for a device, has this (major, minor)."""
    wrong, right = p.label(), p.label()
    stat = p.statx(fd)
    with p.held(p.load(stat, STATX_MODE, 2)) as mode:
        if number is None:
            p.branch(mode, kind, right, mask=S_IFMT)
        else:
            p.branch_unless(mode, kind, wrong, mask=S_IFMT)
            with p.held(p.load(stat, STATX_RDEV, 8)) as device:
                p.branch(device, rdev(*number), right)
    p.place(wrong)
    p.fail(error, note)
    p.place(right)


def mount_point(p: Program, fd: Register, root: Register) -> None:
    """Fail unless something may be mounted there, wherever an image's symlinks lead: not over the container's root, and
    not in a procfs (CVE-2019-16884)."""
    p.do(_mount_point, fd, root)


def _mount_point(p: Program, fd: Register, root: Register) -> None:
    is_not_root(p, fd, root)
    not_on_file_system(p, fd, PROC_SUPER_MAGIC, EPERM, "nothing may be mounted inside /proc")


def is_not_root(p: Program, fd: Register, root: Register) -> None:
    """Fail if the file is the container's root itself: symlinks of an image may lead there."""
    differs(p, fd, root, EPERM, "nothing can be mounted over the container's root")


def is_same(p: Program, fd: Register, other: Register, error: int, note: str) -> None:
    """Fail with `error` unless both are the same file, on whatever mounts."""
    stat = p.statx(other)
    theirs = p.load(stat, STATX_INO, 8), p.load(stat, STATX_DEV, 8)
    stat = p.statx(fd)
    own = p.load(stat, STATX_INO, 8), p.load(stat, STATX_DEV, 8)
    wrong, right = p.label(), p.label()
    for one, another in zip(own, theirs, strict=True):
        p.branch_unless(one, another, wrong)
    p.jump(right)
    p.place(wrong)
    p.fail(error, note)
    p.place(right)
    for register in (*own, *theirs):
        p.free(register)


def differs(p: Program, fd: Register, root: Register, error: int, note: str) -> None:
    """Fail with `error` if both are the same directory of the same mount."""
    different = p.label()
    stat = p.statx(root)
    theirs = p.load(stat, STATX_INO, 8), p.load(stat, STATX_MNT_ID, 8)
    stat = p.statx(fd)
    own = p.load(stat, STATX_INO, 8), p.load(stat, STATX_MNT_ID, 8)
    for one, other in zip(own, theirs, strict=True):
        p.branch_unless(one, other, different)
    p.fail(error, note)
    p.place(different)
    for register in (*own, *theirs):
        p.free(register)
