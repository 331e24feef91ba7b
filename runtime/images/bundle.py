"""From an image to a bundle in a directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from pyrun.errors import Error
from pyrun.images import convert, unpack
from pyrun.images.source import Image
from pyrun.spec import strictjson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrun.spec.config import Config

_PASSWD = 1 << 20


def make(image: Image, directory: str, args: Sequence[str], config: Config) -> None:
    """Unpack it into DIRECTORY/rootfs, and write config.json beside it: `config`, with what the image says. The
    directory must not be there, or be empty. Raises Error, and leaves nothing behind."""
    try:
        os.makedirs(directory, exist_ok=True)
        if os.listdir(directory):
            raise Error("make the bundle", detail=f"{directory} is not empty", hint="name a new directory")
        root = f"{directory}/rootfs"
        os.mkdir(root, 0o755)
    except OSError as e:
        raise Error("make the bundle", call=f"mkdir {directory}", errno=e.errno) from None
    try:
        for layer in image.layers:
            _unpack(image, layer, root)
        passwd, group = (_file(root, name) for name in ("passwd", "group"))
        convert.apply(config, image.config, args, passwd, group)
        with open(f"{directory}/config.json", "w", encoding="utf-8") as file:
            file.write(strictjson.dumps(config, indent=4) + "\n")
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _unpack(image: Image, layer: Any, root: str) -> None:
    command = [sys.executable, "-IS", unpack.__file__, root]
    if os.geteuid():
        command += [str(os.geteuid()), str(os.getegid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stderr
        try:
            for piece in image.tar_of(layer):
                process.stdin.write(piece)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it says why
        except BaseException:
            process.kill()
            raise
        said = process.stderr.read().decode(errors="replace").strip()
        if process.wait():
            raise Error("unpack the image", detail=f"layer {layer.name}: {said or f'status {process.returncode}'}")


def _file(root: str, name: str) -> str:
    """/etc/NAME of the image; "" when it has none, or one that is no plain file in a plain directory."""
    try:
        etc = os.open(f"{root}/etc", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=etc)
        finally:
            os.close(etc)
        with open(fd, "rb") as file:
            return file.read(_PASSWD).decode(errors="replace")
    except OSError:
        return ""
