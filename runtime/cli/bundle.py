"""pyrun bundle IMAGE DIR [-- ARGS...]: a bundle of an image in a file."""

from __future__ import annotations

import os

from pyrun.cgroups.host import host
from pyrun.container.bundle import absolute
from pyrun.images.bundle import make
from pyrun.images.source import Image
from pyrun.spec.example import example

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    image, directory, *args = arguments
    args = args[args[:1] == ["--"] :]
    path, name = absolute(image), ""
    while not os.path.lexists(path) and ":" in path:
        path, _, last = path.rpartition(":")
        name = f"{last}:{name}" if name else last
    config = example(os.geteuid() != 0, host().mode == "v2", os.geteuid(), os.getegid())
    config["process"]["terminal"] = values.flag("tty")
    make(Image(path, name), absolute(directory), args, config)
    return 0
