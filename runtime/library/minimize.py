"""Which capabilities a program needs: it is run without each of them in turn."""

from __future__ import annotations

import os
import select
import subprocess
import time
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from pyrun.errors import Error
from pyrun.library.container import Container
from pyrun.spec.capabilities import SETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.library.bundle import Bundle

_TAIL = 4096


class Trial(NamedTuple):
    """A capability, whether the program needs it, how it ended without, and its last words."""

    capability: str
    needed: bool
    how: str
    why: str


def minimize(bundle: Bundle, *, timeout: float | None = None, root: str = "", systemd: bool = False) -> Iterator[Trial]:
    """Run the bundle's program as it is, then without each of its capabilities. In the end the config of `bundle`, but
    not its file, has only those that are needed. Each run starts from the files that the last one left.

    timeout: of one run, in seconds. root, systemd: as of Container.create. Raises Error for a program that can't be
    run, or does not end by itself, or not twice in the same way."""
    with TemporaryDirectory(prefix="pyrun-") as directory:
        tried = bundle.copy(directory)
        tried.config["process"]["terminal"] = False
        yield from _trials(tried, timeout, root, systemd)
    if "capabilities" in bundle.config["process"]:
        bundle.config["process"]["capabilities"] = tried.config["process"]["capabilities"]


def _trials(bundle: Bundle, timeout: float | None, root: str, systemd: bool) -> Iterator[Trial]:
    try:
        wanted, again = (_status(bundle, timeout, root, systemd) for _ in range(2))
    except TimeoutError:
        hint = "let it run its tests in place of its service"
        raise Error("run the program", detail=f"it has not ended within {timeout:g} s", hint=hint) from None
    if wanted[0] != again[0]:
        raise Error("run the program twice", detail=f"it ended with {wanted[0]}, then with {again[0]}")
    for capability in _names(bundle):
        without = bundle.copy(bundle.path)
        sets = without.config["process"]["capabilities"]
        for kind in SETS:
            if kind in sets:
                sets[kind] = [name for name in sets[kind] if name != capability]
        try:
            how, why = _status(without, timeout, root, systemd)
        except TimeoutError:
            how, why = "no end", ""
        except Error as e:
            how, why = "no start", str(e)
        if how == wanted[0]:
            bundle.config = without.config
        yield Trial(capability, how != wanted[0], how, why)


def _names(bundle: Bundle) -> list[str]:
    sets = bundle.config["process"].get("capabilities", {})
    return sorted({name for kind in SETS for name in sets.get(kind, ())})


def _status(bundle: Bundle, timeout: float | None, root: str, systemd: bool) -> tuple[str, str]:
    """How it ended, by which two runs are compared, and the last line that it wrote to stderr, which may hold the time
    of day. Of what it writes no more is kept."""
    null = subprocess.DEVNULL
    with Container.create(
        bundle, root=root, systemd=systemd, stdin=null, stdout=null, stderr=subprocess.PIPE
    ) as container:
        container.start()
        init = container.init
        assert init and init.stderr
        end = None if timeout is None else time.monotonic() + timeout
        said = _tail(init.stderr.fileno(), end)
        code = init.wait(None if end is None else max(end - time.monotonic(), 0))
    lines = said.decode(errors="replace").split("\n")
    return f"exit status {code}", next((line for line in reversed(lines) if line.strip()), "")


def _tail(fd: int, end: float | None) -> bytes:
    """The last of what is written there until it is closed. Raises TimeoutError."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    said = b""
    while True:
        if not poll.poll(None if end is None else max(end - time.monotonic(), 0) * 1000):
            raise TimeoutError
        piece = os.read(fd, _TAIL)
        if not piece:
            return said
        said = (said + piece)[-_TAIL:]
