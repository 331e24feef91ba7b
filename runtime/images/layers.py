"""Layers that bundles share: each unpacked once, and a bundle's root the overlay of them with a layer of its own.

    STORE/CHAIN          what the layer with that chain id adds to those below it, as an overlay's upper directory
    STORE/bundles/NAME   a bundle that was made of them, so that `prune` knows what is in use
    DIR/bundle.json      the same in the bundle itself: what its root is mounted of, and `remove` takes away
    DIR/upper, DIR/work  what it writes (Documentation/filesystems/overlayfs.rst)

A chain id (image-spec, config.md "Layer ChainID") stands for a layer and for all below it, so two images share what
they have in common from the lowest layer on. A layer is unpacked onto the overlay of those below it: what it takes
away becomes the kernel's own whiteouts. It gets its name when it is whole and written to the disk.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import re
import stat
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any, NamedTuple

from pyrun.errors import Error
from pyrun.kernel.files import unescaped
from pyrun.kernel.ownership import open_file, open_owned
from pyrun.spec import strictjson
from pyrun.spec.faults import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pyrun.images.source import Layer

RECORD = "bundle.json"
NEW = ".new-"  # what is not whole yet
UPPER, WORK, ROOT = "upper", "work", "rootfs"
_BUNDLES = "bundles"
_NAME = 32  # of the chain id's digits: all of them, for each layer, would be more than mount(2) takes
_LAYER = re.compile(f"[0-9a-f]{{{_NAME}}}")
_PAGE = 4095  # of options
_SPECIAL = set(",:\\")  # what the options of an overlay give a meaning to


class NoOverlayError(Error):
    """The file system here can't be a layer of an overlay, or the caller may not mount one."""


class Overlay(NamedTuple):
    """What a root is mounted of: its layers in the store, the lowest first."""

    store: str
    layers: list[str]

    def options(self, upper: str, work: str) -> str:
        """For mount(2). Raises NoOverlayError where that can't say it."""
        lower = ":".join(f"{self.store}/{name}" for name in reversed(self.layers))
        found = f"lowerdir={lower},upperdir={upper},workdir={work},metacopy=off"
        if _SPECIAL & set(self.store + upper + work):
            raise NoOverlayError("mount the layers", detail="a path with , : or \\ in it")
        if len(os.fsencode(found)) > _PAGE:
            raise NoOverlayError("mount the layers", detail=f"{len(self.layers)} layers are more than a mount takes")
        return found

    def make_upper(self, path: str) -> None:
        """A directory for what is written. An overlay's root has the attributes of its uppermost layer's."""
        below = os.stat(f"{self.store}/{self.layers[-1]}")
        os.mkdir(path, 0o700)
        os.chown(path, below.st_uid, below.st_gid)
        os.chmod(path, stat.S_IMODE(below.st_mode))
        os.utime(path, ns=(below.st_atime_ns, below.st_mtime_ns))


