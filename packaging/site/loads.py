"""What the pages of a site load by themselves from other hosts: `python -m packaging.site.loads DIR` fails with a list.

Links that a reader follows are no such thing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

_TAG = re.compile(r"<(?:script|link|img|image|use|source|iframe|object|embed|video|audio|input)\b[^>]*>")
_ADDRESS = re.compile(r"""\b(?:src|srcset|href|data|poster)\s*=\s*["']?((?:https?:)?//[^"'\s>]+)""")
_STYLE = re.compile(r"""(?:url\(\s*["']?|@import\s+["'])((?:https?:)?//[^"')\s]+)""")
# A script can put an address together in more ways than can be listed, so it may name none, save in comments.
_COMMENT = re.compile(r"/\*.*?\*/|(?<![:\w'\"])//[^\n]*", re.DOTALL)
_NAMED = re.compile(r"https?://[\w.-]+")
# These are names, and no browser asks there.
_NAMES = ("http://www.w3.org",)


def elsewhere(site: Path) -> list[str]:
    """FILE: ADDRESS, of each."""
    files = sorted(file for file in site.rglob("*") if file.suffix in _FINDERS)
    return [f"{file.relative_to(site)}: {found}" for file in files for found in _FINDERS[file.suffix](file.read_text())]


def _of_page(text: str) -> Iterator[str]:
    for tag in _TAG.findall(text):
        yield from _ADDRESS.findall(tag)
    yield from _STYLE.findall(text)


def _of_style(text: str) -> Iterator[str]:
    yield from _STYLE.findall(text)


def _of_script(text: str) -> Iterator[str]:
    yield from (name for name in _NAMED.findall(_COMMENT.sub("", text)) if name not in _NAMES)


_FINDERS = {".html": _of_page, ".svg": _of_page, ".css": _of_style, ".js": _of_script}

if __name__ == "__main__":
    if lines := elsewhere(Path(sys.argv[1])):
        sys.exit("\n".join(["loaded from other hosts:", *lines]))
