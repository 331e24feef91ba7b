"""Do the file systems know the options that mounts hand to them? The kernel is asked (fsopen(2), fsconfig(2)): a
context for a new file system judges each parameter as it comes, and goes again without anything having been made."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

from pyrun.kernel.constants import FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSOPEN_CLOEXEC
from pyrun.kernel.syscalls import here, numbers
from pyrun.spec.faults import Fault, show
from pyrun.spec.mount_options import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.spec.config import Config

# Those that are part of every kernel, and whose contexts judge at once. Others may have to be loaded first.
_JUDGES = ("devpts", "mqueue", "proc", "sysfs", "tmpfs")


def faults(config: Config) -> Iterator[Fault]:
    """For root: others may not ask."""
    for i, mount in enumerate(config.get("mounts", [])):
        kind, options = mount.get("type", ""), parse(mount.get("options", []))
        if kind not in _JUDGES or options.bind or options.remount:
            continue
        fs = _call("fsopen", kind.encode(), FSOPEN_CLOEXEC)
        if fs < 0:
            continue
        try:
            for index, key, value in options.data:
                command, text = (FSCONFIG_SET_FLAG, None) if value is None else (FSCONFIG_SET_STRING, value.encode())
                if _call("fsconfig", fs, command, key.encode(), text, 0) < 0:
                    problem = f"{kind} does not take {show(mount['options'][index])}"
                    yield Fault(f"/mounts/{i}/options/{index}", problem, hint=_words(fs))
        finally:
            os.close(fs)


def _call(name: str, *operands: object) -> int:
    libc = ctypes.CDLL(None)
    result: int = libc.syscall(numbers(here())[name], *operands)
    return result


def _words(fs: int) -> str:
    """What the kernel says of it: one line a read, after a letter and a space."""
    try:
        return os.read(fs, 1024).decode(errors="replace")[2:].strip()
    except OSError:
        return ""
