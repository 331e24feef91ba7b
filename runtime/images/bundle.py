"""From an image to a bundle in a directory."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from pyrun.errors import ConfigError, Error
from pyrun.images import convert, unpack
from pyrun.images.source import Image
from pyrun.spec import strictjson
from pyrun.spec.config import load
from pyrun.spec.faults import Invalid

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
        os.chmod(directory, 0o700)  # what an image has of setuid programs and devices is not for others
        for layer in image.layers:
            _unpack(image, layer, root)
        passwd, group = (_file(root, name) for name in ("passwd", "group"))
        _convert(image, config, args, passwd, group)
        with open(f"{directory}/config.json", "w", encoding="utf-8") as file:
            file.write(strictjson.dumps(config, indent=4) + "\n")
    except BaseException:
        # A layer may be deeper than Python recurses.
        subprocess.run(["rm", "-rf", "--one-file-system", "--", directory], capture_output=True, check=False)
        raise


def _convert(image: Image, config: Config, args: Sequence[str], passwd: str, group: str) -> None:
    try:
        convert.apply(config, image.config, args, passwd, group)
        load(strictjson.dumps(config).encode())
    except Invalid as e:
        raise ConfigError(e.faults, "the image's config makes a wrong one") from None
    except (AttributeError, TypeError, ValueError) as e:
        detail = f"the image's config has not the form of one: {type(e).__name__} {e}"
        raise Error("make the bundle", detail=detail) from None


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
