"""Files that are cut off, mistaken, or no files at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from .world import World

_IN_THE_STORE = ("state.json", "state.json", "state.json", "pyrun-config.json", "exec.fifo", "exec.status")
_VERBS: tuple[tuple[str, ...], ...] = (
    ("state", "ID"),
    ("list",),
    ("start", "ID"),
    ("exec", "ID", "true"),
    ("update", "--pids-limit", "99", "ID"),
    ("ps", "ID"),
    ("events", "--stats", "ID"),
    ("kill", "ID", "TERM"),
    ("delete", "ID"),
)
_STRANGE: tuple[Any, ...] = (None, True, -1, 0, 1 << 70, 0.5, "", "\0", "/", "a" * 5000, [], [[]], {}, {"": 0})


def store(world: World, random: Random, number: int) -> None:
    """A file of a container's directory: created or running, every verb has to do with it."""
    name = world.new(kind=number, brief=False)
    world.prepare("create", *world.bundle(name), name)
    if random.random() < 0.5:
        world.prepare("start", name)
    directory = world.root / name
    victim = directory / random.choice([name for name in _IN_THE_STORE if (directory / name).exists()])
    _spoil(world, random, number, victim)
    for words in _VERBS:
        world.run(*world.words(name, words))


def beside(world: World, random: Random, number: int) -> None:
    """The config, or the process of an exec, or the limits of an update."""
    name = world.new(kind=number, brief=True)
    config = world.home / f"{name}.json"
    whole = config.read_text()
    _spoil(world, random, number, config)
    world.run("run", *world.bundle(name), name)
    _remove(config)
    config.write_text(whole.replace('"true"', '"sleep", "100000"'))
    world.prepare("run", "--detach", *world.bundle(name), name)
    document = json.loads(whole)
    for member, words in (("process", ("exec", "--process", "FILE", name)), ("linux", ("update", "-r", "FILE", name))):
        file = world.home / "document"
        file.write_text(json.dumps(document[member] if member == "process" else document["linux"].get("resources", {})))
        _spoil(world, random, number, file)
        world.run(*(str(file) if word == "FILE" else word for word in words))
        _remove(file)


def _spoil(world: World, random: Random, number: int, file: Path) -> None:
    names = list(WAYS)
    way = names[number % len(names)]
    world.note(f"{file.name}: {way}")
    WAYS[way](file, random)


def _cut(file: Path, random: Random) -> None:
    raw = _content(file)
    _replace(file, raw[: random.randrange(len(raw) + 1)])


def _flip(file: Path, random: Random) -> None:
    raw = bytearray(_content(file))
    for _ in range(random.choice((1, 3, 30))):
        if raw:
            raw[random.randrange(len(raw))] = random.randrange(256)
    _replace(file, bytes(raw))


def _mistake(file: Path, random: Random) -> None:
    """A value anywhere in the document becomes another one."""
    try:
        document = json.loads(_content(file))
    except ValueError:
        return _flip(file, random)
    places = list(_places(document))
    holder, key = random.choice(places)
    if random.random() < 0.2:
        del holder[key]
    else:
        holder[key] = random.choice(_STRANGE)
    _replace(file, json.dumps(document).encode())
    return None


def _places(value: Any) -> list[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


def _fifo(file: Path, random: Random) -> None:
    file.unlink()
    os.mkfifo(file)


def _link(file: Path, random: Random) -> None:
    file.unlink()
    file.symlink_to(random.choice(("/dev/zero", "/dev/null", file.name, "nowhere", "/proc/self/mem", "/")))


def _directory(file: Path, random: Random) -> None:
    file.unlink()
    file.mkdir()


def _endless(file: Path, random: Random) -> None:
    _replace(file, b"")
    os.truncate(file, 1 << 32)


def _gone(file: Path, random: Random) -> None:
    file.unlink()


WAYS: dict[str, Callable[[Path, Random], None]] = {
    "cut off": _cut,
    "a wrong value": _mistake,
    "wrong bytes": _flip,
    "a fifo": _fifo,
    "another wrong value": _mistake,
    "a symlink": _link,
    "a directory": _directory,
    "four gigabytes": _endless,
    "gone": _gone,
}


def _remove(file: Path) -> None:
    if file.is_dir() and not file.is_symlink():
        file.rmdir()
    else:
        file.unlink(missing_ok=True)


def _content(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""


def _replace(file: Path, raw: bytes) -> None:
    mode = file.stat().st_mode & 0o777
    file.unlink()
    file.write_bytes(raw)
    file.chmod(mode)
