"""Bundles that share their layers: each is unpacked once, and what a bundle writes is its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import PYRUN, Runtime
from test_bundle import BUSYBOX, docker, entry, layer, layout, unmount

import pyrun

pytestmark = [
    pytest.mark.pyrun_only("a thing of pyrun's own"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]
LOWER = layer(entry("lower", b"of both"), entry("gone", b"x"))
UPPER = layer(entry("upper", b"of one"), entry(".wh.gone"))


@pytest.fixture(autouse=True)
def mounts(tmp_path: Path, nothing_left: None) -> Iterator[None]:
    yield
    unmount(tmp_path)


def bundle(tmp_path: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [PYRUN, "--root", tmp_path / "state", "bundle", "--layers", tmp_path / "layers", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def ok(tmp_path: Path, *arguments: str | Path) -> str:
    done = bundle(tmp_path, *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def layers(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "layers").iterdir()} - {"bundles"}


def test_what_is_shared_and_what_is_not(tmp_path: Path) -> None:
    ok(tmp_path, layout(tmp_path / "one", BUSYBOX, LOWER, UPPER), tmp_path / "a")
    assert len(first := layers(tmp_path)) == 3
    ok(tmp_path, docker(tmp_path / "two.tar", BUSYBOX, LOWER), tmp_path / "b")
    ok(tmp_path, tmp_path / "one", tmp_path / "c")
    assert layers(tmp_path) == first
    a, b, c = (tmp_path / name / "rootfs" for name in "abc")
    assert [(root / "gone").exists() for root in (a, b, c)] == [False, True, False]
    (a / "lower").write_text("changed")
    (a / "upper").unlink()
    assert (b / "lower").read_text() == (c / "lower").read_text() == "of both"
    assert (c / "upper").exists()
    ok(tmp_path, "--rm", tmp_path / "a")
    assert not (tmp_path / "a").exists()
    assert layers(tmp_path) == first
    assert ok(tmp_path, "--prune") == "removed: 0\n"
    ok(tmp_path, "--rm", tmp_path / "c")
    assert ok(tmp_path, "--prune") == "removed: 1\n"
    assert (b / "lower").read_text() == "of both"
    ok(tmp_path, "--rm", tmp_path / "b")
    assert ok(tmp_path, "--prune") == "removed: 2\n"
    assert layers(tmp_path) == set()


def test_a_layer_of_the_same_name_is_the_same(tmp_path: Path) -> None:
    """The root's own attributes are those of the uppermost layer that has them."""
    root = tarfile.TarInfo("./")
    root.type, root.mode, root.uid, root.mtime = tarfile.DIRTYPE, 0o751, 7, 1000
    ok(tmp_path, layout(tmp_path / "i", BUSYBOX, layer((root, b"")), layer(entry("usr/file", b"x"))), tmp_path / "a")
    about = (tmp_path / "a/rootfs").stat()
    assert (about.st_mode & 0o7777, about.st_uid) == (0o751, 7)


def test_who_knows_a_digest_has_not_the_layer(tmp_path: Path) -> None:
    """An image that only names a layer of another one gets nothing of it."""
    ok(tmp_path, layout(tmp_path / "i", BUSYBOX, layer(entry("secret", b"x"))), tmp_path / "a")
    other = layout(tmp_path / "j", BUSYBOX, layer(entry("secret", b"x")))
    index = json.loads((other / "index.json").read_text())
    manifest = json.loads((other / "blobs/sha256" / index["manifests"][0]["digest"][7:]).read_text())
    (other / "blobs/sha256" / manifest["layers"][1]["digest"][7:]).write_bytes(b"something else")
    done = bundle(tmp_path, other, tmp_path / "b")
    assert done.returncode == 1
    assert "its digest is" in done.stderr
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("diff_id", ["sha256:../../../../etc", "../x", "", "sha256:" + "A" * 64, 5])
def test_a_name_that_leads_elsewhere(tmp_path: Path, diff_id: Any) -> None:
    image = docker(tmp_path / "i.tar", BUSYBOX)
    members: dict[str, bytes] = {}
    with tarfile.open(image) as tar:
        for member in tar:
            file = tar.extractfile(member)
            members[member.name] = file.read() if file else b""
    manifest = json.loads(members["manifest.json"])
    config = json.loads(members[manifest[0]["Config"]])
    config["rootfs"]["diff_ids"] = [diff_id]
    members["config.json"] = json.dumps(config).encode()
    manifest[0]["Config"] = "config.json"
    members["manifest.json"] = json.dumps(manifest).encode()
    image.write_bytes(layer(*(entry(name, content) for name, content in members.items())))
    done = bundle(tmp_path, image, tmp_path / "b")
    assert done.returncode == 1
    assert "is no SHA-256 digest" in done.stderr
    assert not (tmp_path / "b").exists()


