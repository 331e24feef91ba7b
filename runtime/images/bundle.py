"""From an image to a bundle in a directory."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

from pyrun.errors import ConfigError, Error
from pyrun.images import convert, layers, unpack
from pyrun.images.layers import NoOverlayError, Store
from pyrun.kernel.ownership import open_owned
from pyrun.spec import strictjson
from pyrun.spec.config import load
from pyrun.spec.faults import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyrun.images.source import Image, Layer
    from pyrun.spec.config import Config

    Say = Callable[[str], object]

_PASSWD = 1 << 20
_CONFIG = "config.json"
_PARTS = (layers.ROOT, layers.UPPER, layers.WORK, _CONFIG, layers.RECORD)


def make(
    image: Image, directory: str, args: Sequence[str], config: Config, store: str, say: Say, signer: str = ""
) -> None:
    """Make the root in DIRECTORY/rootfs, and write config.json beside it: `config`, with what the image says. The
    directory must not be there, or be empty. store: where layers are shared, and the root is an overlay; "": it holds
    a copy of all. say: is told what is being done. signer: who has signed the image, for the record. Raises Error, and
    leaves nothing behind."""
    root = f"{directory}/{layers.ROOT}"
    try:
        # Who can rename a directory above it decides where it is: what is written, mounted, and removed in case.
        os.close(open_owned(directory, make=True))
        if os.listdir(directory):
            raise Error("make the bundle", detail=f"{directory} is not empty", hint="name a new directory")
        os.chmod(directory, 0o700)  # what an image has of setuid programs and devices is not for others
        layers.write_record(directory, image.digest, signer, None)
        os.mkdir(root, 0o755)
    except OSError as e:
        raise Error("make the bundle", call=f"mkdir {directory}", errno=e.errno) from None
    try:
        if store and image.layers:
            _share(image, directory, store, say, signer)
        else:
            for layer in image.layers:
                _unpack(image, say, layer, root, "")
        passwd, group = (_file(root, name) for name in ("passwd", "group"))
        _convert(image, config, args, passwd, group)
        with open(f"{directory}/{_CONFIG}", "w", encoding="utf-8") as file:
            file.write(strictjson.dumps(config, indent=4) + "\n")
    except BaseException:
        overlay, known = layers.read_record(directory)
        _remove(directory, overlay.store if overlay else "", known)
        raise


def _share(image: Image, directory: str, path: str, say: Say, signer: str) -> None:
    with Store(path) as store:
        # Whether there may be so many is known before the first is unpacked.
        layers.Overlay(path, layers.chain(image.layers)).options(
            f"{directory}/{layers.UPPER}", f"{directory}/{layers.WORK}"
        )
        overlay = store.unpacked(image.layers, partial(_unpack, image, say), partial(_verify, image, say))
        overlay.make_upper(f"{directory}/{layers.UPPER}")
        os.mkdir(f"{directory}/{layers.WORK}", 0o700)
        store.register(directory, overlay)
        layers.write_record(directory, image.digest, signer, overlay)
        layers.mount(directory, overlay)


def mount(directory: str) -> None:
    """Mount the root of a bundle again, after a restart of the machine. Raises Error."""
    overlay, _ = layers.read_record(directory)
    if overlay and not layers.is_mounted(directory):
        layers.mount(directory, overlay)


def remove(directory: str) -> None:
    """Take away what `make` has made, and what was written to its root since; the layers stay for others. Raises Error:
    for a bundle that is not one of make's, one whose root is in use, or one beside which there is something else."""
    overlay, known = layers.read_record(directory)
    if user := layers.user_of(directory):
        raise Error("remove the bundle", detail=f"its root is mounted for process {user}", hint="delete its container")
    names = {name for name in os.listdir(directory) if not name.startswith(layers.NEW)}
    if others := sorted(names - {*_PARTS}):
        hint = "take that away first"
        raise Error("remove the bundle", detail=f"{directory} holds {others[0]} as well", hint=hint)
    _remove(directory, overlay.store if overlay else "", known)


def forget(directory: str, store: str) -> bool:
    """Of a bundle that is gone the store knows no more; whether it did. Raises Error."""
    with Store(store) as opened:
        known = directory in [kept for kept, _ in opened.bundles()]
        opened.forget(directory)
    return known


def _remove(directory: str, store: str, known: str) -> None:
    """The record goes last: what can't be removed can be tried again."""
    layers.unmount(directory)
    for name in sorted({*os.listdir(directory)} - {layers.RECORD}):
        layers.discard(f"{directory}/{name}")
    if store:
        forget(known, store)
    try:
        os.unlink(f"{directory}/{layers.RECORD}")
        os.rmdir(directory)
    except OSError as e:
        raise Error("remove the bundle", call=f"rmdir {directory}", errno=e.errno) from None


def _convert(image: Image, config: Config, args: Sequence[str], passwd: str, group: str) -> None:
    try:
        convert.apply(config, image.config, args, passwd, group)
        load(strictjson.dumps(config).encode())
    except Invalid as e:
        raise ConfigError(e.faults, "the image's config makes a wrong one") from None
    except (AttributeError, TypeError, ValueError) as e:
        detail = f"the image's config has not the form of one: {type(e).__name__} {e}"
        raise Error("make the bundle", detail=detail) from None


def _unpack(image: Image, say: Say, layer: Layer, root: str, options: str) -> None:
    which = f"layer {image.layers.index(layer) + 1} of {len(image.layers)}"
    command = [sys.executable, "-IS", unpack.__file__, root, options]
    if os.geteuid():
        command += [str(os.geteuid()), str(os.getegid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stderr
        done = 0
        try:
            for piece in image.tar_of(layer):
                process.stdin.write(piece)
                done += len(piece)
                say(f"{which}: {done >> 20} MiB")
            process.stdin.close()
        except BrokenPipeError:
            pass  # it says why
        except BaseException:
            process.kill()
            raise
        said = process.stderr.read().decode(errors="replace").strip()
        if code := process.wait():
            kind = NoOverlayError if code == unpack.NO_OVERLAY else Error
            raise kind("unpack the image", detail=f"layer {layer.name}: {said or f'status {code}'}")


def _verify(image: Image, say: Say, layer: Layer) -> None:
    """What is there already is used, if the image holds it."""
    say(f"layer {image.layers.index(layer) + 1} of {len(image.layers)}: is there already")
    for _ in image.tar_of(layer):
        continue


def _file(root: str, name: str) -> str:
    """/etc/NAME of the image; "" when it has none, or one that is no plain file in a plain directory."""
    try:
        etc = os.open(f"{root}/etc", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            # Looked at before it is opened: a device of the image's is one of the host's.
            looked = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=etc)
        finally:
            os.close(etc)
        try:
            if not stat.S_ISREG(os.fstat(looked).st_mode):
                return ""
            with open(f"/proc/self/fd/{looked}", "rb") as file:
                return file.read(_PASSWD).decode(errors="replace")
        finally:
            os.close(looked)
    except OSError:
        return ""
