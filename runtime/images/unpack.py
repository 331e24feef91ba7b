"""One layer on top of those below it: `python3 -IS unpack.py DIRECTORY OPTIONS [UID GID]` reads its tar from stdin.

With OPTIONS an overlay is mounted on the directory first, which nobody else sees.

A process of its own, for which the directory is all that there is before it reads the first byte: the root of a mount
namespace in which nothing else is mounted. No name, symlink or hard link of a layer leads anywhere else. It has no
capability but those that files take. With UID and GID, those of a caller without privilege, it is root of a user
namespace that maps nobody else: all files are the caller's then, and there are no devices.

What lies in the directory must never become code of this process: so nothing is imported once it is inside, no signal
raises an exception, and whatever is raised ends in `os._exit`: Python's own traceback would look for sources, and for
codecs that these name. (image-spec, layer.md: whiteouts, opaque directories, attributes.)
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import sys
import tarfile
from struct import Struct

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
_AUFS = ".wh..wh."  # what only that file system understands
_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x1000, 0x4000, 0x40000, 2
_PR_SET_NO_NEW_PRIVS = 38
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
# CAP_CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD, SETFCAP
_CAPABILITIES = sum(1 << number for number in (0, 1, 3, 4, 27, 31))
_CAP_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
_XATTR = "SCHILY.xattr."
# What belongs to the host that the image was made on, or to overlayfs.
_NOT_OURS = ("system.", "trusted.", "security.selinux", "security.ima", "security.evm")
_CHUNK = 1 << 20
_LARGEST = 1 << 40
_SAID = 2000
NO_OVERLAY = 3  # the exit status


class NoOverlay(Exception):
    """It can't be mounted here."""


