"""Whole files, read and written. The kernel's own (proc(5), sysfs) take a value in one write(2)."""

from __future__ import annotations

import posix


def read_all(fd: int) -> bytes:
    """All that is left to read."""
    parts = []
    while part := posix.read(fd, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def read_path(path: str) -> bytes:
    """The content of the file. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return read_all(fd)
    finally:
        posix.close(fd)


def write_path(path: str, value: str) -> None:
    """Write `value` to a file of the kernel's. Raises OSError."""
    fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
    try:
        posix.write(fd, value.encode())
    finally:
        posix.close(fd)
