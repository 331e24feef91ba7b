"""Which release this is: by git's tag where there is one, else by runtime/version.py, which names the next one.

usage: python3 -I -S release.py semver|pep440|debian    prints its version
       python3 -I -S release.py write FILE              runtime/version.py as it is built and installed

At a tag v1.2.3 it is that. Elsewhere it is on the way to the next: the one that runtime/version.py names, or a patch
more than the last tag where that is behind; with the number of commits since the tag (without one: of all), and the
commit. A tree without git, as of an sdist or an archive, says what was written into its runtime/version.py when it was
made. No command asks git: what it prints was written by whoever built it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TAGS = ("--tags", "--match", "v[0-9]*.[0-9]*.[0-9]*", "--exclude", "*-*")
_DESCRIBED = re.compile(r"(?:v(\d+\.\d+\.\d+)-(\d+)-g)?([0-9a-f]{40,64})(-dirty)?")
_WRITTEN = re.compile(r'VERSION = "(\d+\.\d+\.\d+)(?:-dev\.(\d+))?(?:\+[\w.]+)?"\n')
_COMMIT = re.compile(r'_COMMIT = "(?:([0-9a-f]{40,64})(-dirty)?|.*)"\n')


class Release(NamedTuple):
    """number: of the release. count: of commits on the way to it, None when this is it. changed: the tree is not quite
    that commit's, which is "" where it is not known."""

    number: str
    count: int | None
    commit: str
    changed: bool

    def semver(self) -> str:
        return self._form("-dev.")

    def pep440(self) -> str:
        return self._form(".dev")

    def debian(self) -> str:
        """`~` sorts before everything, the end too."""
        return self._form("~dev")

    def _form(self, way: str) -> str:
        if self.count is None:
            return self.number
        where = f"+g{self.commit[:9]}{'.dirty' if self.changed else ''}" if self.commit else ""
        return f"{self.number}{way}{self.count}{where}"


def release(checkout: str = CHECKOUT) -> Release:
    """Raises SystemExit where tag and file name two releases."""
    source = _source(checkout)
    written, commit = _WRITTEN.search(source), _COMMIT.search(source)
    if not written or not commit:
        raise SystemExit(f"{checkout}/runtime/version.py: there is no version")
    described = _DESCRIBED.fullmatch(_described(checkout))
    if not described:
        count = int(written[2]) if written[2] else None
        return Release(written[1], count, commit[1] or "", bool(commit[2]))
    tag, since, there, dirty = described[1], described[2], described[3], bool(described[4])
    if not tag:
        return Release(written[1], int(_git(checkout, "rev-list", "--count", "HEAD")), there, dirty)
    if since == "0" and not dirty:
        if tag != written[1]:
            raise SystemExit(f"the tag is v{tag}, and runtime/version.py says {written[1]}")
        return Release(tag, None, there, dirty)
    major, minor, patch = _numbers(tag)
    following = f"{major}.{minor}.{patch + 1}"
    return Release(max(written[1], following, key=_numbers), int(since), there, dirty)


def write(path: str, checkout: str = CHECKOUT) -> None:
    """runtime/version.py, with what is known. The file may be a link to the checkout's, which stays as it is."""
    found = release(checkout)
    commit = found.commit + ("-dirty" if found.changed else "")
    text = _WRITTEN.sub(f'VERSION = "{found.semver()}"\n', _source(checkout))
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, exist_ok=True)
    # Two at once, of a build here and one in a guest, write two files.
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=folder, delete=False) as file:
        file.write(_COMMIT.sub(f'_COMMIT = "{commit}"\n', text))
        os.fchmod(file.fileno(), 0o644)
    os.rename(file.name, path)


def when(checkout: str = CHECKOUT) -> int:
    """When the commit was made, in seconds since the epoch; now, where it is not known: two builds of one are alike."""
    return int(_git(checkout, "log", "-1", "--format=%ct") or time.time())


def _source(checkout: str) -> str:
    with open(f"{checkout}/runtime/version.py", encoding="utf-8") as file:
        return file.read()


def _described(checkout: str) -> str:
    """By git describe, or ""; the tree of an archive may lie in a repository of somebody else's."""
    if not os.path.samefile(_git(checkout, "rev-parse", "--show-toplevel") or "/", checkout):
        return ""
    return _git(checkout, "describe", *TAGS, "--always", "--long", "--dirty", "--abbrev=40")


def _git(checkout: str, *words: str) -> str:
    # Whoever runs make trusts the checkout, whosever it is.
    command = ["git", "--no-optional-locks", "-C", checkout, "-c", "safe.directory=*", *words]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    except OSError:  # no git
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def main() -> None:
    match sys.argv[1:]:
        case ["write", path]:
            write(path)
        case ["semver" | "pep440" | "debian" as form]:
            print(getattr(release(), form)())
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