class Strict(tarfile.TarInfo):
    """A broken header is an error wherever it stands; tarfile takes one behind the first for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Strict:
        try:
            return super().frombuf(buf, encoding, errors)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as e:  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"a header is damaged: {e}") from None


def enter(directory: str, options: str, ids: list[str]) -> None:
    """Make the directory all that there is, and give up what unpacking doesn't take."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(what: str, result: int) -> None:
        if result:
            number = ctypes.get_errno()
            raise OSError(number, f"{what}: {os.strerror(number)}")

    if ids:
        call("a user namespace", libc.unshare(_CLONE_NEWUSER))
        for file, text in (("setgroups", "deny"), ("uid_map", f"0 {ids[0]} 1"), ("gid_map", f"0 {ids[1]} 1")):
            with open(f"/proc/self/{file}", "w", encoding="ascii") as opened:
                opened.write(text)
    call("a mount namespace", libc.unshare(_CLONE_NEWNS))
    call("private mounts", libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))
    path = os.fsencode(directory)
    if options and libc.mount(b"overlay", path, b"overlay", 0, os.fsencode(options)):
        raise NoOverlay(os.strerror(ctypes.get_errno()))
    call("bind", libc.mount(path, path, None, _MS_BIND, None))
    os.chdir(directory)
    call("pivot_root", libc.syscall(_PIVOT_ROOT[os.uname().machine], b".", b"."))
    call("umount", libc.umount2(b".", _MNT_DETACH))
    os.chdir("/")
    call("no new privileges", libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    sets = Struct("<6I").pack(*(_CAPABILITIES & 0xFFFFFFFF, _CAPABILITIES & 0xFFFFFFFF, 0), 0, 0, 0)
    call("capabilities", libc.capset(Struct("<Ii").pack(_CAP_VERSION, 0), sets))


class Tree:
    """The directory, which is / by now. mapped: only one id is there. added: the real paths of what is this layer's."""

    def __init__(self, mapped: bool) -> None:
        self.mapped = mapped
        self.added: set[str] = {"/"}
        self.times: list[tuple[str, float]] = []

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        if ".." in member.name.split("/"):
            raise ValueError(f"{_short(member.name)} has .. in it")
        path = os.path.normpath("/" + member.name)
        name = os.path.basename(path)
        if name.startswith(WHITEOUT):
            above = os.path.realpath(os.path.dirname(path))
            if name == OPAQUE:
                self.prune(above, itself=False)
            elif not name.startswith(_AUFS):
                if name[len(WHITEOUT) :] in ("", ".", ".."):
                    raise ValueError(f"{_short(member.name)} is a whiteout of nothing")
                self.prune(os.path.join(above, name[len(WHITEOUT) :]), itself=True)
            return
        if path != "/":
            path = os.path.join(self.directories(os.path.dirname(path)), name)
        self.make(tar, member, path)

    def make(self, tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        target = os.path.normpath("/" + member.linkname) if member.islnk() else ""
        if target == path:
            return
        there = kind(path)
        if there and not (there == "directory" and member.isdir()):
            remove(path)
            there = ""
        if member.isdir():
            if not there:
                os.mkdir(path, 0o700)
        elif member.isreg():
            self.file(tar, member, path)
        elif member.issym():
            os.symlink(member.linkname, path)
        elif member.islnk():
            # Its target is of this layer or of one below; that it is a symlink itself is no way out either.
            os.link(target, path, follow_symlinks=False)
        elif member.isfifo():
            os.mkfifo(path, 0o600)
        elif member.isdev():
            # 0:0 is none, but overlayfs's own way to say that a name is gone.
            if self.mapped or (member.devmajor, member.devminor) == (0, 0):
                return
            number = os.makedev(member.devmajor, member.devminor)
            os.mknod(path, 0o600 | (stat.S_IFCHR if member.ischr() else stat.S_IFBLK), number)
        else:
            raise ValueError(f"{_short(member.name)} is of an unknown type")
        self.added.add(path)
        if not member.islnk():
            self.attributes(member, path)

    def file(self, tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        """What is all zeros becomes a hole: a few bytes of a layer can stand for a disk full of them."""
        if member.size > _LARGEST:
            raise ValueError(f"{_short(member.name)} is larger than {_LARGEST >> 40} TiB")
        source = tar.extractfile(member)
        assert source
        left = member.size
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            while left:
                piece = source.read(min(left, _CHUNK))
                if not piece:
                    raise ValueError(f"{_short(member.name)} is cut short")
                left -= len(piece)
                if len(piece) == piece.count(0):
                    os.lseek(fd, len(piece), os.SEEK_CUR)
                    continue
                while piece:
                    piece = piece[os.write(fd, piece) :]
            os.ftruncate(fd, member.size)
        finally:
            os.close(fd)

    def attributes(self, member: tarfile.TarInfo, path: str) -> None:
        if not self.mapped:
            os.chown(path, member.uid, member.gid, follow_symlinks=False)
        if not member.issym():
            os.chmod(path, member.mode & 0o7777)
        for name, value in member.pax_headers.items():
            if name.startswith(_XATTR) and not name[len(_XATTR) :].startswith(_NOT_OURS):
                raw = value.encode("utf-8", "surrogateescape")
                try:
                    os.setxattr(path, name[len(_XATTR) :], raw, follow_symlinks=False)
                except OSError as e:
                    # Of users' attributes only plain files and directories have any, and not every file system.
                    harmless = self.mapped or name.startswith(f"{_XATTR}user.")
                    if not (harmless and e.errno in (errno.EPERM, errno.ENOTSUP)):
                        raise
        if member.isdir():
            self.times.append((path, member.mtime))
        else:
            os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)

    def directories(self, path: str) -> str:
        """Make what is missing on the way; what is there in another form makes room. Returns the real path."""
        here = "/"
        for name in path.split("/"):
            if not name:
                continue
            here = os.path.join(here, name)
            if kind(here) == "symlink" and os.path.isdir(here):
                here = os.path.realpath(here)
            elif kind(here) != "directory":
                if kind(here):
                    remove(here)
                os.mkdir(here, 0o755)
            self.added.add(here)
        return here

    def prune(self, path: str, *, itself: bool) -> None:
        """Take away what lower layers have there; what this layer has added stays, in whatever order it comes."""
        if kind(path) != "directory":
            if itself and path not in self.added and kind(path):
                os.unlink(path)
            return
        if itself and path not in self.added:
            remove(path)
            return
        todo = [path]
        while todo:
            here = todo.pop()
            with os.scandir(here) as entries:
                below = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
            for name, is_directory in below:
                if name not in self.added:
                    remove(name)
                elif is_directory:
                    todo.append(name)

    def finish(self) -> None:
        for path, when in reversed(self.times):
            if kind(path) == "directory":
                os.utime(path, (when, when))


def remove(path: str) -> None:
    """A file, or a tree: by hand, since it may be deeper than Python recurses or a path is long."""
    if kind(path) != "directory":
        os.unlink(path)
        return
    above = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    trail = [os.path.basename(path)]
    here = os.open(trail[0], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
    os.close(above)
    while trail:
        down = ""
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    down = entry.name
                    break
                os.unlink(entry.name, dir_fd=here)
        if down:
            below = os.open(down, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            trail.append(down)
        else:
            below = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
            os.rmdir(trail.pop(), dir_fd=below)
        os.close(here)
        here = below
    os.close(here)


def kind(path: str) -> str:
    """directory, symlink, another word for the rest; "" for nothing."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return "directory" if stat.S_ISDIR(mode) else "symlink" if stat.S_ISLNK(mode) else "file"


def _short(name: str) -> str:
    return repr(name if len(name) <= 200 else name[:200] + "...")


def unpack(mapped: bool) -> None:
    """All that comes from stdin."""
    tree = Tree(mapped)
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|", tarinfo=Strict) as tar:
        for member in tar:
            tree.add(tar, member)
    tree.finish()
    while sys.stdin.buffer.read(_CHUNK):  # what pads it belongs to its digest
        continue


def main(arguments: list[str]) -> None:
    """Never returns."""
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.umask(0)
        directory, options, *ids = arguments
        enter(directory, options, ids)
        sys.path.clear()
        sys.meta_path.clear()
        sys.path_hooks.clear()
        unpack(bool(ids))
        code = 0
    except BaseException as e:
        if isinstance(e, NoOverlay):
            code = NO_OVERLAY
        try:
            said = str(e) or type(e).__name__
            os.write(2, said[:_SAID].encode("utf-8", "backslashreplace"))
        except BaseException:
            code = 2
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
