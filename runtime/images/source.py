"""What an image is made of: its config, and its layers as streams whose digests are verified as they are read.

Three forms are known: an OCI image layout, as a directory or as a tar (image-spec, image-layout.md), and the archive of
`docker save` (manifest.json). Digests are compared before what they are of is believed.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import lzma
import os
import platform
import shutil
import stat
import subprocess
import tarfile
import threading
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pyrun.errors import Error
from pyrun.spec import strictjson
from pyrun.spec.faults import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

_DOCUMENT = 4 << 20  # what registries take at most for a manifest
_CHUNK = 1 << 18
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_DEPTH = 4  # of indexes in indexes


class Layer:
    """name: of its blob. digest: what the manifest says of the blob, "": nothing. diff_id: of the tar in it."""

    def __init__(self, name: str, digest: str, diff_id: str) -> None:
        self.name = name
        self.digest = digest
        self.diff_id = diff_id


class Image:
    """config: the image's (image-spec, config.md). digest: its, verified where something names it. manifest: the digest
    of its manifest, "" for docker save's. layers: the lowest first. Raises Error."""

    def __init__(self, path: str, wanted: str = "") -> None:
        """path: the directory or the tar. wanted: the tag or the name of one of several images in it."""
        self.path = path
        self.digest = ""
        self.manifest = ""
        self._tar: tarfile.TarFile | None = None
        self._members: dict[str, tarfile.TarInfo] = {}
        try:
            if not stat.S_ISDIR(mode := os.stat(path).st_mode):
                if not stat.S_ISREG(mode):
                    raise self._wrong("it is neither a file nor a directory")
                self._tar = tarfile.open(path, "r:*")  # noqa: SIM115
                self._members = {member.name.removeprefix("./"): member for member in self._tar}
            self._read_documents(wanted)
        except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RecursionError) as e:
            raise self._wrong(str(e) or "it is cut short", "it is damaged, or no tar") from None
        except OSError as e:
            raise Error("open the image", call=f"open {path}", errno=e.errno) from None
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as e:
            raise self._wrong(f"a document in it has not the form of one: {type(e).__name__} {e}") from None

    @classmethod
    def at(cls, name: str) -> Image:
        """PATH, or PATH:NAME of one of several images in it; the path may have colons of its own. Raises Error."""
        path, wanted = name, ""
        while not os.path.lexists(path) and ":" in path:
            path, _, last = path.rpartition(":")
            wanted = f"{last}:{wanted}" if wanted else last
        return cls(path, wanted)

    def close(self) -> None:
        """Nothing can be read any more."""
        if self._tar:
            self._tar.close()

    def _read_documents(self, wanted: str) -> None:
        if self._exists("oci-layout"):
            self.config, self.layers = self._of_layout(wanted)
        elif self._tar and self._exists("manifest.json"):
            self.config, self.layers = self._of_docker(wanted)
        else:
            hint = "podman save, docker save, and skopeo copy to oci: or docker-archive: make one"
            raise self._wrong("it has neither oci-layout nor manifest.json", hint)
        ids = self.config.get("rootfs", {}).get("diff_ids")
        if not isinstance(ids, list) or len(ids) != len(self.layers):
            raise self._wrong("its config names another number of layers than its manifest")
        for layer, diff_id in zip(self.layers, ids, strict=True):
            _name({"digest": diff_id})  # of that form
            layer.diff_id = diff_id
        here = _ARCHITECTURES.get(platform.machine(), platform.machine())
        if self.config.get("architecture", here) != here or self.config.get("os", "linux") != "linux":
            of = f"{self.config.get('os')}/{self.config.get('architecture')}"
            raise self._wrong(f"it is for {of}, and this is linux/{here}")

    def tar_of(self, layer: Layer) -> Iterator[bytes]:
        """The layer's tar, in pieces. Raises Error when a digest is another one: after the last piece."""
        blob, plain = hashlib.sha256(), hashlib.sha256()
        with self._open(layer.name) as file:
            for piece in _plain(_hashed(file, blob), layer.name):
                plain.update(piece)
                yield piece
        for digest, found in ((layer.digest, blob), (layer.diff_id, plain)):
            self._compare(digest, found.hexdigest(), f"layer {layer.name}")

    def _of_layout(self, wanted: str) -> tuple[dict[str, Any], list[Layer]]:
        index = self._json("index.json")
        manifest = self._manifest(index, wanted, _DEPTH)
        config = self._blob(manifest.get("config"))
        self.digest = str(manifest["config"]["digest"])
        layers = [Layer(_name(row), str(row["digest"]), "") for row in manifest.get("layers", [])]
        return config, layers

    def _manifest(self, index: dict[str, Any], wanted: str, depth: int) -> dict[str, Any]:
        rows = [row for row in index.get("manifests", []) if isinstance(row, dict)]
        named = [row for row in rows if wanted in _names(row)] if wanted else rows
        here = _ARCHITECTURES.get(platform.machine(), platform.machine())
        fitting = [row for row in named if row.get("platform", {}).get("architecture", here) == here]
        if len(fitting) != 1 or not depth:
            known = ", ".join(sorted({name for row in rows for name in _names(row)})) or "no names"
            hint = f"say which: PATH:NAME; it has {known}"
            raise self._wrong(f"{len(fitting)} images fit {f'{wanted!r}' if wanted else 'this machine'}", hint)
        [row] = fitting
        document = self._blob(row)
        if row.get("mediaType") in _INDEXES or "manifests" in document:
            return self._manifest(document, "", depth - 1)
        self.manifest = str(row["digest"])
        return document

    def _of_docker(self, wanted: str) -> tuple[dict[str, Any], list[Layer]]:
        rows = self._json("manifest.json")
        fitting = [row for row in rows if not wanted or wanted in (row.get("RepoTags") or [])]
        if len(fitting) != 1:
            known = ", ".join(name for row in rows for name in row.get("RepoTags") or []) or "no names"
            raise self._wrong(f"{len(fitting)} images fit", f"say which: PATH:NAME; it has {known}")
        [row] = fitting
        raw = self._read(row["Config"])
        self.digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        # The config's name is its digest; that of a layer may be anything: its diff_id counts.
        digest = row["Config"].rpartition("/")[2].removesuffix(".json")
        if len(digest) == 64:
            self._compare(f"sha256:{digest}", self.digest.removeprefix("sha256:"), "config")
        return self._parsed(raw, "config"), [Layer(str(name), "", "") for name in row["Layers"]]

    def _blob(self, descriptor: Any) -> dict[str, Any]:
        if not isinstance(descriptor, dict) or "digest" not in descriptor:
            raise self._wrong("a descriptor has no digest")
        name = _name(descriptor)
        raw = self._read(name)
        self._compare(str(descriptor["digest"]), hashlib.sha256(raw).hexdigest(), name)
        return cast("dict[str, Any]", self._parsed(raw, name))

    def _json(self, name: str) -> Any:
        return self._parsed(self._read(name), name)

    def _parsed(self, raw: bytes, name: str) -> Any:
        try:
            return strictjson.loads(raw)
        except Invalid as e:
            raise self._wrong(f"{name}: {e}") from None

    def _read(self, name: str) -> bytes:
        with self._open(name) as file:
            raw = file.read(_DOCUMENT + 1)
        if len(raw) > _DOCUMENT:
            raise self._wrong(f"{name} is larger than {_DOCUMENT >> 20} MiB")
        return raw

    def _exists(self, name: str) -> bool:
        return name in self._members if self._tar else os.path.isfile(f"{self.path}/{name}")

    def _open(self, name: str) -> BinaryIO:
        if self._tar:
            member = self._members.get(name)
            if not member or not member.isreg() or member.issparse():
                raise self._wrong(f"it has no plain file {name}")
            return cast("BinaryIO", self._tar.extractfile(member))
        try:
            return _plain_file(self.path, name)
        except OSError as e:
            raise Error("read the image", call=f"open {self.path}/{name}", errno=e.errno) from None

    def _compare(self, digest: str, found: str, what: str) -> None:
        if digest and digest != f"sha256:{found}":
            raise self._wrong(f"{what}: its digest is sha256:{found}, not {digest}", "it is damaged, or was changed")

    def _wrong(self, detail: str, hint: str = "") -> Error:
        return Error(f"read the image {self.path}", detail=detail, hint=hint)


