"""tmpcopyup: a new tmpfs begins with what the image has in its place (config.md "Linux mount options").

A child of the runtime copies, in the container's memory cgroup: what fills the tmpfs counts as the container's. It is
given two descriptors by init, and goes by them alone: each name is opened once, without following, and what it turned
out to be is copied through that descriptor.
"""

from __future__ import annotations

import posix
from errno import EINVAL, ELOOP, EOVERFLOW, EPERM

from pyrun.errors import Error
from pyrun.kernel.constants import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG
from pyrun.kernel.files import write
from pyrun.kernel.process import await_child
from pyrun.kernel.signals import SIGKILL, in_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.caller import Caller
    from pyrun.cgroups.cgroup import Cgroup

_FOUND = posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC
_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC
_NEW = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
_CHUNK = 1 << 16
# As many as are open at once: each level needs a few descriptors.
_DEEPEST = 200


def copy_up(source: int, target: int, cgroup: Cgroup, owner: tuple[int, int], pointer: str, caller: Caller) -> None:
    """Copy the directory `source` into the empty one `target`, two descriptors, which are closed.

    owner: the container's root, as ids of the host: only it can make files in a tmpfs of its user namespace. Raises
    Error, with `pointer`."""
    read, said = posix.pipe2(posix.O_CLOEXEC)
    try:
        pid = posix.fork()
        if not pid:
            _child(source, target, cgroup, owner, said)
        posix.close(said)
        said = -1
        code = posix.waitstatus_to_exitcode(await_child(pid, caller))
        words = posix.read(read, 1 << 12).decode("utf-8", "replace")
    finally:
        for fd in (read, said, source, target):
            if fd >= 0:
                posix.close(fd)
    if code:
        if code == -SIGKILL:
            words = "out of memory: what is copied counts as the container's"
        raise Error("copy the image's files into the tmpfs", pointer=pointer, detail=words)


def _child(source: int, target: int, cgroup: Cgroup, owner: tuple[int, int], said: int) -> None:
    """Never returns."""
    code = 1
    try:
        in_child()
        _only(source, target, said)
        for directory in cgroup.directories:
            if cgroup.mode == "v2" or "memory" in directory.controllers:
                write(f"{directory.path}/cgroup.procs", "0")
        image = posix.open(".", _DIRECTORY, dir_fd=source)
        into = posix.open(".", _DIRECTORY, dir_fd=target)
        _directory(image, into, _Owner(*owner), _DEEPEST)
        code = 0
    except OSError as e:
        posix.write(said, f"{e.strerror.lower() if e.strerror else e}".encode())
    finally:
        posix._exit(code)


def _only(*kept: int) -> None:
    """Let go of all else: the container's lock is held as long as anybody has its directory open."""
    for name in posix.listdir("/proc/self/fd"):
        if int(name) not in (0, 1, 2, *kept):
            try:
                posix.close(int(name))
            except OSError:  # the one that read the list
                continue


class _Owner:
    """Within a `with` block, files are made as the container's root."""

    __slots__ = ("_gid", "_switch", "_uid")

    def __init__(self, uid: int, gid: int) -> None:
        self._uid = uid
        self._gid = gid
        self._switch = posix.geteuid() == 0 and (uid, gid) != (0, 0)

    def __enter__(self) -> None:
        if self._switch:
            posix.setegid(self._gid)
            posix.seteuid(self._uid)

    def __exit__(self, *_: object) -> None:
        if self._switch:
            posix.seteuid(0)
            posix.setegid(0)


def _directory(source: int, target: int, owner: _Owner, depth: int) -> None:
    if not depth:
        raise OSError(ELOOP, "directories are nested too deeply")
    for name in posix.listdir(source):
        found = posix.open(name, _FOUND, dir_fd=source)
        try:
            _entry(found, target, name, owner, depth)
        finally:
            posix.close(found)


def _entry(found: int, target: int, name: str, owner: _Owner, depth: int) -> None:
    stat = posix.fstat(found)
    kind = stat.st_mode & S_IFMT
    if kind == S_IFDIR:
        with owner:
            posix.mkdir(name, 0o700, dir_fd=target)
        directory = posix.open(".", _DIRECTORY, dir_fd=found)
        into = posix.open(name, _DIRECTORY, dir_fd=target)
        try:
            _directory(directory, into, owner, depth - 1)
        finally:
            posix.close(directory)
            posix.close(into)
    elif kind == S_IFREG:
        _file(found, target, name, owner)
    elif kind == S_IFLNK:
        with owner:
            posix.symlink(posix.readlink("", dir_fd=found), name, dir_fd=target)
    elif kind in (S_IFCHR, S_IFBLK, S_IFIFO):
        try:
            with owner:
                posix.mknod(name, kind | 0o600, stat.st_rdev, dir_fd=target)
        except PermissionError:
            return  # a device, in a user namespace: nobody could use it there
    else:
        return  # a socket: without whoever listens there it is nothing
    # By name from here on: nobody else has come to the tmpfs yet.
    try:
        posix.chown(name, stat.st_uid, stat.st_gid, dir_fd=target, follow_symlinks=False)
    except OSError as e:
        # An owner without mapping; without root, anybody else: it stays the container's root's.
        if e.errno not in (EPERM, EINVAL, EOVERFLOW):
            raise
    if kind != S_IFLNK:
        posix.chmod(name, stat.st_mode & 0o7777, dir_fd=target)
        posix.utime(name, ns=(stat.st_atime_ns, stat.st_mtime_ns), dir_fd=target)


def _file(found: int, target: int, name: str, owner: _Owner) -> None:
    source = posix.open(f"/proc/self/fd/{found}", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        with owner:
            into = posix.open(name, _NEW, 0o600, dir_fd=target)
        try:
            while posix.sendfile(into, source, None, _CHUNK):
                pass
        finally:
            posix.close(into)
    finally:
        posix.close(source)
