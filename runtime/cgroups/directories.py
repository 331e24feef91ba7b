"""The directories and files of cgroup file systems, one small function each. OSError unless said otherwise."""

from __future__ import annotations

import errno
import posix
from select import POLLPRI, poll
from time import monotonic

from pyrun.cgroups.errors import refused
from pyrun.kernel.files import close, exists, read, read_all, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# What a cgroup that has been removed says: to its path, and to a descriptor of something in it.
GONE = (errno.ENOENT, errno.ENODEV)
_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC


class Directory:
    """The container's cgroup in one hierarchy.

    controllers: as in Hierarchy; top: where `create` may begin to make directories, the mount point; path: the cgroup;
    made: how many directories `create` made, counted from path upwards; inodes: of those, or of the one that was there.

    Whoever has a cgroup removed and made again under the same name has another one: what it is goes by its inode, which
    no other cgroup of the hierarchy ever gets. Before there are `inodes` nothing is known to be ours.
    """

    __slots__ = ("controllers", "inodes", "made", "path", "top")

    def __init__(
        self, controllers: tuple[str, ...], top: str, path: str, made: int = 0, inodes: list[int] | None = None
    ) -> None:
        self.controllers = controllers
        self.top = top
        self.path = path
        self.made = made
        self.inodes = inodes or []

    def identify(self) -> None:
        """Note what is there. Raises OSError."""
        path = self.path
        self.inodes = []
        for _ in range(max(self.made, 1)):
            self.inodes.append(posix.stat(path).st_ino)
            path = path.rpartition("/")[0]

    def is_same(self) -> bool:
        """What is at `path` is what was there at create."""
        return bool(self.inodes) and _inode(self.path) == self.inodes[0]

    def is_own(self) -> bool:
        """And create made it: what is in it is the container's."""
        return self.made > 0 and self.is_same()


def make(path: str, top: str) -> int:
    """mkdir -p below top. Returns how many directories were made, counted from path upwards; 0: path was there."""
    missing = [path]
    made: list[str] = []  # all, to undo them
    count = 0
    try:
        for _ in range(1000):  # a cgroup above may be removed meanwhile by another container's delete
            try:
                posix.mkdir(missing[-1], 0o755)
                made.append(missing[-1])
                count += 1
            except FileExistsError:
                count = 0
            except FileNotFoundError:
                parent = missing[-1].rpartition("/")[0]
                if len(parent) <= len(top):
                    raise
                missing.append(parent)
                continue
            missing.pop()
            if not missing:
                return count
        raise OSError(errno.EBUSY, posix.strerror(errno.EBUSY), path)
    except OSError:
        for path in reversed(made):
            rmdir(path)
        raise


def file(path: str, name: str) -> str:
    """Where a controller's file is. cpuset alone can be mounted noprefix, as its own file system once was, and its
    files have bare names then (cgroup_parse_param and cpuset_init_fs_context of kernel/cgroup/)."""
    whole = f"{path}/{name}"
    if name.startswith("cpuset.") and not exists(whole):
        bare = f"{path}/{name[7:]}"
        return bare if exists(bare) else whole
    return whole


def inherit_cpuset(directory: Directory) -> None:
    """Gives the cgroup its parent's CPUs and memory nodes: version 1 makes cpusets empty, and takes no process then.

    Parents that are empty too get theirs first, whoever made them: nothing can be in them.
    """
    for name in ("cpuset.cpus", "cpuset.mems"):
        end = file(directory.path, name).removeprefix(directory.path)
        empty = []
        path = directory.path
        if directory.made:  # new, so empty
            empty.append(path)
            path = path.rpartition("/")[0]
        while (value := read(path + end)) == "\n" and len(path) > len(directory.top):
            empty.append(path)
            path = path.rpartition("/")[0]
        for path in reversed(empty):
            write(path + end, value)


