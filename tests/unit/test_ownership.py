"""Who owns a directory is asked, component by component (as another user: tests/security/test_attack_ownership.py)."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrun.errors import Error
from pyrun.kernel.ownership import open_directory, open_file, open_owned


def opened() -> int:
    return len(os.listdir("/proc/self/fd"))


def leads_to(path: str, expected: Path, *, make: bool = False) -> None:
    before = opened()
    fd = open_owned(path, make=make)
    try:
        assert os.path.samestat(os.fstat(fd), expected.stat())
        assert opened() == before + 1
    finally:
        os.close(fd)


def refuses(path: Path, words: str) -> None:
    before = opened()
    with pytest.raises(Error, match=words):
        open_owned(str(path))
    assert opened() == before


@pytest.mark.parametrize("form", ["{}", "{}/", "/.{}", "/{}", "{}/.", "{}/../store", "{}//../store/./"])
def test_ways_to_write_it(tmp_path: Path, form: str) -> None:
    store = tmp_path / "store"
    store.mkdir()
    leads_to(form.format(store), store)


def test_what_is_missing_is_made(tmp_path: Path) -> None:
    store = tmp_path / "a/b/c"
    with pytest.raises(FileNotFoundError):
        open_owned(str(store))
    os.close(open_owned(str(store), make=True))
    leads_to(str(store), store, make=True)
    assert {path.stat().st_mode & 0o7777 for path in (store, *list(store.parents)[:2])} == {0o700}


def test_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before = opened()
    for path in ("file", "file/store"):
        with pytest.raises(NotADirectoryError):
            open_owned(str(tmp_path / path))
    assert opened() == before


@pytest.mark.parametrize(
    ("mode", "above", "last"),
    [
        (0o700, True, True),
        (0o755, True, True),
        (0o1700, True, True),
        (0o1777, True, False),
        (0o1770, True, False),
        (0o777, False, False),
        (0o770, False, False),
        (0o702, False, False),
    ],
)
def test_modes(tmp_path: Path, mode: int, above: bool, last: bool) -> None:
    store = tmp_path / "above/store"
    store.mkdir(parents=True)
    for path, fine in ((store.parent, above), (store, last)):
        path.chmod(mode)
        if fine:
            leads_to(str(store), store)
        else:
            refuses(store, f"{path} can be written by others .mode 0?{mode:o}.")
        path.chmod(0o700)


def test_a_symlink_is_never_the_last(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    for target in ("real", str(tmp_path / "real"), "nowhere"):
        link = tmp_path / "link"
        link.symlink_to(target)
        refuses(link, "link is a symlink")
        refuses(link / ".", "link is a symlink")
        link.unlink()


def test_symlinks_above(tmp_path: Path) -> None:
    """Root's own, where nobody else could have put them."""
    store = tmp_path / "real/store"
    store.mkdir(parents=True)
    for target in ("real", "../" * 20 + f"{tmp_path}/real", str(tmp_path / "real"), "./real/store/.."):
        link = tmp_path / "link"
        link.symlink_to(target)
        if os.geteuid() == 0:
            leads_to(f"{link}/store", store)
            tmp_path.chmod(0o1777)
        refuses(link / "store", "link is a symlink")
        tmp_path.chmod(0o700)
        link.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's symlinks are followed")
def test_a_loop(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    before = opened()
    with pytest.raises(OSError, match="symbolic links"):
        open_owned(str(tmp_path / "loop/store"))
    assert opened() == before


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.symlink_to("/etc/hostname"), "is a symlink"),
        (fifo, "no regular file"),
        (unix_socket, "no regular file"),
        (Path.mkdir, "no regular file"),
        (lambda path: (path.touch(), path.chmod(0o622)), "can be written by others"),
    ],
)
def test_files(tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    parent = open_owned(str(tmp_path))
    try:
        before = opened()
        with pytest.raises(FileNotFoundError):
            open_file("x", parent, str(tmp_path))
        make(tmp_path / "x")
        with pytest.raises(Error, match=words):
            open_file("x", parent, str(tmp_path))
        assert opened() == before
    finally:
        os.close(parent)


def test_directories(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir(0o711)
    parent = open_owned(str(tmp_path))
    try:
        os.close(open_directory("box", parent, str(tmp_path / "box")))
        (tmp_path / "box").chmod(0o777)
        before = opened()
        with pytest.raises(Error, match="can be written by others"):
            open_directory("box", parent, str(tmp_path / "box"))
        assert opened() == before
    finally:
        os.close(parent)
