"""An open file is what it is taken for: checked on the descriptor through which it is then used."""

from __future__ import annotations

from pyrun.runtime.linux import S_IFMT, STATX_MODE, STATX_RDEV_MAJOR, STATX_RDEV_MINOR
from pyrun.runtime.program import Program, Register

_ALL = 0xFFFFFFFF


def on_file_system(p: Program, fd: Register, magic: int, error: int, note: str) -> None:
    """Fail with `error` unless the file is on a file system of this `magic` (statfs(2))."""
    right = p.label()
    found = p.load(p.fstatfs(fd), 0, 8)
    p.branch(found, magic, right)
    p.fail(error, note)
    p.place(right)
    p.free(found)


def not_on_file_system(p: Program, fd: Register, magic: int, error: int, note: str) -> None:
    """Fail with `error` if it is."""
    right = p.label()
    found = p.load(p.fstatfs(fd), 0, 8)
    p.branch_unless(found, magic, right)
    p.fail(error, note)
    p.place(right)
    p.free(found)


def is_node(p: Program, fd: Register, kind: int, number: tuple[int, int] | None, error: int, note: str) -> None:
    """Fail with `error` unless the file is of this `kind` (S_IF…) and, for a device, has this (major, minor)."""
    wrong, right = p.label(), p.label()
    stat = p.statx(fd)
    fields = [(STATX_MODE, 2, kind, S_IFMT)]
    if number is not None:
        fields += [(STATX_RDEV_MAJOR, 4, number[0], _ALL), (STATX_RDEV_MINOR, 4, number[1], _ALL)]
    for offset, width, value, mask in fields:
        field = p.load(stat, offset, width)
        p.branch_unless(field, value, wrong, mask=mask)
        p.free(field)
    p.jump(right)
    p.place(wrong)
    p.fail(error, note)
    p.place(right)
