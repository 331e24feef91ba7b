"""Will the kernel execute a file of the root? By what it looks at: the header of ELF, or a first line with #!
(execve(2), elf(5), fs/binfmt_elf.c, fs/binfmt_script.c)."""

from __future__ import annotations

import os
import platform
from struct import Struct, error
from typing import TYPE_CHECKING

from pyrun.spec.faults import show

if TYPE_CHECKING:
    from collections.abc import Callable

    # Where a path of the container lies on the host; "" when nobody may execute what is there, None when it can't be
    # known: something is mounted over it.
    Place = Callable[[str], "str | None"]

_ELF, _SCRIPT = b"\x7fELF", b"#!"
_HEADER = {1: Struct("<16sHHIIIIIHHH"), 2: Struct("<16sHHIQQQIHHH")}  # up to e_phnum
_PROGRAM = {1: Struct("<IIIII"), 2: Struct("<IIQQQQ")}  # up to p_filesz
_PT_INTERP = 3
# EM_* that each machine executes by itself
_MACHINES = {"x86_64": {62: "x86_64", 3: "i386"}, "aarch64": {183: "aarch64", 40: "arm"}}
_NAMES = {
    3: "i386",
    8: "mips",
    20: "ppc",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv",
}
_LINE = 255  # BINPRM_BUF_SIZE without its end
_DEPTH = 5  # of scripts whose interpreter is a script


def trouble(path: str, place: Place, depth: int = _DEPTH) -> str:
    """What the kernel will say no to, in words to be read after the file's name; "" when all is well, or not known."""
    at = place(path)
    if not at:
        return "" if at is None else "is not there, or is not executable"
    try:
        with open(at, "rb") as file:
            head = file.read(4096)
    except OSError:  # not for us to read; for the kernel it may be
        return ""
    if head.startswith(_ELF):
        return _of_elf(head, place)
    if head.startswith(_SCRIPT):
        return _of_script(head, place, depth)
    return "is empty" if not head else "is neither an ELF executable nor a script that begins with #!"


def _of_elf(head: bytes, place: Place) -> str:
    try:
        kind = head[4]
        fields = _HEADER[kind].unpack_from(head)
    except (error, IndexError, KeyError):
        return "has no whole ELF header"
    machine, first, size, count = fields[2], fields[5], fields[9], fields[10]
    here = _MACHINES.get(platform.machine(), {})
    if here and machine not in here and not _emulated():
        return f"is built for {_NAMES.get(machine, f'machine {machine}')}, and this is {platform.machine()}"
    for i in range(count):
        try:
            values = _PROGRAM[kind].unpack_from(head, first + i * size)
        except error:
            break
        offset, length = (values[1], values[4]) if kind == 1 else (values[2], values[5])
        if values[0] == _PT_INTERP:
            loader = head[offset : offset + length].rstrip(b"\0").decode(errors="replace")
            if loader and place(loader) == "":
                return f"needs the loader {show(loader)}, which is not in the root"
    return ""


def _of_script(head: bytes, place: Place, depth: int) -> str:
    line = head[2:].split(b"\n", 1)[0][: _LINE - 2]
    if line.endswith(b"\r"):
        return "has a first line that ends with a carriage return: the kernel takes it for part of the name"
    words = line.split(None, 1)
    if not words:
        return "has a first line that names no interpreter"
    interpreter = words[0].decode(errors="replace")
    if not interpreter.startswith("/"):
        return ""  # from the working directory on
    if not depth:
        return "has interpreters that are scripts, too many one behind the other"
    what = trouble(interpreter, place, depth - 1)
    return f"is a script whose interpreter {show(interpreter)} {what}" if what else ""


def _emulated() -> bool:
    """Others' executables may be run by emulation (binfmt_misc)."""
    try:
        return any(name not in ("register", "status") for name in os.listdir("/proc/sys/fs/binfmt_misc"))
    except OSError:
        return False
