"""The memory in an image. CRIU 4.1 waits for ever for what a file of pages lacks that has been cut short."""

from __future__ import annotations

import os
import re
import stat
import struct
import sys
from typing import TYPE_CHECKING, BinaryIO

from pyrun.criu.protobuf import decode
from pyrun.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = re.compile(r"pagemap-(shmem-)?\d+\.img")
# Of criu/include/magic.h, IMG_COMMON_MAGIC and PAGEMAP_MAGIC: what a pagemap file begins with. A head and the entries
# follow, each a message of images/pagemap.proto with its size before it. From CRIU 4.2 on the number of pages is in
# another field, and this one 0.
_MAGIC = struct.pack("=II", 0x54564319, 0x56084025)
_HEAD = {"pages_id": (1, int)}
_ENTRY = {"nr_pages": (2, int), "flags": (4, int)}
_LARGEST = 1 << 10  # of these messages
# Of an entry's flags (criu/include/pagemap.h, PE_PRESENT): its pages are in this image, and not in the parent.
_PRESENT = 4


def require_whole(image: int, path: str) -> None:
    """Check that all pages are there which the image of that descriptor, open at `path`, and its parents speak of. What
    has another form is left to CRIU. Raises Error."""
    seen: set[tuple[int, int]] = set()
    opened = os.dup(image)
    try:
        while (identity := _identity(opened)) not in seen:
            seen.add(identity)
            _require_pages(opened, path)
            try:
                parent = os.open("parent", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=opened)
            except FileNotFoundError:
                return
            os.close(opened)
            opened = parent
            path += "/parent"
    except OSError as e:
        call = f"open {path}/{e.filename}" if isinstance(e.filename, str) else f"read {path}"
        raise Error("read the image", call=call, errno=e.errno) from None
    finally:
        os.close(opened)


def _identity(directory: int) -> tuple[int, int]:
    status = os.fstat(directory)
    return status.st_dev, status.st_ino


def _require_pages(image: int, path: str) -> None:
    """Of one directory. An earlier image may have left files in it, whose pages were written over since: what has
    written those last has left a pagemap of them too, so the least that is said of a file is asked for."""
    needed: dict[str, tuple[int, str]] = {}
    for name in filter(_NAME.fullmatch, os.listdir(image)):
        if found := _needed(image, name):
            pages, size = found
            needed[pages] = min(needed.get(pages, (size, name)), (size, name))
    for pages, (size, name) in sorted(needed.items()):
        try:
            there = os.stat(pages, dir_fd=image).st_size
        except FileNotFoundError:  # CRIU says so, or has them from elsewhere (`criu lazy-pages`)
            continue
        if there < size:
            detail = f"{path}/{pages} has {there} bytes, and by {name} there are {size}"
            raise Error("restore", detail=detail, hint="the image is cut short: copy it again")


def _needed(image: int, name: str) -> tuple[str, int] | None:
    """The file of pages that the pagemap `name` speaks of, and its bytes; None for what is no pagemap."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=image)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        with open(fd, "rb", closefd=False) as file:
            messages = _messages(file)
            pages = f"pages-{decode(next(messages), _HEAD)['pages_id']}.img"
            entries = (decode(message, _ENTRY) for message in messages)
            count = sum(entry["nr_pages"] for entry in entries if entry.get("flags", 0) & _PRESENT)
    except (ValueError, KeyError, StopIteration):
        return None
    finally:
        os.close(fd)
    return pages, count * os.sysconf("SC_PAGESIZE")


def _messages(file: BinaryIO) -> Iterator[bytes]:
    """Those of a pagemap file. Raises ValueError where it is none, or is cut short itself."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise ValueError("no pagemap")
    while head := file.read(4):
        size = int.from_bytes(head, sys.byteorder)
        if len(head) < 4 or size > _LARGEST or len(message := file.read(size)) < size:
            raise ValueError("cut short")
        yield message
