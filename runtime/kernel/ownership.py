"""Who owns what is believed: the store (--root), the cache, and the runtime directory that both may lie in.

Whoever can write a directory decides what is found in it, and whoever can write one above it decides which directory
that is. So a path is walked one component at a time, by descriptors, from the root of the file system:

    a directory above    the caller's or root's; written by nobody else, unless it is sticky, as /tmp is
    a symlink above      followed when it is root's and lies in a directory of root's that nobody else writes: /var/run
    the last directory   the caller's own, written by nobody else; no symlink
    a file in it         the caller's own, regular, written by nobody else; no symlink

In a user namespace the root outside has no number: what is root's shows the overflow uid, as does what is anybody's who
has no number there. That uid counts as root's for what lies above, but not in a sticky directory, where anybody may
have made it.
"""

from __future__ import annotations

import posix
from errno import EEXIST, ELOOP, ENOENT, ENOTDIR, ENXIO

from pyrun.errors import Error
from pyrun.kernel.files import close

_S_IFMT, _S_IFDIR, _S_IFREG, _S_IFLNK, _STICKY = 0o170000, 0o040000, 0o100000, 0o120000, 0o1000
_OTHERS_WRITE = 0o022
_LOOK = posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC
_READ = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
_MOST_LINKS = 40  # as in the kernel

_outside: list[int] = []  # the uid that the root outside shows, -1 where there is no outside; read when first asked for


def open_owned(path: str, *, make: bool = False) -> int:
    """The directory `path`, which is absolute, opened with O_PATH; with `make`, what is missing of it is made, 0700.

    Raises Error for one that can't be believed, OSError for one that can't be opened."""
    me = posix.geteuid()
    names = _names(path)
    fd, links = -1, 0
    # Of the directory that has been reached: others can write it, and it is root's.
    shared, roots = False, True
    try:
        while names:
            name = names.pop()
            below = _open(name, fd, make)
            try:
                about = posix.fstat(below)
                mode, owner = about.st_mode, about.st_uid
                of_root = owner == 0 or (owner != me and not shared and _is_root_outside(owner))
                if owner != me and not (of_root and names):
                    raise _refusal(path, below, f"belongs to uid {owner}", _whose(me, last=not names))
                if mode & _S_IFMT == _S_IFLNK:
                    if not names or shared or not (roots and of_root):
                        raise _refusal(path, below, "is a symlink", "name the directory itself")
                    links += 1
                    if links > _MOST_LINKS:
                        raise OSError(ELOOP, posix.strerror(ELOOP), path)
                    names += _names(posix.readlink("", dir_fd=below))
                    continue
                if mode & _S_IFMT != _S_IFDIR:
                    raise OSError(ENOTDIR, posix.strerror(ENOTDIR), path)
                if mode & _OTHERS_WRITE and not (names and mode & _STICKY):
                    raise _refusal(path, below, _writable(mode), _whose(me, last=not names))
                shared, roots = mode & _OTHERS_WRITE != 0, of_root
                fd, below = below, fd
            finally:
                if below >= 0:
                    close(below)
    except BaseException:
        if fd >= 0:
            close(fd)
        raise
    return fd


def open_directory(name: str, parent: int, path: str) -> int:
    """The directory `name` in one that open_owned has opened. `path`: all of it, for messages."""
    fd = posix.open(name, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=parent)
    return _checked(fd, path, _S_IFDIR)


def open_file(name: str, parent: int, path: str) -> int:
    """The same of a regular file, for reading."""
    try:
        fd = posix.open(name, _READ, dir_fd=parent)
    except OSError as e:
        if e.errno == ENOENT:
            raise
        words = {ELOOP: "it is a symlink", ENXIO: "it is no regular file"}.get(e.errno or 0, "")
        raise Error(f"read {path}/{name}", errno=0 if words else e.errno, detail=words) from None
    return _checked(fd, f"{path}/{name}", _S_IFREG)


def _checked(fd: int, path: str, kind: int) -> int:
    me, about = posix.geteuid(), posix.fstat(fd)
    words = ""
    if about.st_mode & _S_IFMT != kind:
        words = "is no regular file"
    elif about.st_uid != me:
        words = f"belongs to uid {about.st_uid}"
    elif about.st_mode & _OTHERS_WRITE:
        words = _writable(about.st_mode)
    if words:
        refusal = _refusal(path, fd, words, _whose(me, last=True))
        close(fd)
        raise refusal
    return fd


def _names(path: str) -> list[str]:
    """The components in reverse; the last is "/" when the path is absolute."""
    names = [name for name in path.split("/")[::-1] if name and name != "."]
    return [*names, "/"] if path.startswith("/") else names


def _open(name: str, parent: int, make: bool) -> int:
    try:
        return posix.open(name, _LOOK, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    try:
        posix.mkdir(name, 0o700, dir_fd=parent)
    except OSError as e:
        if e.errno != EEXIST:
            raise
    return posix.open(name, _LOOK, dir_fd=parent)


def _is_root_outside(owner: int) -> bool:
    if not _outside:
        from pyrun.kernel.files import read_bytes  # lazy: hardly ever
        from pyrun.kernel.privilege import nested  # lazy: hardly ever

        _outside.append(int(read_bytes("/proc/sys/kernel/overflowuid")) if nested() else -1)
    return owner == _outside[0]


def _writable(mode: int) -> str:
    return f"can be written by others (mode {mode & 0o7777:04o})"


def _whose(me: int, last: bool) -> str:
    whose = f"uid {me}'s" if last or me == 0 else f"uid {me}'s or root's"
    return f"it must be {whose}, and nobody else's to write"


def _refusal(path: str, fd: int, words: str, hint: str) -> Error:
    """By the kernel's own name for what `fd` is: the path may have led there by symlinks."""
    try:
        culprit = posix.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        culprit = path
    return Error(f"use {path}", detail=f"{culprit} {words}", hint=hint)