def remove(directory: Directory) -> bool:
    """Removes what `create` made of the directory; whether it is gone. Parents in use by others stay."""
    if not directory.made:
        return True
    path = directory.path
    if directory.inodes and not directory.is_same():
        return True  # gone already; if there is one of that name again, it is somebody else's
    if not rmdir(path):
        if not directory.inodes:
            return True  # create died before it knew what it had made: nothing that is in use is taken for ours
        for _, parent, name in below(path):
            _try_rmdir(name, parent)
        if not rmdir(path):
            return False
    for i in range(1, directory.made):
        path = path.rpartition("/")[0]
        if directory.inodes and _inode(path) != directory.inodes[i]:
            break
        if not rmdir(path):
            break
    directory.made = 0
    return True


def _inode(path: str) -> int:
    """0: there is none. Raises CgroupError when that can't be known."""
    try:
        return posix.stat(path, follow_symlinks=False).st_ino
    except OSError as error:
        if error.errno not in GONE:
            raise refused("", "look at", path, error) from None
        return 0


def rmdir(path: str) -> bool:
    """Whether it is gone. Raises CgroupError."""
    return _try_rmdir(path)


def _try_rmdir(path: str, parent: int | None = None) -> bool:
    try:
        posix.rmdir(path, dir_fd=parent)
    except OSError as error:
        if error.errno in GONE:
            return True
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise refused("", "rmdir", path, error) from None
    return True


def below(path: str) -> Iterator[tuple[int, int, str]]:
    """All cgroups below a cgroup, the deepest first: (descriptor of it, of the one above, its name). Both are
    good until the next step; the cgroup may be removed in it. Symlinks are not followed (cgroupfs has none).

    What is inside was made by the container: it may lie deeper than a path can be long, or than Python can recurse, and
    be more than there are descriptors to be had. So this goes down and up step by step, and holds two at most.
    """
    try:
        here = posix.open(path, _DIRECTORY)
    except FileNotFoundError:
        return
    above = -1
    try:
        trail = [("", _children(here))]
        while True:
            name, ahead = trail[-1]
            if ahead:
                child = ahead.pop()
                try:
                    down = posix.open(child, _DIRECTORY, dir_fd=here)
                except OSError as error:
                    if error.errno in GONE:
                        continue
                    raise
                close(here)
                here = down
                trail.append((child, _children(here)))
                continue
            trail.pop()
            if not trail:
                return
            above = posix.open("..", _DIRECTORY, dir_fd=here)
            yield here, above, name
            close(here)
            here, above = above, -1
    except OSError as error:
        if error.errno not in GONE:
            raise refused("", "look below", path, error) from None
        # It was removed meanwhile, and there is no way up from it.
    finally:
        close(here)
        if above >= 0:
            close(above)


def _children(cgroup: int) -> list[str]:
    with posix.scandir(cgroup) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def processes(path: str, recursive: bool = True) -> list[int]:
    """The pids in a cgroup, 0 for a process of a foreign pid namespace; none if it is gone."""
    result = _members(path, path + "/cgroup.procs", None)
    if recursive:
        for cgroup, _, _ in below(path):
            result += _members(path, "cgroup.procs", cgroup)
    return result


def _members(path: str, file: str, cgroup: int | None) -> list[int]:
    try:
        fd = posix.open(file, posix.O_RDONLY | posix.O_CLOEXEC, dir_fd=cgroup)
        try:
            return [int(pid) for pid in read_all(fd).split()]
        finally:
            close(fd)
    except OSError as error:
        # EOPNOTSUPP: a threaded cgroup, whose processes are listed by the domain above it.
        if error.errno in (*GONE, errno.EOPNOTSUPP):
            return []
        raise refused("", "read", path + "/cgroup.procs", error) from None


def wait_frozen(path: str, seconds: float = 2.0) -> bool:
    """Waits until cgroup.events says frozen: the kernel wakes a poll for it."""
    fd = posix.open(path + "/cgroup.events", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        waiter = poll()
        waiter.register(fd, POLLPRI)
        end = monotonic() + seconds
        while b"frozen 1" not in posix.pread(fd, 4096, 0):
            left = end - monotonic()
            if left <= 0:
                return False
            waiter.poll(left * 1000)
    finally:
        close(fd)
    return True
