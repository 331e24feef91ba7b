"""The memory in an image. CRIU 4.1 waits for ever for what a file of pages lacks that has been cut short."""

from __future__ import annotations

import os
import struct
import sys
from typing import TYPE_CHECKING

from pyrun.criu.protobuf import decode
from pyrun.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of criu/include/magic.h, IMG_COMMON_MAGIC and PAGEMAP_MAGIC: what a pagemap file begins with. A head and the entries
# follow, each a message of images/pagemap.proto with its size before it.
_MAGIC = struct.pack("=II", 0x54564319, 0x56084025)
_HEAD = {"pages_id": (1, int)}
_ENTRY = {"nr_pages": (2, int), "flags": (4, int)}
# Of an entry's flags (criu/include/pagemap.h, PE_PRESENT): its pages are in this image, and not in the parent.
_PRESENT = 4


def require_whole(image: int, path: str) -> None:
    """All pages are there that the image of that descriptor, open at `path`, and its parents speak of. What has another
    form is CRIU's to judge. Raises Error."""
    opened: list[int] = []
    seen: set[tuple[int, int]] = set()
    try:
        while (identity := _identity(image)) not in seen:
            seen.add(identity)
            for name in sorted(os.listdir(image)):
                if name.startswith("pagemap-"):
                    _require_pages(image, path, name)
            image = os.open("parent", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=image)
            path += "/parent"
            opened.append(image)
    except FileNotFoundError:  # no more parents
        return
    except OSError as e:
        name = e.filename if isinstance(e.filename, str) else ""
        raise Error("read the image", call=f"open {path}/{name}".rstrip("/"), errno=e.errno) from None
    finally:
        for fd in opened:
            os.close(fd)


def _identity(directory: int) -> tuple[int, int]:
    status = os.fstat(directory)
    return status.st_dev, status.st_ino


def _require_pages(image: int, path: str, name: str) -> None:
    """Those that the pagemap file `name` speaks of."""
    with open(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=image), "rb") as file:
        raw = file.read()
    try:
        head, *messages = _messages(raw)
        pages = f"pages-{decode(head, _HEAD)['pages_id']}.img"
        entries = [decode(message, _ENTRY) for message in messages]
        count = sum(entry["nr_pages"] for entry in entries if entry.get("flags", 0) & _PRESENT)
    except (ValueError, KeyError):
        return
    needed = count * os.sysconf("SC_PAGESIZE")
    try:
        found = os.stat(pages, dir_fd=image).st_size
    except FileNotFoundError:  # CRIU says so, or has them from elsewhere (`criu lazy-pages`)
        return
    if found < needed:
        detail = f"{path}/{pages} has {found} bytes, and by {name} there are {needed}"
        raise Error("restore", detail=detail, hint="the image is cut short: copy it again")


def _messages(raw: bytes) -> Iterator[bytes]:
    """Those of a pagemap file. Raises ValueError where it is none, or is cut short itself."""
    if not raw.startswith(_MAGIC):
        raise ValueError("no pagemap")
    at = len(_MAGIC)
    while at < len(raw):
        start = at + 4
        at = start + int.from_bytes(raw[at:start], sys.byteorder)
        if at > len(raw):
            raise ValueError("cut short")
        yield raw[start:at]
