"""pyrun bundle IMAGE DIR [-- ARGS...]: a bundle of an image in a file; and what becomes of it."""

from __future__ import annotations

import os

from pyrun.cgroups.host import host
from pyrun.cli._screen import Screen
from pyrun.cli.parse import UsageError
from pyrun.container.bundle import absolute
from pyrun.errors import Error
from pyrun.images import bundle
from pyrun.images.layers import NoOverlayError, Store
from pyrun.images.signature import signer
from pyrun.images.source import Image
from pyrun.spec.example import example

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values

# Not below /run, which is memory.
_LAYERS = "/var/lib/pyrun/layers"
_CLEAR = "\r\x1b[K"
# Arguments that each of the options takes which are verbs.
_VERBS = {"rm": 1, "mount": 1, "prune": 0}


def run(context: Context, values: Values, arguments: list[str]) -> int:
    verbs = [verb for verb in _VERBS if values[verb]]
    fits = len(arguments) == _VERBS[verbs[0]] and len(verbs) == 1 if verbs else len(arguments) >= 2
    if not fits:
        raise UsageError("bundle", "IMAGE DIR [ARGS...], or --rm DIR, or --mount DIR, or --prune")
    store = absolute(values.text("layers")) if values["layers"] else _LAYERS
    if values["prune"]:
        with Store(store, alone=True) as opened:
            print(f"removed: {len(opened.prune())}")
            for directory, layers in opened.bundles():
                if not os.path.lexists(directory):
                    print(f"kept: {len(layers)} of {directory}, which is not there; `--rm {directory}` forgets it")
    elif values["mount"]:
        bundle.mount(absolute(arguments[0]))
    elif values["rm"]:
        directory = absolute(arguments[0])
        if os.path.lexists(directory) or not bundle.forget(directory, store):
            bundle.remove(directory)
    else:
        _make(context, values, arguments, store)
    return 0


def _make(context: Context, values: Values, arguments: list[str], store: str) -> None:
    name, directory, *args = arguments
    args = args[args[:1] == ["--"] :]
    screen = Screen(context.caller.environ, 2)

    def say(words: str) -> None:
        if screen.terminal:
            os.write(2, f"{_CLEAR}{words}".encode())

    image = Image.at(absolute(name))
    signed = bool(values["signature"])
    if signed != bool(values["keyring"]):
        raise Error("--signature takes a --keyring to judge it by, and the other way round")
    by = signer(absolute(values.text("signature")), values.text("keyring"), image.manifest) if signed else ""

    def made(store: str) -> None:
        config = example(os.geteuid() != 0, host().mode == "v2", os.geteuid(), os.getegid())
        config["process"]["terminal"] = values.flag("tty")
        try:
            bundle.make(image, absolute(directory), args, config, store, say, by)
        finally:
            say("")

    if values["copy"] or os.geteuid():
        made("")
        return
    try:
        made(store)
    except NoOverlayError as e:
        if values["layers"]:
            raise
        context.caller.log.warning(f"the bundle gets a copy of all: {e}")
        made("")
