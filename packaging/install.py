"""Put pyrun in place, or take it away, so that at every moment either the old one or the new one works whole.

usage: python3 -I -S install.py install DESTDIR PREFIX LIBRARY PYTHON [ENGINE]
       python3 -I -S install.py uninstall DESTDIR PREFIX LIBRARY

    PREFIX/bin/pyrun    a symlink into the directory that it starts from; replaced last, by rename(2)
    LIBRARY/N           the Nth install's directory: never written again once bin/pyrun has named it
    LIBRARY/N/launcher  starts a Python with the modules that lie beside it
    LIBRARY/N/image     with ENGINE: starts with those of the hot verbs in memory (packaging/image)

The directory that bin/pyrun named until now stays until the next install: commands that it has started import what they
need when they need it. One that still runs then (`run` lives as long as its container) holds a lock on its directory
(runtime/cli/main.py), and that directory stays until an install finds it free. What an interrupted install has left has
a higher number than the one that bin/pyrun names; the next install begins by removing it.
"""

from __future__ import annotations

import compileall
import fcntl
import os
import py_compile
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import release
from link import LATER

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGES = {"runtime": "pyrun", "spec": "pyrun/spec", "hooks": "pyrun/hooks"}
TEMPORARY = ".pyrun.new"  # beside bin/pyrun


def install(destination: str, prefix: str, library: str, python: str, engine: str = "") -> None:
    launcher, place = f"{destination}{prefix}/bin/pyrun", destination + library
    os.makedirs(os.path.dirname(launcher), exist_ok=True)
    os.makedirs(place, exist_ok=True)
    with alone(place):
        old = named(launcher)
        new = max([old, *map(number, os.listdir(place))]) + 1
        remove(place, lambda n: n > old)
        try:
            fill(destination, f"{library}/{new}", python, engine)
            replace(launcher, f"{library}/{new}/{'image' if engine else 'launcher'}")
        except BaseException:
            # Unless bin/pyrun names it already.
            if named(launcher) != new:
                shutil.rmtree(f"{place}/{new}", ignore_errors=True)
            raise
        remove(place, lambda n: n < old)


def uninstall(destination: str, prefix: str, library: str) -> None:
    launcher, place = f"{destination}{prefix}/bin/pyrun", destination + library
    # Only where there is something: nothing is made to be taken away.
    with alone(place) if os.path.isdir(place) else nullcontext():
        for path in (launcher, f"{os.path.dirname(launcher)}/{TEMPORARY}"):
            with suppress(FileNotFoundError):
                os.unlink(path)
        # The lock last: whoever came while it is gone, and all else is not, would be inside as well.
        if os.path.isdir(place):
            remove(place, lambda n: True, used=True)
    with suppress(OSError):  # not empty, when an install has come
        os.rmdir(place)


@contextmanager
def alone(place: str) -> Iterator[None]:
    """One install at a time. The file is its owner's only, so that nobody else can hold an install up."""
    path = f"{place}/.lock"
    while True:
        os.makedirs(place, exist_ok=True)  # an uninstall may have been waited for
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            continue
        fcntl.flock(fd, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.lstat(path)):
                break
        os.close(fd)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)
        os.close(fd)


def number(name: str) -> int:
    """0 for what lies in LIBRARY itself: so it was before there were numbers."""
    return int(name) if name.isdecimal() else 0


def named(launcher: str) -> int:
    """The number of the directory that bin/pyrun starts from; 0 when there is none. Whichever way LIBRARY was written
    last time: a directory that is in use must not be taken for what an interrupted install has left."""
    try:
        if os.path.islink(launcher):
            found = re.search(r"/([0-9]+)/(image|launcher)$", os.readlink(launcher))
        else:  # a launcher itself, as it was at first
            with open(launcher, encoding="utf-8", errors="replace") as file:
                found = re.search(r'/([0-9]+)/pyrun"', file.read())
    except OSError:
        return 0
    return int(found[1]) if found else 0


def remove(place: str, wanted: Callable[[int], bool], *, used: bool = False) -> None:
    """What is in LIBRARY but the lock, by number; with `used` also what somebody runs from."""
    for name in os.listdir(place):
        path = f"{place}/{name}"
        if name == ".lock" or not wanted(number(name)):
            continue
        if not os.path.isdir(path) or os.path.islink(path):
            os.unlink(path)
        elif used or not in_use(path):
            shutil.rmtree(path)


def in_use(path: str) -> bool:
    """A command that was started from there is still running."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks
    finally:
        os.close(fd)
    return False


def fill(destination: str, library: str, python: str, engine: str) -> None:
    """The modules, the libraries that they use, the byte code of both, by the paths where they will lie, and what
    starts them."""
    place = destination + library
    for name, package in PACKAGES.items():
        copy(f"{CHECKOUT}/{name}", f"{place}/{package}")
    release.write(f"{place}/pyrun/version.py")
    copy(f"{CHECKOUT}/build/dependencies", f"{place}/dependencies")
    compiled = compileall.compile_dir(
        place,
        quiet=1,
        stripdir=destination or None,
        prependdir="/" if destination else None,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    if not compiled:
        raise SystemExit("install: not everything could be compiled")
    subprocess.run([sys.executable, "-IS", f"{CHECKOUT}/packaging/link.py", destination, library], check=True)
    write_launcher(f"{place}/launcher", python, library)
    if engine:
        build = [sys.executable, "-IS", f"{CHECKOUT}/packaging/image/build.py", "image", engine, f"{place}/image"]
        subprocess.run([*build, destination, library, f"{library}/launcher"], check=True)
    # Whatever modes the checkout has; and on the disk before bin/pyrun, which names it.
    for folder, _, files in os.walk(place):
        for path in (folder, *(f"{folder}/{name}" for name in files)):
            fd = os.open(path, os.O_RDONLY)
            os.fchmod(fd, 0o755 if os.fstat(fd).st_mode & 0o100 else 0o644)
            os.fsync(fd)
            os.close(fd)


def copy(source: str, target: str) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copy)


def write_launcher(path: str, python: str, library: str) -> None:
    with open(f"{CHECKOUT}/packaging/pyrun.in", encoding="utf-8") as file:
        text = file.read()
    values = {
        "HOT": str(tuple(LATER)),
        "PYTHON": python,
        "LIBRARY": library,
        "PATH": f'["{library}/pyrun"]',
        "DEPENDENCIES": f"{library}/dependencies",
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    with open(path, "x", encoding="utf-8") as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o755)


def replace(launcher: str, start: str) -> None:
    """Have bin/pyrun be a symlink to `start`. A command that has begun by the old one goes on by it."""
    temporary = f"{os.path.dirname(launcher)}/{TEMPORARY}"
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        os.symlink(start, temporary)
        os.rename(temporary, launcher)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def main() -> None:
    verb, *arguments = sys.argv[1:]
    os.umask(0o022)
    try:
        {"install": install, "uninstall": uninstall}[verb](*arguments)
    except (OSError, shutil.Error, subprocess.CalledProcessError) as e:
        raise SystemExit(f"{verb}: {e}") from None
    except KeyboardInterrupt:
        raise SystemExit(f"{verb}: interrupted") from None


if __name__ == "__main__":
    main()
