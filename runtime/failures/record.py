"""A failure's record: written when a command fails, in a place that holds the last of them, and read by `explain`.

It has what is gone by the time that somebody asks: under a manager the bundle is removed with the container. It has no
environment, and no more of the config than the part that the error is about.
"""

from __future__ import annotations

import posix
import resource
import time
from typing import TYPE_CHECKING, Any, TypedDict

from pyrun.errors import ConfigError
from pyrun.kernel.files import read_all, read_bytes
from pyrun.kernel.kept import keep, newest_first
from pyrun.kernel.ownership import open_file, open_owned
from pyrun.machine.listing import describe
from pyrun.spec import strictjson
from pyrun.spec.faults import Invalid
from pyrun.version import VERSION

if TYPE_CHECKING:
    from pyrun.errors import Error

MOST = 32
_FORMAT = 1
_EXCERPT = 4096
# Instructions before and after the one that failed.
_BEFORE, _AFTER = 4, 2


class Step(TypedDict):
    """number: of the instruction in its program. what: as a listing shows it; pointer: what asked for it. failed: it is
    the one."""

    number: int
    what: str
    pointer: str
    failed: bool


class Record(TypedDict):
    """when: seconds since the epoch. verb: the command. error: the line that it ended with; fields: its parts, as the
    JSON log has them. part: pointer of the part of the config that it is about, value: what stands there, as JSON.
    faults: of an invalid config, pointer and problem of each. steps: those around the one that failed, of `total`.
    host: what there was."""

    format: int
    when: float
    id: str
    verb: str
    version: str
    bundle: str
    error: str
    fields: dict[str, str]
    part: str
    value: str
    faults: list[tuple[str, str]]
    steps: list[Step]
    total: int
    host: dict[str, str]


def remember(folder: str, verb: str, name: str, bundle: str, document: Any, error: Error) -> None:
    """Keep it. folder: where; "": nowhere. document: the config, of any shape, None when it could not be read. Raises
    Error or OSError."""
    if not folder:
        return
    fields = error.fields()
    pointer = fields.get("pointer", "")
    record: Record = {
        "format": _FORMAT,
        "when": time.time(),
        "id": name,
        "verb": verb,
        "version": VERSION,
        "bundle": bundle,
        "error": str(error),
        "fields": fields,
        "part": (place := _place(pointer)),
        "value": excerpt(document, place),
        "faults": [(f.pointer, f.problem) for f in error.faults] if isinstance(error, ConfigError) else [],
        "steps": _steps(error),
        "total": len(error.step[0].instructions) if error.step else 0,
        "host": _host(),
    }
    directory = open_owned(folder, make=True)
    try:
        keep(directory, str(time.time_ns()), strictjson.dumps(record).encode(), MOST)
    finally:
        posix.close(directory)


def records(folder: str) -> list[Record]:
    """What is kept, the newest first. Raises Error or OSError."""
    found = []
    try:
        directory = open_owned(folder)
    except FileNotFoundError:
        return []
    try:
        for name in newest_first(directory):
            fd = open_file(name, directory, folder)
            try:
                record = strictjson.loads(read_all(fd))
            except Invalid:  # cut short by a crash of the machine
                continue
            finally:
                posix.close(fd)
            if isinstance(record, dict) and record.get("format") == _FORMAT:
                found.append(record)
    finally:
        posix.close(directory)
    return found  # type: ignore[return-value]


def forget(folder: str, name: str = "") -> int:
    """Remove what is kept of the container `name`, "": of all; returns how many that were. Raises Error or OSError."""
    count = 0
    try:
        directory = open_owned(folder)
    except FileNotFoundError:
        return 0
    try:
        for file in newest_first(directory):
            fd = open_file(file, directory, folder)
            raw = read_all(fd)
            posix.close(fd)
            if name in ("", _id(raw)):
                posix.unlink(file, dir_fd=directory)
                count += 1
    finally:
        posix.close(directory)
    return count


def excerpt(document: Any, pointer: str) -> str:
    """What stands at the pointer, or nearest above it, as JSON; of the environment only the names."""
    value = document
    for name in pointer.split("/")[1:]:
        name = name.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            break
    if value is document:
        return ""
    if pointer.startswith("/process/env"):
        lines = value if isinstance(value, list) else [value]
        value = [str(line).partition("=")[0] + "=..." for line in lines]
    elif isinstance(value, dict) and "env" in value:
        value = {**value, "env": "..."}
    text = strictjson.dumps(value)
    return text if len(text) <= _EXCERPT else text[:_EXCERPT] + "…"


def _place(pointer: str) -> str:
    """What of the config is worth to be shown: an item of a list whole, and all of what has a few members."""
    names = pointer.split("/")
    if names[1:3] == ["process", "args"]:
        return "/process/args"
    for i, name in enumerate(names):
        if name.isdigit():
            return "/".join(names[: i + 1])
    return "/".join(names[:4])


def _id(raw: bytes) -> str:
    try:
        return str(strictjson.loads(raw).get("id"))
    except (Invalid, AttributeError):
        return ""


def _steps(error: Error) -> list[Step]:
    if not error.step:
        return []
    program, failed, caller = error.step
    found: list[Step] = []
    for number in range(max(0, failed - _BEFORE), min(failed + _AFTER + 1, len(program.instructions))):
        instruction = program.resolve(number, caller)
        found.append(
            {
                "number": number,
                "what": describe(instruction),
                "pointer": instruction.pointer,
                "failed": number == failed,
            }
        )
    return found


def _host() -> dict[str, str]:
    """What a failure may have to do with."""
    system = posix.uname()
    wanted = {"Uid": "uid", "CapEff": "capabilities", "NoNewPrivs": "noNewPrivileges", "Seccomp": "seccomp"}
    found = {"kernel": f"{system.release} {system.machine}"}
    for line in read_bytes("/proc/self/status").decode().splitlines():
        name, _, value = line.partition(":")
        if name in wanted:
            found[wanted[name]] = value.split()[0]
    for line in read_bytes("/proc/meminfo").decode().splitlines():
        if line.startswith("MemAvailable:"):
            found["available"] = " ".join(line.split()[1:])
    found["open files"] = " of ".join(map(str, resource.getrlimit(resource.RLIMIT_NOFILE)))
    return found