def test_a_container_is_made_of_it(tmp_path: Path, runtime: Runtime) -> None:
    ok(tmp_path, layout(tmp_path / "i", BUSYBOX), tmp_path / "a", "--", "/bin/sh", "-c", "busybox sleep 1000")
    runtime.ok("create", "--bundle", tmp_path / "a", "box")
    done = bundle(tmp_path, "--rm", tmp_path / "a")
    assert done.returncode == 1
    assert "its root is mounted for process" in done.stderr
    runtime.ok("delete", "--force", "box")
    ok(tmp_path, "--rm", tmp_path / "a")


def test_after_a_restart(tmp_path: Path, runtime: Runtime) -> None:
    """The mounts are gone, what was written is not."""
    ok(tmp_path, layout(tmp_path / "i", BUSYBOX), tmp_path / "a", "--", "/bin/sh", "-c", "busybox cat /mine")
    (tmp_path / "a/rootfs/mine").write_text("kept")
    unmount(tmp_path)
    said = runtime("check", tmp_path / "a").out
    assert f"pyrun bundle --mount {tmp_path}/a" in said
    for _ in range(2):
        ok(tmp_path, "--mount", tmp_path / "a")
    assert runtime("run", "--bundle", tmp_path / "a", "box").out == "kept"
    ok(tmp_path, "--rm", tmp_path / "a")


def test_only_its_own_is_removed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    done = bundle(tmp_path, "--rm", tmp_path / "other")
    assert done.returncode == 1 and "it has no bundle.json" in done.stderr
    ok(tmp_path, layout(tmp_path / "i", BUSYBOX), tmp_path / "a")
    (tmp_path / "a/notes").touch()
    done = bundle(tmp_path, "--rm", tmp_path / "a")
    assert done.returncode == 1 and "holds notes as well" in done.stderr
    assert (tmp_path / "a/rootfs/bin").exists()
    (tmp_path / "a/notes").unlink()
    os.chown(tmp_path / "a/bundle.json", 1000, 1000)
    done = bundle(tmp_path, "--rm", tmp_path / "a")
    assert done.returncode == 1 and "belongs to uid 1000" in done.stderr


def test_only_layers_are_pruned(tmp_path: Path) -> None:
    """Whatever else is in the directory: it may be another one than was meant."""
    ok(tmp_path, layout(tmp_path / "i", BUSYBOX), tmp_path / "a")
    ok(tmp_path, "--rm", tmp_path / "a")
    (tmp_path / "layers/.new-killed").mkdir()
    (tmp_path / "layers/thesis").mkdir()
    (tmp_path / "layers/thesis/file").touch()
    (tmp_path / "layers/bundles/.new-killed").touch()
    assert ok(tmp_path, "--prune") == "removed: 2\n"
    assert (tmp_path / "layers/thesis/file").exists()
    other = tmp_path / "none"
    done = subprocess.run([PYRUN, "bundle", "--layers", other, "--prune"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and not other.exists()


def test_a_bundle_that_is_not_there_keeps_its_layers(tmp_path: Path, runtime: Runtime) -> None:
    """It may have been moved, or be on what is not mounted now."""
    ok(tmp_path, layout(tmp_path / "i", BUSYBOX), tmp_path / "a", "--", "/bin/sh", "-c", "busybox echo here")
    (tmp_path / "a").rename(tmp_path / "b")
    said = ok(tmp_path, "--prune")
    assert said.startswith("removed: 0\n") and f"kept: 1 of {tmp_path}/a, which is not there" in said
    assert runtime("run", "--bundle", tmp_path / "b", "box").out == "here\n"
    ok(tmp_path, "--rm", tmp_path / "b")
    assert ok(tmp_path, "--prune") == "removed: 1\n"
    ok(tmp_path, tmp_path / "i", tmp_path / "a")
    unmount(tmp_path)
    shutil.rmtree(tmp_path / "a")
    assert ok(tmp_path, "--prune").startswith("removed: 0\n")
    ok(tmp_path, "--rm", tmp_path / "a")
    assert ok(tmp_path, "--prune") == "removed: 1\n"


def test_what_cannot_be_removed_is_said_and_can_be_tried_again(tmp_path: Path) -> None:
    ok(tmp_path, layout(tmp_path / "i", BUSYBOX), tmp_path / "a")
    (tmp_path / "a/upper/m").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path / "a/upper/m"], check=True)
    done = bundle(tmp_path, "--rm", tmp_path / "a")
    assert done.returncode == 1 and f"remove {tmp_path}/a/upper" in done.stderr
    unmount(tmp_path)
    ok(tmp_path, "--rm", tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("way", ["/../a", "/.", "link"])
def test_a_container_by_another_name_of_the_bundle(tmp_path: Path, runtime: Runtime, way: str) -> None:
    ok(tmp_path, layout(tmp_path / "i", BUSYBOX), tmp_path / "a", "--", "/bin/sh", "-c", "busybox sleep 1000")
    (tmp_path / "link").symlink_to("a")
    named = str(tmp_path / "link") if way == "link" else f"{tmp_path}/a{way}"
    runtime.ok("create", "--bundle", named, "box")
    done = bundle(tmp_path, "--rm", tmp_path / "a")
    assert done.returncode == 1
    assert "its root is mounted for process" in done.stderr
    runtime.ok("delete", "--force", "box")
    ok(tmp_path, "--rm", tmp_path / "a")


@pytest.mark.parametrize("how", ["--copy", ""])
def test_a_directory_that_somebody_else_can_move(tmp_path: Path, how: str) -> None:
    """Root makes nothing there, and removes nothing."""
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 1000, 1000)
    done = bundle(tmp_path, *filter(None, [how]), layout(tmp_path / "i", BUSYBOX), tmp_path / "theirs/a")
    assert done.returncode == 1
    assert "belongs to uid 1000" in done.stderr
    assert not (tmp_path / "theirs/a").exists()


