"""Memory that an image speaks of and does not have: as CRIU 4.1 writes it (`crit decode`), and nothing else."""

from __future__ import annotations

import os
import resource
import struct
from typing import TYPE_CHECKING, Any

import pytest

from pyrun.criu.pages import require_whole
from pyrun.criu.protobuf import encode
from pyrun.errors import Error

if TYPE_CHECKING:
    from pathlib import Path

PAGE = os.sysconf("SC_PAGESIZE")
MAGIC = bytes.fromhex("19435654 25400856")
HEAD = {"pages_id": (1, int)}
ENTRY = {"vaddr": (1, int), "nr_pages": (2, int), "in_parent": (3, bool), "flags": (4, int)}
PARENT, LAZY, PRESENT = 1, 2, 4
ROWS = ((1, PRESENT), (2, PRESENT | LAZY), (3, PARENT), (4, LAZY), (5, 0))
HERE = 3 * PAGE


def pagemap(*rows: tuple[int, int], number: int = 1) -> bytes:
    """rows: how many pages, and the flags."""
    messages = [encode({"pages_id": number}, HEAD)]
    for count, flags in rows:
        messages.append(encode({"vaddr": 0x400000, "nr_pages": count, "flags": flags or None}, ENTRY))
    return MAGIC + b"".join(struct.pack("=I", len(message)) + message for message in messages)


def refusal(image: Path) -> str:
    fd = os.open(image, os.O_RDONLY)
    try:
        require_whole(fd, "IMAGE")
    except Error as e:
        return e.detail or f"{e.call}: {os.strerror(e.errno)}"
    finally:
        os.close(fd)
    return ""


def write(image: Path, raw: bytes, size: int, number: int = 1) -> None:
    image.mkdir(exist_ok=True)
    (image / f"pagemap-{number}.img").write_bytes(raw)
    with (image / f"pages-{number}.img").open("wb") as file:
        file.truncate(size)


@pytest.mark.parametrize(("size", "whole"), [(HERE, True), (HERE + 1, True), (HERE - 1, False), (0, False)])
def test_pages(tmp_path: Path, size: int, whole: bool) -> None:
    """What is in a parent, or comes later, is not in this one."""
    write(tmp_path, pagemap(*ROWS), size)
    said = f"IMAGE/pages-1.img has {size} bytes, and by pagemap-1.img there are {HERE}"
    assert refusal(tmp_path) == ("" if whole else said)


@pytest.mark.parametrize("size", [0, HERE])
def test_no_descriptor_is_left(tmp_path: Path, size: int) -> None:
    write(tmp_path / "a", pagemap(*ROWS), HERE)
    write(tmp_path / "b", pagemap(*ROWS), size)
    (tmp_path / "a" / "parent").symlink_to("../b")
    before = os.listdir("/proc/self/fd")
    assert bool(refusal(tmp_path / "a")) == (size < HERE)
    assert os.listdir("/proc/self/fd") == before


def test_what_an_earlier_image_has_left(tmp_path: Path) -> None:
    """Its pages have been written over; CRIU does not look at its pagemap, nor do we believe it."""
    write(tmp_path, pagemap((90, PRESENT), number=2), 90 * PAGE, number=2)
    write(tmp_path, pagemap((40, PRESENT), number=2), 40 * PAGE, number=2)
    (tmp_path / "pagemap-50.img").write_bytes(pagemap((90, PRESENT), number=2))
    assert refusal(tmp_path) == ""
    os.truncate(tmp_path / "pages-2.img", 39 * PAGE)
    assert "and by pagemap-2.img there are" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("pagemap-77.img", True),
        ("pagemap-shmem-123456.img", True),
        ("pagemap-77.img.orig", False),
        ("pagemap-old", False),
        (".pagemap-77.img", False),
    ],
)
def test_names(tmp_path: Path, name: str, counts: bool) -> None:
    write(tmp_path, pagemap(*ROWS), 0)
    (tmp_path / "pagemap-1.img").rename(tmp_path / name)
    assert bool(refusal(tmp_path)) == counts


def test_what_is_no_file(tmp_path: Path) -> None:
    """None of them is waited for, and the others count."""
    write(tmp_path, pagemap(*ROWS, number=5), 0, number=5)
    os.mkfifo(tmp_path / "pagemap-1.img")
    (tmp_path / "pagemap-2.img").mkdir()
    (tmp_path / "pagemap-3.img").symlink_to("/dev/zero")
    (tmp_path / "pagemap-0.img").symlink_to("none")
    assert "pages-5.img" in refusal(tmp_path)
    (tmp_path / "pagemap-5.img").unlink()
    assert refusal(tmp_path) == ""


def test_parents(tmp_path: Path) -> None:
    """A chain, one that ends in itself too."""
    for name, parent in (("c", "b"), ("b", "a"), ("a", "c")):
        write(tmp_path / name, pagemap((2, PRESENT), number=7), 2 * PAGE, number=7)
        (tmp_path / name / "parent").symlink_to(f"../{parent}")
    assert refusal(tmp_path / "c") == ""
    os.truncate(tmp_path / "a" / "pages-7.img", PAGE)
    said = f"IMAGE/parent/parent/pages-7.img has {PAGE} bytes, and by pagemap-7.img there are {2 * PAGE}"
    assert refusal(tmp_path / "c") == said


def test_a_long_chain(tmp_path: Path) -> None:
    """It takes few descriptors."""
    for i in range(100):
        write(tmp_path / str(i), pagemap(*ROWS), HERE)
        (tmp_path / str(i) / "parent").symlink_to(f"../{i + 1}")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 5, hard))
    try:
        assert refusal(tmp_path / "0") == ""
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_parent_that_is_missing(tmp_path: Path) -> None:
    """It is left to CRIU, which may not need it."""
    (tmp_path / "parent").symlink_to("../none")
    assert refusal(tmp_path) == ""


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "parent").touch()
    assert refusal(tmp_path) == "open IMAGE/parent: Not a directory"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        MAGIC,
        MAGIC + b"\1",
        MAGIC + b"\0\0\0\x7f" * 9,
        b"\0" * 40,
        pagemap((9, PRESENT))[:-1],
        pagemap((9, PRESENT)) + b"\xff" * 8,
    ],
)
def test_what_is_no_pagemap(tmp_path: Path, raw: bytes) -> None:
    """It is left to CRIU."""
    write(tmp_path, raw, 0)
    assert refusal(tmp_path) == ""


def test_members_that_are_missing(tmp_path: Path) -> None:
    rows: Any = [encode({"pages_id": 1}, HEAD), encode({"flags": PRESENT}, ENTRY)]
    write(tmp_path, MAGIC + b"".join(struct.pack("=I", len(row)) + row for row in rows), 0)
    assert refusal(tmp_path) == ""


def test_pages_that_are_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "pagemap-1.img").write_bytes(pagemap(*ROWS))
    assert refusal(tmp_path) == ""
