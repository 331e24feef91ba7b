"""Whole files, read and written. The kernel's own (proc(5), sysfs, cgroups(7)) take a value in one write(2).

Functions raise OSError, with the path, where they say nothing else."""

from __future__ import annotations

import posix
from errno import EFBIG

from pyrun.errors import Error

# No document that anybody means is larger: configs of thousands of mounts are below 1 MiB.
DOCUMENT_MOST = 16 << 20
_S_IFMT, _S_IFREG = 0o170000, 0o100000


def read_all(fd: int) -> bytes:
    """What is left to be read of a descriptor."""
    parts = []
    while part := posix.read(fd, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def read_bounded(fd: int, what: str, most: int = DOCUMENT_MOST) -> bytes:
    """What is left to be read, if it isn't more than `most` bytes. Raises Error."""
    parts, left = [], most
    while part := posix.read(fd, 1 << 16):
        left -= len(part)
        if left < 0:
            raise Error(f"read {what}", errno=EFBIG, hint=f"at most {most >> 20} MiB are read")
        parts.append(part)
    return b"".join(parts)


def read_document(path: str) -> bytes:
    """A file that a caller names: a regular one, which neither makes wait nor never ends. Raises Error, and OSError
    when it can't be opened."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC)
    try:
        if posix.fstat(fd).st_mode & _S_IFMT != _S_IFREG:
            raise Error(f"read {path}", detail="it is not a regular file")
        return read_bounded(fd, path)
    finally:
        posix.close(fd)


def write_all(fd: int, content: bytes) -> None:
    """All of it, however many writes that takes: a full disk or a limit (RLIMIT_FSIZE) is an error, not a shorter
    file."""
    rest = memoryview(content)
    while rest:
        rest = rest[posix.write(fd, rest) :]


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


def unescaped(text: str) -> str:
    """A field of mountinfo, in which blanks, newlines and backslashes have numbers (proc_pid_mountinfo(5))."""
    return text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")


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


def close(fd: int) -> None:
    """close(2) of what nothing has been written to: whatever it says, the descriptor is gone."""
    try:
        posix.close(fd)
    except OSError:
        return


def exists(path: str) -> bool:
    """Whether there is something at `path`, as far as the caller may see."""
    try:
        posix.stat(path)
    except OSError:
        return False
    return True
