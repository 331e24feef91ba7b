"""One layer on top of those below it: `python3 -IS unpack.py DIRECTORY [UID GID]` reads its tar from stdin.

A process of its own, which makes the directory its root before it reads the first byte: no name, symlink or hard link
of a layer leads anywhere else (chroot(2)). With UID and GID, those of a caller without privilege, it is root of a user
namespace that maps nobody else: all files are the caller's then, and there are no devices. It imports nothing once it
is inside. (image-spec, layer.md: whiteouts, opaque directories, attributes.)
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
import tarfile

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
_AUFS = ".wh..wh."  # what only that file system understands
_CLONE_NEWUSER = 0x10000000
_XATTR = "SCHILY.xattr."
# What belongs to the host that the image was made on, or to overlayfs.
_NOT_OURS = ("system.", "trusted.", "security.selinux", "security.ima", "security.evm")
_CHUNK = 1 << 20


def become_root(uid: int, gid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "a user namespace")
    for file, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{file}", "w", encoding="ascii") as opened:
            opened.write(text)


class Tree:
    """The directory, which is / by now. mapped: only one id is there."""

    def __init__(self, mapped: bool) -> None:
        self.mapped = mapped
        self.added: set[str] = set()
        self.times: list[tuple[str, float]] = []

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = os.path.normpath("/" + member.name)
        if ".." in member.name.split("/"):
            raise ValueError(f"{member.name!r} has .. in it")
        above, _, name = path.rpartition("/")
        if name == OPAQUE:
            self.empty(above or "/")
        elif name.startswith(_AUFS):
            return
        elif name.startswith(WHITEOUT):
            if name[len(WHITEOUT) :] in ("", ".", ".."):
                raise ValueError(f"{member.name!r} is a whiteout of nothing")
            self.remove(f"{above}/{name[len(WHITEOUT) :]}")
        else:
            self.make(tar, member, path)

    def make(self, tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        if path != "/":
            self.directories(os.path.dirname(path))
            there = kind(path)
            if there and not (there == "directory" and member.isdir()):
                self.remove(path)
        if member.isdir():
            if path != "/" and kind(path) != "directory":
                os.mkdir(path, 0o700)
        elif member.isreg():
            source = tar.extractfile(member)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with open(fd, "wb") as target:
                while source and (piece := source.read(_CHUNK)):
                    target.write(piece)
        elif member.issym():
            os.symlink(member.linkname, path)
        elif member.islnk():
            # Its target is of this layer or of one below; that it is a symlink itself is no way out either.
            os.link(os.path.normpath("/" + member.linkname), path, follow_symlinks=False)
        elif member.isfifo():
            os.mkfifo(path, 0o600)
        elif member.isdev():
            if self.mapped:
                return
            number = os.makedev(member.devmajor, member.devminor)
            os.mknod(path, 0o600 | (stat.S_IFCHR if member.ischr() else stat.S_IFBLK), number)
        else:
            raise ValueError(f"{member.name!r} is of an unknown type")
        self.note(path)
        if not member.islnk():
            self.attributes(member, path)

    def note(self, path: str) -> None:
        while path not in self.added:
            self.added.add(path)
            path = os.path.dirname(path)

    def attributes(self, member: tarfile.TarInfo, path: str) -> None:
        if not self.mapped:
            os.chown(path, member.uid, member.gid, follow_symlinks=False)
        if not member.issym():
            os.chmod(path, member.mode & 0o7777)
        for name, value in member.pax_headers.items():
            if name.startswith(_XATTR) and not name[len(_XATTR) :].startswith(_NOT_OURS):
                try:
                    raw = value.encode("utf-8", "surrogateescape")
                    os.setxattr(path, name[len(_XATTR) :], raw, follow_symlinks=False)
                except PermissionError:
                    if not self.mapped:
                        raise
        if member.isdir():
            self.times.append((path, member.mtime))
        else:
            os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)

    def directories(self, path: str) -> None:
        """What is missing on the way; what is there in another form makes room."""
        if path == "/":
            return
        if kind(path) == "directory" or (kind(path) == "symlink" and os.path.isdir(path)):
            return
        self.directories(os.path.dirname(path))
        if kind(path):
            self.remove(path)
        os.mkdir(path, 0o755)
        self.note(path)

    def empty(self, path: str) -> None:
        """Of what lower layers have in it."""
        if kind(path) != "directory":
            return
        with os.scandir(path) as entries:
            names = [entry.path for entry in entries]
        for below in names:
            if below not in self.added:
                self.remove(below)

    def remove(self, path: str) -> None:
        there = kind(path)
        if there == "directory":
            todo = [path]
            while todo:  # by hand: a tree may be deeper than Python recurses
                here = todo[-1]
                with os.scandir(here) as entries:
                    below = [(e.path, e.is_dir(follow_symlinks=False)) for e in entries]
                for name, is_directory in below:
                    if not is_directory:
                        os.unlink(name)
                directories = [name for name, is_directory in below if is_directory]
                if directories:
                    todo += directories
                else:
                    os.rmdir(here)
                    todo.pop()
        elif there:
            os.unlink(path)

    def finish(self) -> None:
        for path, when in reversed(self.times):
            if kind(path) == "directory":
                os.utime(path, (when, when))


def kind(path: str) -> str:
    """directory, symlink, another word for the rest; "" for nothing."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return "directory" if stat.S_ISDIR(mode) else "symlink" if stat.S_ISLNK(mode) else "file"


def main(arguments: list[str]) -> int:
    try:
        if len(arguments) > 1:
            become_root(int(arguments[1]), int(arguments[2]))
        os.chroot(arguments[0])
        os.chdir("/")
        os.umask(0)
        tree = Tree(mapped=len(arguments) > 1)
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
            for member in tar:
                tree.add(tar, member)
        tree.finish()
        while sys.stdin.buffer.read(_CHUNK):  # what pads it belongs to its digest
            continue
    except (OSError, ValueError, tarfile.TarError) as e:
        print(e, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
