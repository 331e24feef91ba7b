"""A failure's record: written when a command fails, in a place that holds the last of them, and read by `explain`.

It has what is gone by the time that somebody asks: under a manager the bundle is removed with the container. It has no
environment, and no more of the config than the part that the error is about.
"""

from __future__ import annotations

import posix
import re
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
_SHORT, _FAULTS, _DEPTH = 500, 20, 20
_SECRET = re.compile(
    r"""((?:pass(?:word|wd)?\d?|secret|credentials?|key)(?:=|\\?", \\?"))[^"',\\\s:)]+""", re.IGNORECASE
)
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
        "error": _masked(_told(error))[:_EXCERPT],
        "fields": {key: _masked(value)[:_EXCERPT] for key, value in fields.items() if not _of_environment(pointer)},
        "part": (place := _place(pointer)),
        "value": excerpt(document, place),
        "faults": _faults(error),
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
            try:
                fd = open_file(name, directory, folder)
            except FileNotFoundError:  # swept meanwhile
                continue
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
            try:
                fd = open_file(file, directory, folder)
                try:
                    raw = read_all(fd)
                finally:
                    posix.close(fd)
                if name in ("", _id(raw)):
                    posix.unlink(file, dir_fd=directory)
                    count += 1
            except FileNotFoundError:  # swept meanwhile
                continue
    finally:
        posix.close(directory)
    return count


def excerpt(document: Any, pointer: str) -> str:
    """What stands at the pointer, or nearest above it, as JSON, without the environment; "" when that is the place."""
    value = document
    if _of_environment(pointer):
        return ""
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
    text = _masked(strictjson.dumps(_without_environment(value, _DEPTH)))
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


def _of_environment(pointer: str) -> bool:
    return "env" in pointer.split("/")


def _without_environment(value: Any, depth: int) -> Any:
    if not depth:
        return "..."
    if isinstance(value, dict):
        return {k: "..." if k == "env" else _without_environment(v, depth - 1) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_environment(member, depth - 1) for member in value]
    return value


def _masked(text: str) -> str:
    """Without what a mount option's name says is secret, as an option or as an operand of fsconfig."""
    return _SECRET.sub(r"\1...", text)


def _faults(error: Error) -> list[tuple[str, str]]:
    if not isinstance(error, ConfigError):
        return []
    return [
        (f.pointer[:_SHORT], "..." if _of_environment(f.pointer) else _masked(f.problem)[:_SHORT])
        for f in error.faults[:_FAULTS]
    ]


def _told(error: Error) -> str:
    """The error's line; of a config that is wrong without what it says of the environment's values."""
    if not isinstance(error, ConfigError) or not any(_of_environment(f.pointer) for f in error.faults):
        return str(error)
    return "; ".join(f"{pointer}: {problem}" for pointer, problem in _faults(error))


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
                "what": _masked(describe(instruction))[:_SHORT],
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