def _plain_file(path: str, name: str) -> BinaryIO:
    """A regular file below the directory, which no symlink on the way leads to. Raises OSError."""
    *above, last = name.split("/")
    here = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in above:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        # Looked at before it is opened: to open a device is to do something.
        looked = os.open(last, os.O_PATH | os.O_NOFOLLOW, dir_fd=here)
    finally:
        os.close(here)
    try:
        if not stat.S_ISREG(os.fstat(looked).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", name)
        return open(f"/proc/self/fd/{looked}", "rb")
    finally:
        os.close(looked)


def _names(row: dict[str, Any]) -> list[str]:
    annotations = row.get("annotations") or {}
    keys = ("org.opencontainers.image.ref.name", "io.containerd.image.name")
    return [annotations[key] for key in keys if key in annotations]


def _name(descriptor: dict[str, Any]) -> str:
    algorithm, _, digest = str(descriptor.get("digest")).partition(":")
    if algorithm != "sha256" or len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise Error("read the image", detail=f"{descriptor.get('digest')!r} is no SHA-256 digest")
    return f"blobs/sha256/{digest}"


def _hashed(file: BinaryIO, digest: hashlib._Hash) -> Iterator[bytes]:
    while piece := file.read(_CHUNK):
        digest.update(piece)
        yield piece


def _plain(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Decompressed, by what the first bytes say: gzip, zstd (by its program), or as it is."""
    first = next(pieces, b"")
    if first.startswith(b"\x1f\x8b"):
        yield from _gunzipped(first, pieces, name)
    elif first.startswith(b"\x28\xb5\x2f\xfd"):
        yield from _by_zstd(first, pieces, name)
    else:
        yield first
        yield from pieces


def _gunzipped(first: bytes, pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    inflate = zlib.decompressobj(31)
    try:
        for piece in itertools.chain((first,), pieces):
            while piece:
                yield inflate.decompress(piece, _CHUNK)
                piece = inflate.unconsumed_tail
                if inflate.eof:  # gzip allows several, one behind the other
                    piece, inflate = inflate.unused_data, zlib.decompressobj(31)
        yield inflate.flush()
    except zlib.error as e:
        raise Error("read the image", detail=f"layer {name}: {e}") from None


def _by_zstd(first: bytes, pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    program = shutil.which("zstd")
    if not program:
        raise Error("read the image", detail=f"layer {name} is compressed by zstd", hint="install zstd")
    with subprocess.Popen([program, "-dcq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        into = process.stdin

        failed: list[Exception] = []

        def feed() -> None:
            try:
                with into:
                    for piece in itertools.chain((first,), pieces):
                        into.write(piece)
            except BrokenPipeError:
                return  # its exit status says why
            except Exception as e:
                failed.append(e)

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        while piece := process.stdout.read(_CHUNK):
            yield piece
        feeder.join()
        if failed:
            raise failed[0]
        if process.wait():
            raise Error("read the image", detail=f"layer {name}: zstd ended with status {process.returncode}")