def test_a_store_that_is_open_to_others(tmp_path: Path) -> None:
    """Its layers have setuid programs and devices."""
    (tmp_path / "layers").mkdir(mode=0o755)
    (tmp_path / "layers").chmod(0o755)
    done = bundle(tmp_path, layout(tmp_path / "i", BUSYBOX), tmp_path / "a")
    assert done.returncode == 1
    assert "is open to others (mode 0o55): chmod go-rwx" in done.stderr
    assert not (tmp_path / "a").exists()


def test_a_device_0_0_is_no_file(tmp_path: Path) -> None:
    device = entry("gone", type=tarfile.CHRTYPE, devmajor=0, devminor=0)
    ok(tmp_path, layout(tmp_path / "i", BUSYBOX, layer(device)), tmp_path / "a")
    assert not (tmp_path / "a/rootfs/gone").exists()


def test_more_layers_than_a_mount_takes(tmp_path: Path) -> None:
    """It is known before the first is unpacked."""
    image = layout(tmp_path / "i", *(layer(entry(f"f{i}", b"x")) for i in range(120)))
    done = bundle(tmp_path, image, tmp_path / "a")
    assert done.returncode == 1 and "120 layers are more than a mount takes" in done.stderr
    assert layers(tmp_path) == set()


def test_an_image_without_layers(tmp_path: Path) -> None:
    ok(tmp_path, layout(tmp_path / "i"), tmp_path / "a")
    assert list((tmp_path / "a/rootfs").iterdir()) == []
    ok(tmp_path, "--rm", tmp_path / "a")


@pytest.mark.parametrize(
    "arguments", [[], ["--rm"], ["--rm", "a", "b"], ["--prune", "a"], ["--rm", "--mount", "a"], ["i"]], ids=str
)
def test_what_is_no_command(tmp_path: Path, arguments: list[str]) -> None:
    done = bundle(tmp_path, *arguments)
    assert done.returncode != 0
    assert "IMAGE DIR [ARGS...], or --rm DIR" in done.stderr


def test_from_python(tmp_path: Path) -> None:
    image = layout(tmp_path / "i", BUSYBOX, LOWER)
    made = [
        pyrun.Bundle.from_image(
            image,
            tmp_path / name,
            "/bin/sh",
            "-c",
            "busybox cat /lower; echo mine > /lower",
            layers=tmp_path / "layers",
        )
        for name in "ab"
    ]
    for bundle in made:
        assert pyrun.run(bundle, root=str(tmp_path / "state")).stdout == b"of both"
    assert len(layers(tmp_path)) == 2
    for bundle in made:
        bundle.remove()
    assert not (tmp_path / "a").exists()
    with pytest.raises(pyrun.Error, match="is no bundle"):
        pyrun.Bundle.new(tmp_path / "c").remove()