class Store:
    """The directory of layers, which nobody else may enter: they have setuid programs and devices. While it is open
    nothing is pruned. alone: to prune it; otherwise it is made when it is missing. Raises Error."""

    def __init__(self, path: str, *, alone: bool = False) -> None:
        self.path = path
        try:
            at = open_owned(path, make=not alone)
            self._fd = os.open(f"/proc/self/fd/{at}", os.O_RDONLY | os.O_DIRECTORY)
            os.close(at)
            if mode := stat.S_IMODE(os.fstat(self._fd).st_mode) & 0o077:
                os.close(self._fd)
                hint = f"chmod go-rwx {path}, or name another --layers"
                raise Error("open the layers", detail=f"{path} is open to others (mode {mode:#o})", hint=hint)
            if not alone:
                os.makedirs(f"{path}/{_BUNDLES}", 0o700, exist_ok=True)
            fcntl.flock(self._fd, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        except OSError as e:
            raise Error("open the layers", call=f"open {path}", errno=e.errno) from None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def unpacked(
        self, layers: Sequence[Layer], unpack: Callable[[Layer, str, str], None], verify: Callable[[Layer], None]
    ) -> Overlay:
        """All of them. One that is missing by unpack(layer, directory, options): the overlay of these options is to be
        mounted on the directory, and the layer unpacked onto that. verify: the image does hold a layer that is there
        already; otherwise one that knows a digest would get what is behind it. Raises Error."""
        done: list[str] = []
        for layer, name in zip(layers, chain(layers), strict=True):
            if os.path.isdir(f"{self.path}/{name}"):
                verify(layer)
            else:
                self._add(name, layer, done, unpack)
            done.append(name)
        return Overlay(self.path, done)

    def _add(self, name: str, layer: Layer, below: list[str], unpack: Callable[[Layer, str, str], None]) -> None:
        new = tempfile.mkdtemp(prefix=NEW, dir=self.path)
        try:
            for part in (WORK, ROOT, "none"):
                os.mkdir(f"{new}/{part}", 0o755)
            lower = Overlay(self.path, below or [f"{os.path.basename(new)}/none"])
            lower.make_upper(f"{new}/{UPPER}")
            unpack(layer, f"{new}/{ROOT}", lower.options(f"{new}/{UPPER}", f"{new}/{WORK}"))
            # A crash of the machine must not leave a name for what is only half on the disk.
            ctypes.CDLL(None).syncfs(self._fd)
            try:
                os.rename(f"{new}/{UPPER}", f"{self.path}/{name}")
            except OSError:
                if not os.path.isdir(f"{self.path}/{name}"):  # else somebody else was faster
                    raise
        finally:
            discard(new)

    def register(self, directory: str, overlay: Overlay) -> None:
        """The bundle that is made in that directory is of these layers."""
        _write(f"{self.path}/{_BUNDLES}/{_hash(directory)}", {"directory": directory, "layers": overlay.layers})

    def forget(self, directory: str) -> None:
        """It is no more."""
        try:
            os.unlink(f"{self.path}/{_BUNDLES}/{_hash(directory)}")
        except FileNotFoundError:
            pass

    def prune(self) -> list[str]:
        """Remove the layers that no bundle is made of, and what was left of an unpacking that was killed; returns their
        names. The store must be open alone. Whatever else is in it stays."""
        used = {name for _, layers in self.bundles() for name in layers}
        mounted = "".join(text for _, text in mount_tables())
        names = [name for name in sorted(os.listdir(self.path)) if _LAYER.fullmatch(name) or name.startswith(NEW)]
        found = [name for name in names if name not in used and name not in mounted]
        for name in found:
            discard(f"{self.path}/{name}")
        return found

    def bundles(self) -> Iterator[tuple[str, list[str]]]:
        """(directory, layers) of each that was made, until it is removed: one that is not there now may have been
        moved, or its file system not be mounted. Raises Error."""
        try:
            names = os.listdir(f"{self.path}/{_BUNDLES}")
        except FileNotFoundError:
            return
        for name in sorted(names):
            if _LAYER.fullmatch(name):  # else left of a write that was killed
                kept = _read(f"{self.path}/{_BUNDLES}", name)
                yield kept.get("directory", ""), kept["layers"]


def chain(layers: Sequence[Layer]) -> list[str]:
    """The names of layers in a store: their chain ids, cut."""
    found, last = [], ""
    for layer in layers:
        last = f"sha256:{hashlib.sha256(f'{last} {layer.diff_id}'.encode()).hexdigest()}" if last else layer.diff_id
        found.append(last.removeprefix("sha256:")[:_NAME])
    return found


def mount(directory: str, overlay: Overlay) -> None:
    """Mount the root of the bundle in that directory. Raises NoOverlayError."""
    options = overlay.options(f"{directory}/{UPPER}", f"{directory}/{WORK}")
    libc = ctypes.CDLL(None, use_errno=True)
    at = os.fsencode(f"{directory}/{ROOT}")
    if libc.mount(b"overlay", at, b"overlay", 0, os.fsencode(options)):
        call = f"mount overlay on {directory}/{ROOT}"
        raise NoOverlayError("mount the layers", call=call, errno=ctypes.get_errno())


def unmount(directory: str) -> None:
    """Raises Error when it is in use."""
    libc = ctypes.CDLL(None, use_errno=True)
    while is_mounted(directory):
        if libc.umount2(os.fsencode(f"{directory}/{ROOT}"), 0):
            raise Error("unmount the root", call=f"umount {directory}/{ROOT}", errno=ctypes.get_errno())


def is_mounted(directory: str) -> bool:
    """Something is mounted on its rootfs."""
    return os.path.ismount(f"{directory}/{ROOT}")


def mount_tables() -> Iterator[tuple[int, str]]:
    """(pid, what is mounted there) of a process in each mount namespace (proc_pid_mountinfo(5))."""
    seen = set()
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            namespace = os.stat(f"/proc/{pid}/ns/mnt").st_ino
            if namespace not in seen:
                seen.add(namespace)
                with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                    yield pid, file.read()
        except OSError:
            continue  # it has ended


def user_of(directory: str) -> int:
    """A process whose root is that of the bundle, by device and path within it; 0 when there is none."""
    root = f"{directory}/{ROOT}"
    if not os.path.isdir(root):
        return 0
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        here = _of_device(file.read(), root)
    for pid, text in mount_tables():
        for line in text.splitlines():
            _, _, device, path, point, *_ = line.split()
            if point == "/" and (device, unescaped(path)) == here:
                return pid
    return 0


def _of_device(table: str, path: str) -> tuple[str, str]:
    """(device, path within it) of what is at a path."""
    path = os.path.realpath(path)
    rows = [line.split() for line in table.splitlines()]
    over = [(unescaped(row[4]), row[2], unescaped(row[3])) for row in rows]
    above = [row for row in over if row[0] == "/" or path == row[0] or path.startswith(f"{row[0]}/")]
    point, device, root = max(enumerate(above), key=lambda item: (len(item[1][0]), item[0]))[1]
    below = path[len(point.rstrip("/")) :]
    return device, (root.rstrip("/") + below) or "/"


def write_record(directory: str, image: str, signer: str, overlay: Overlay | None) -> None:
    """What the bundle is made of. image: the digest of its config; signer: a key's fingerprint, "" when nobody has
    signed it; overlay: None for a copy. It keeps the name by which the store knows it, also when it is moved."""
    layers = {"store": overlay.store, "layers": overlay.layers, "directory": directory} if overlay else {}
    _write(f"{directory}/{RECORD}", {"image": image, "signer": signer, **layers})


def origin(directory: str) -> tuple[str, str]:
    """The digest of the config of the image that a bundle was made of, and who has signed that; "" when nothing says so
    that can be believed."""
    try:
        found = _read(directory, RECORD)
    except (OSError, Error):
        return "", ""
    return found.get("image", ""), found.get("signer", "")


def read_record(directory: str) -> tuple[Overlay | None, str]:
    """What a bundle is of, None for a copy of all; and the directory that the store knows it by. Raises Error when
    there is no record that can be believed."""
    try:
        found = _read(directory, RECORD)
    except FileNotFoundError:
        raise Error(f"{directory} is no bundle of `pyrun bundle`", detail=f"it has no {RECORD}") from None
    except OSError as e:
        raise Error("read the bundle", call=f"open {directory}", errno=e.errno) from None
    overlay = Overlay(found["store"], found["layers"]) if "store" in found else None
    return overlay, found.get("directory", directory)


def _read(directory: str, name: str) -> dict[str, Any]:
    """Raises OSError, and Error for what is not the caller's or is no record."""
    above = open_owned(directory)
    try:
        fd = open_file(name, above, directory)
    finally:
        os.close(above)
    try:
        with open(fd, "rb") as file:
            found = strictjson.loads(file.read())
    except Invalid as e:
        raise Error(f"read {directory}/{name}", detail=str(e)) from None
    layers = found.get("layers", []) if isinstance(found, dict) else None
    if not isinstance(layers, list) or not all(isinstance(layer, str) and _LAYER.fullmatch(layer) for layer in layers):
        raise Error(
            f"read {directory}/{name}", detail="it is no record of a bundle", hint="nothing goes by it: remove it"
        )
    return {
        "layers": layers,
        **{key: str(found[key]) for key in ("image", "signer", "store", "directory") if key in found},
    }


def _write(path: str, content: dict[str, Any]) -> None:
    fd, temporary = tempfile.mkstemp(prefix=NEW, dir=os.path.dirname(path))
    with open(fd, "w", encoding="utf-8") as file:
        file.write(strictjson.dumps(content) + "\n")
    os.replace(temporary, path)


def _hash(directory: str) -> str:
    return hashlib.sha256(os.fsencode(directory)).hexdigest()[:_NAME]


def discard(path: str) -> None:
    """A tree, which may be deeper than Python recurses; nothing of another file system. Raises Error."""
    done = subprocess.run(["rm", "-rf", "--one-file-system", "--", path], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Error(f"remove {path}", detail=done.stderr.strip().split("\n")[-1])
