"""A directory of ours that holds a few files, which may go at any time: the newest stay."""

from __future__ import annotations

import posix

from pyrun.kernel.files import write_all
from pyrun.kernel.process import is_there


def keep(directory: int, name: str, content: bytes, most: int) -> None:
    """Put a file into it, whole or not at all, and leave no more than so many there: the oldest go, and what a writer
    that was killed has left. `name` has no dot. Raises OSError."""
    temporary = f"{name}.{posix.getpid()}"
    _sweep(directory, most - 1)
    fd = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        write_all(fd, content)
        posix.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        posix.unlink(temporary, dir_fd=directory)
        raise
    finally:
        posix.close(fd)


def newest_first(directory: int) -> list[str]:
    """The names of its files. Raises OSError."""
    return [name for _, name in sorted(_files(directory), reverse=True)]


def _sweep(directory: int, most: int) -> None:
    for _, name in sorted(_files(directory), reverse=True)[most:]:
        try:
            posix.unlink(name, dir_fd=directory)
        except FileNotFoundError:  # another one sweeps, too
            continue


def _files(directory: int) -> list[tuple[int, str]]:
    """(when it was written, name) of each; what a dead writer has left is removed."""
    found = []
    for name in posix.listdir(f"/proc/self/fd/{directory}"):  # opened with O_PATH
        try:
            writer = name.partition(".")[2]
            if not writer:
                found.append((posix.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime_ns, name))
            elif not (writer.isdigit() and is_there(int(writer))):
                posix.unlink(name, dir_fd=directory)
        except FileNotFoundError:  # another one sweeps, too
            continue
    return found
