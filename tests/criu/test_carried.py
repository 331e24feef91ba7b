"""A container that is carried elsewhere, as files: the bundle and the image in a tar, unpacked at another path, here or
on another machine. `tests/guest/criu` boots a second one for what the first has left."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import CARRIED, CGROUPS, COUNT, Box, until
from counter import CONNECTED


def _plain(box: Box) -> None:
    """As it is."""
    _checkpoint(box)


def _chain(box: Box) -> None:
    """The memory of a dump that came before lies in another directory, which goes with it."""
    box.checkpoint("--pre-dump", image="first")
    box.counts()
    _checkpoint(box, "--parent-path", "../first")


def _mounts(box: Box) -> None:
    """A tmpfs is in the image; a bind's source, named relative to the bundle, is in that."""
    _checkpoint(box)


def _connected(box: Box) -> None:
    """TCP, within its network namespace."""
    _checkpoint(box, "--tcp-established")


WAYS: dict[str, Callable[[Box], None]] = {way.__name__[1:]: way for way in (_plain, _chain, _mounts, _connected)}


def _checkpoint(box: Box, *options: str) -> None:
    box.checkpoint(*options)
    (box.folder / "before").write_text(box.text("n"))


def _pack(box: Box, way: str, tar: Path) -> None:
    """Run it, write it, and leave nothing but the tar."""
    if way == "mounts":
        (box.folder / "data").mkdir()
        (box.folder / "data/file").write_text("in data\n")
        box.config["mounts"] += [
            {"destination": "/data", "type": "bind", "source": "data", "options": ["bind", "ro"]},
            {"destination": "/mem", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]},
        ]
        box.config["process"]["args"][2] = "echo kept > /mem/file; " + COUNT
    if way == "connected":
        for name in ("nc", "grep", "tail"):
            (box.root / "bin" / name).symlink_to("busybox")
        box.config["process"]["args"] = ["sh", "-c", CONNECTED]
    box.run()
    box.counts(above=2)
    WAYS[way](box)
    assert box.remnants() == []
    subprocess.run(["tar", "--create", "--file", tar, "--directory", box.folder, "."], check=True)
    shutil.rmtree(box.folder)


@pytest.fixture
def unpacked(box: Box) -> Callable[[Path], Box]:
    """A function that unpacks a tar; the root comes to be elsewhere in it than it was."""

    def unpack(tar: Path) -> Box:
        shutil.rmtree(box.root)
        subprocess.run(["tar", "--extract", "--file", tar, "--directory", box.folder], check=True)
        box.root = box.folder / "moved/root"
        box.root.parent.mkdir()
        (box.folder / "rootfs").rename(box.root)
        config = json.loads((box.folder / "config.json").read_text())
        config["root"]["path"] = "moved/root"
        config["linux"]["cgroupsPath"] = "system.slice:box:d" if box.options else "/elsewhere/d"
        (box.folder / "config.json").write_text(json.dumps(config))
        shutil.rmtree(box.work)
        return box

    return unpack


def _take_up(box: Box, way: str) -> None:
    """By another id, in another cgroup."""
    box.restore(*(["--tcp-established"] if way == "connected" else []), name="d")
    box.went_on(int((box.folder / "before").read_text()))
    assert box.status("d") == "running"
    cgroup = "system.slice/box-d.scope" if box.options else "elsewhere/d"
    assert str(box.state("d")["pid"]) in (CGROUPS / cgroup / "cgroup.procs").read_text().split()
    assert box.execute("sh", "-c", "echo inside", name="d") == "inside\n"
    if way == "mounts":
        assert box.execute("cat", "/data/file", "/mem/file", name="d") == "in data\nkept\n"
    box.call("delete", "--force", "d")
    until("nothing left", lambda: not box.remnants("d"))


@pytest.fixture
def first(tmp_path_factory: pytest.TempPathFactory, box: Box) -> Any:
    """The bundle that is packed, where it runs at first."""
    made = Box(tmp_path_factory.mktemp("first") / "bundle", box.runtime, *box.options)
    yield made
    made.clean()


@pytest.mark.beyond("it is in the cgroup of the image, and its loopback device is down")
@pytest.mark.parametrize("way", WAYS)
def test_on_the_same_machine(first: Box, unpacked: Callable[[Path], Box], tmp_path: Path, way: str) -> None:
    _pack(first, way, tmp_path / "tar")
    _take_up(unpacked(tmp_path / "tar"), way)


@pytest.mark.parametrize("way", WAYS)
def test_left_for_another_machine(first: Box, way: str) -> None:
    _pack(first, way, CARRIED / f"{way}.tar")


@pytest.mark.beyond("it is in the cgroup of the image, and its loopback device is down")
@pytest.mark.second_machine
@pytest.mark.parametrize("way", WAYS)
def test_on_another_machine(unpacked: Callable[[Path], Box], way: str) -> None:
    _take_up(unpacked(CARRIED / f"{way}.tar"), way)
