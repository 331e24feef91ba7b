"""Whole files, read and written. The kernel's own (proc(5), sysfs, cgroups(7)) take a value in one write(2).

Functions raise OSError, with the path."""

from __future__ import annotations

import posix


def read_all(fd: int) -> bytes:
    """What is left to be read of a descriptor."""
    parts = []
    while part := posix.read(fd, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def read_bytes(path: str) -> bytes:
    """The content of a file."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return read_all(fd)
    except OSError as error:
        error.filename = path
        raise
    finally:
        posix.close(fd)


def read(path: str) -> str:
    """The text of a file; what is not UTF-8 comes as surrogates."""
    return read_bytes(path).decode("utf-8", "surrogateescape")


def write(path: str, value: str | bytes) -> None:
    """One write(2) into a file that is there: the kernel takes it as a command."""
    fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
    try:
        posix.write(fd, value.encode() if isinstance(value, str) else value)
    except OSError as error:
        error.filename = path
        raise
    finally:
        posix.close(fd)


def number(path: str, key: str = "") -> int | None:
    """The number in a file ("max": None), or that after the key in a file of "key number" lines."""
    text = read(path)
    if key:
        for line in text.splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
        return None
    text = text.strip()
    return int(text) if text.isdigit() else None


def exists(path: str) -> bool:
    """Whether there is something at `path`, as far as the caller may see."""
    try:
        posix.stat(path)
    except OSError:
        return False
    return True
