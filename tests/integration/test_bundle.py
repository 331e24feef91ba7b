"""pyrun bundle: images in files, well-made and hostile ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import CHECKOUT, PYRUN, Container, Runtime, enterable

pytestmark = [
    pytest.mark.pyrun_only("a thing of pyrun's own"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]
CONFIG: dict[str, Any] = {"os": "linux", "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]}


def entry(name: str, content: bytes = b"", **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


def directory(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.DIRTYPE, mode=mode)


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=kind, linkname=to)


def layer(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def image_config(layers: Iterable[bytes], **said: Any) -> bytes:
    ids = [f"sha256:{digest(one)}" for one in layers]
    whole = {**CONFIG, "config": {"Cmd": ["/bin/sh"], **said}, "rootfs": {"type": "layers", "diff_ids": ids}}
    return json.dumps(whole).encode()


def layout(path: Path, *layers: bytes, squeeze: bool = True, **said: Any) -> Path:
    """An OCI image layout."""
    blobs = path / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(raw: bytes) -> dict[str, Any]:
        (blobs / digest(raw)).write_bytes(raw)
        return {"digest": f"sha256:{digest(raw)}", "size": len(raw)}

    manifest = {
        "schemaVersion": 2,
        "config": put(image_config(layers, **said)),
        "layers": [put(gzip.compress(one) if squeeze else one) for one in layers],
    }
    row = {**put(json.dumps(manifest).encode()), "annotations": {"org.opencontainers.image.ref.name": "latest"}}
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [row]}))
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return path


def docker(path: Path, *layers: bytes, **said: Any) -> Path:
    """What `docker save` writes."""
    config = image_config(layers, **said)
    files = {f"{digest(config)}.json": config, **{f"{i}/layer.tar": one for i, one in enumerate(layers)}}
    rows = [
        {
            "Config": f"{digest(config)}.json",
            "RepoTags": ["a:1"],
            "Layers": [f"{i}/layer.tar" for i in range(len(layers))],
        }
    ]
    files["manifest.json"] = json.dumps(rows).encode()
    with tarfile.open(path, "w") as tar:
        for name, raw in files.items():
            tar.addfile(entry(name, raw)[0], io.BytesIO(raw))
    return path


BUSYBOX = layer(
    directory("bin"), entry("bin/busybox", Path("/bin/busybox").read_bytes(), mode=0o755), link("bin/sh", "busybox"),
    directory("etc"), entry("etc/passwd", b"root:x:0:0::/root:/bin/sh\nweb:x:33:44::/:/bin/sh\n"),
    entry("etc/group", b"www:x:44:\nmore:x:55:web\n"), directory("tmp", 0o1777), directory("proc"), directory("dev"),
    directory("sys"),
)  # fmt: skip


# How a bundle is made of an image: as a copy, or of shared layers.
how: list[str | Path] = []


@pytest.fixture(params=["copy", "shared"], autouse=True)
def sharing(request: pytest.FixtureRequest, tmp_path: Path, nothing_left: None) -> Iterator[None]:
    how[:] = ["--copy"] if request.param == "copy" else ["--layers", tmp_path / "layers"]
    yield
    unmount(tmp_path)
    subprocess.run(["rm", "-rf", tmp_path / "layers"], check=True)  # may be deeper than pytest's own clean-up can go


def unmount(below: Path) -> None:
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        point = line.split()[4]
        if point.startswith(f"{below}/"):
            subprocess.run(["umount", point], check=True)


def bundle(image: Path | str, into: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PYRUN, "bundle", *how, image, into, *args], capture_output=True, text=True, check=False, timeout=60
    )


def made(image: Path | str, into: Path, *args: str) -> Path:
    done = bundle(image, into, *args)
    assert (done.returncode, done.stderr) == (0, ""), done
    return into / "rootfs"


@pytest.mark.parametrize("form", ["oci", "oci-plain", "oci-archive", "docker-archive"])
def test_forms(tmp_path: Path, runtime: Runtime, form: str) -> None:
    second = layer(entry("hello", b"from the second layer\n"))
    if form == "docker-archive":
        image = docker(tmp_path / "i.tar", BUSYBOX, second)
    else:
        image = layout(tmp_path / "i", BUSYBOX, second, squeeze=form != "oci-plain")
    if form == "oci-archive":
        with tarfile.open(tmp_path / "o.tar", "w") as tar:
            tar.add(image, ".")
        image = tmp_path / "o.tar"
    made(image, tmp_path / "b", "--", "/bin/sh", "-c", "busybox cat /hello; busybox touch /new && echo can be written")
    done = runtime("run", "--bundle", tmp_path / "b", "box")
    assert done.out == "from the second layer\ncan be written\n", done
    assert runtime("check", tmp_path / "b").code == 0


def test_what_the_image_says(tmp_path: Path) -> None:
    said = {
        "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo $A"], "Env": ["A=b", "PATH=/bin"], "WorkingDir": "/tmp",
        "User": "web", "Labels": {"x": "y"}, "StopSignal": "SIGQUIT", "ExposedPorts": {"80/tcp": {}, "22/tcp": {}},
    }  # fmt: skip
    made(layout(tmp_path / "i", BUSYBOX, **said), tmp_path / "b")
    config = json.loads((tmp_path / "b/config.json").read_text())
    assert config["process"]["args"] == ["/bin/sh", "-c", "echo $A"] and config["process"]["cwd"] == "/tmp"
    assert config["process"]["user"] == {"uid": 33, "gid": 44, "additionalGids": [55]}
    assert sorted(config["process"]["env"]) == ["A=b", "PATH=/bin", "TERM=xterm"]
    assert config["annotations"]["x"] == "y"
    assert config["annotations"]["org.opencontainers.image.stopSignal"] == "SIGQUIT"
    assert config["annotations"]["org.opencontainers.image.exposedPorts"] == "22/tcp,80/tcp"


@pytest.mark.parametrize(
    ("user", "found"),
    [("", (0, 0)), ("7", (7, 0)), ("7:8", (7, 8)), ("33", (33, 44)), ("web:more", (33, 55)), ("root", (0, 0))],
)
def test_users(tmp_path: Path, user: str, found: tuple[int, int]) -> None:
    made(layout(tmp_path / "i", BUSYBOX, User=user), tmp_path / "b")
    said = json.loads((tmp_path / "b/config.json").read_text())["process"]["user"]
    assert (said["uid"], said["gid"]) == found


@pytest.mark.parametrize("user", ["nobody-here", "0:no-group"])
def test_a_user_that_is_not_there(tmp_path: Path, user: str) -> None:
    done = bundle(layout(tmp_path / "i", BUSYBOX, User=user), tmp_path / "b")
    assert done.returncode == 1 and "none of that name" in done.stderr
    assert not (tmp_path / "b").exists()


def test_whiteouts(tmp_path: Path) -> None:
    lower = layer(
        directory("a"), entry("a/gone", b"x"), entry("a/kept", b"x"), directory("b"), entry("b/old", b"x"),
        directory("c"), directory("c/deep"), entry("c/deep/file", b"x"), entry("d", b"x"), directory("e"),
    )  # fmt: skip
    upper = layer(
        entry("a/.wh.gone"), entry("b/new", b"y"), entry("b/.wh..wh..opq"), entry(".wh.c"), directory("d"),
        entry("d/now", b"a directory"), entry("e", b"a file"), entry("a/.wh.never", b""),
    )  # fmt: skip
    root = made(layout(tmp_path / "i", BUSYBOX, lower, upper), tmp_path / "b")
    assert [p.name for p in (root / "a").iterdir()] == ["kept"]
    assert [p.name for p in (root / "b").iterdir()] == ["new"]
    assert not (root / "c").exists() and (root / "d/now").exists() and (root / "e").read_bytes() == b"a file"


def test_attributes(tmp_path: Path) -> None:
    file, content = entry("f", b"x", mode=0o4751, uid=5, gid=6, mtime=1000)
    file.pax_headers = {"SCHILY.xattr.user.mine": "v", "SCHILY.xattr.trusted.overlay.opaque": "y"}
    one = layer(
        (file, content), link("hard", "f", tarfile.LNKTYPE), entry("fifo", type=tarfile.FIFOTYPE),
        entry("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        entry("d", type=tarfile.DIRTYPE, mtime=2000, mode=0o700), entry("d/x", b""), link("s", "/nowhere"),
    )  # fmt: skip
    root = made(layout(tmp_path / "i", BUSYBOX, one), tmp_path / "b")
    about = (root / "f").stat()
    assert (stat.S_IMODE(about.st_mode), about.st_uid, about.st_gid, about.st_mtime) == (0o4751, 5, 6, 1000)
    assert about.st_ino == (root / "hard").stat().st_ino
    assert (root / "null").stat().st_rdev == os.makedev(1, 3) and stat.S_ISFIFO((root / "fifo").stat().st_mode)
    assert (root / "d").stat().st_mtime == 2000 and os.readlink(root / "s") == "/nowhere"
    assert "trusted.overlay.opaque" not in os.listxattr(root / "f")


HOSTILE = {
    "a name with ..": [entry("../outside", b"x")],
    "an absolute name": [entry("/outside", b"x")],
    "through a symlink": [link("way", "OUT"), entry("way/outside", b"x")],
    "through a relative symlink": [link("way", "../../../../../../../../OUT"), entry("way/outside", b"x")],
    "a hard link outside": [link("mine", "OUT/secret", tarfile.LNKTYPE)],
    "a hard link by a symlink": [link("way", "OUT"), link("mine", "way/secret", tarfile.LNKTYPE)],
    "a whiteout outside": [link("way", "OUT"), entry("way/.wh.secret")],
    "an opaque directory outside": [link("way", "OUT"), entry("way/.wh..wh..opq")],
    "a whiteout of ..": [entry(".wh...", b"")],
    "a file over a symlink": [link("way", "OUT/secret"), entry("way", b"changed")],
    "a directory over a symlink": [link("way", "OUT"), directory("way", 0o777)],
    "the root itself": [link("bin/..", "/"), entry("outside", b"x")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_layer_reaches_nothing_outside(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "secret").write_text("kept")
    before = (out.stat().st_mode, (out / "secret").stat().st_nlink)
    entries = HOSTILE[name]
    for info, _ in entries:
        info.linkname = info.linkname.replace("OUT", str(out))
    image = layout(tmp_path / "i", BUSYBOX, layer(*entries))
    bundle(image, tmp_path / "b")
    assert [p.name for p in out.iterdir()] == ["secret"] and (out / "secret").read_text() == "kept"
    assert (out.stat().st_mode, (out / "secret").stat().st_nlink) == before
    assert not Path("/outside").exists() and not (tmp_path / "outside").exists()
    for path in tmp_path.glob("b/rootfs/**/mine"):
        assert not path.exists() or path.read_text() != "kept"


@pytest.mark.parametrize("name", [".wh...", ".wh.", "bin/.wh..", "a/../b"])
def test_what_is_no_name(tmp_path: Path, name: str) -> None:
    done = bundle(layout(tmp_path / "i", BUSYBOX, layer(entry(name))), tmp_path / "b")
    assert done.returncode == 1 and repr(name) in done.stderr, done
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("what", ["layer", "config", "manifest", "diff_id"])
def test_a_wrong_digest(tmp_path: Path, what: str) -> None:
    image = layout(tmp_path / "i", BUSYBOX)
    index = json.loads((image / "index.json").read_text())
    blobs = image / "blobs/sha256"
    manifest = blobs / index["manifests"][0]["digest"].removeprefix("sha256:")
    parts = json.loads(manifest.read_text())
    if what == "diff_id":
        image = docker(tmp_path / "i.tar", BUSYBOX)
        other = layer(entry("evil", b"x"))
        raw = image.read_bytes()
        assert len(other) <= len(BUSYBOX)
        image.write_bytes(raw.replace(BUSYBOX, other + bytes(len(BUSYBOX) - len(other))))
    else:
        at = manifest if what == "manifest" else blobs / (
            parts["config"] if what == "config" else parts["layers"][0]
        )["digest"].removeprefix("sha256:")  # fmt: skip
        raw = bytearray(at.read_bytes())
        raw[len(raw) // 2] ^= 1
        at.write_bytes(raw)
    done = bundle(image, tmp_path / "b")
    assert done.returncode == 1 and ("its digest is sha256:" in done.stderr or "Error -3" in done.stderr), done
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: (p / "oci-layout").unlink(), "neither oci-layout nor manifest.json"),
        (lambda p: (p / "index.json").write_text("{"), "index.json"),
        (lambda p: (p / "index.json").write_text('{"manifests": []}'), "0 images fit"),
        (
            lambda p: (p / "index.json").write_text('{"manifests": [{"digest": "sha256:../../../etc/passwd"}]}'),
            "no SHA-256",
        ),
        (lambda p: (p / "index.json").write_text("x" * (5 << 20)), "larger than 4 MiB"),
    ],
)
def test_what_is_no_image(tmp_path: Path, spoil: Any, words: str) -> None:
    image = layout(tmp_path / "i", BUSYBOX)
    spoil(image)
    done = bundle(image, tmp_path / "b")
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr, done
    assert not (tmp_path / "b").exists()


def test_where_something_is(tmp_path: Path) -> None:
    image = layout(tmp_path / "i", BUSYBOX)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/mine").write_text("x")
    done = bundle(image, tmp_path / "b")
    assert done.returncode == 1 and "is not empty" in done.stderr
    assert (tmp_path / "b/mine").exists()


def test_a_tag(tmp_path: Path) -> None:
    image = layout(tmp_path / "i", BUSYBOX)
    made(f"{image}:latest", tmp_path / "b")
    done = bundle(f"{image}:other", tmp_path / "c")
    assert done.returncode == 1 and "it has latest" in done.stderr


def test_without_root(tmp_path: Path, container: Container) -> None:
    """All files are the caller's, and the bundle has a user namespace."""
    image = docker(tmp_path / "i.tar", BUSYBOX, layer(entry("null", type=tarfile.CHRTYPE), entry("f", b"x", uid=77)))
    enterable(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65000, 65000)
    done = subprocess.run(
        [PYRUN, "bundle", image, home / "b"], capture_output=True, text=True, check=False, user=65000, group=65000,
        extra_groups=[], cwd=home,
    )  # fmt: skip
    if "a user namespace" in done.stderr:
        pytest.skip("no user namespaces for users here")
    assert done.returncode == 0, done
    assert (home / "b/rootfs/f").stat().st_uid == 65000 and not (home / "b/rootfs/null").exists()
    config = json.loads((home / "b/config.json").read_text())
    assert "user" in [row["type"] for row in config["linux"]["namespaces"]]


EVIL = b"import os\nos.open('/evil-was-here', os.O_CREAT)\n"


@pytest.mark.parametrize(
    "trigger",
    [
        entry("x", mtime=1e300), entry("x", uid=1 << 40), entry("/".join("a" * 1500), b"x"), entry("x", mtime=-1e300),
        entry("../x"), entry("y" * 100_000 + "/.."),
    ],
    ids=["mtime", "uid", "deep", "before", "above", "long"],
)  # fmt: skip
def test_an_image_is_no_code(tmp_path: Path, trigger: tuple[tarfile.TarInfo, bytes]) -> None:
    """What the unpacker itself fails with has Python look for its sources, and for their codecs: not in the image."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    places = ("usr/lib", "usr/local/lib", str(CHECKOUT / "runtime/images")[1:])
    entries = []
    for place in places:
        entries += [entry(f"{place}/{version}/encodings/evil.py", EVIL), entry(f"{place}/{version}/traceback.py", EVIL)]
        for name in ("unpack.py", "tarfile.py", f"{version}/unpack.py", f"{version}/tarfile.py"):
            entries.append(entry(f"{place}/{name}", b"# coding: evil\n" + b"x\n" * 400))
    done = bundle(
        layout(tmp_path / "i", BUSYBOX, layer(*entries, trigger, entry("tail", bytes(4 << 20)))), tmp_path / "b"
    )
    assert not list(tmp_path.glob("b/rootfs/evil-was-here")) and not Path("/evil-was-here").exists()
    assert "Traceback" not in done.stderr and len(done.stderr) < 3000
    assert (done.returncode == 0) == (tmp_path / "b").exists()
    unmount(tmp_path)
    subprocess.run(["rm", "-rf", tmp_path / "b"], check=True)  # deeper than pytest's own clean-up can go


def test_what_failed_is_removed_however_deep(tmp_path: Path) -> None:
    entries = [directory("/".join(f"d{i}" for i in range(n * 40, n * 40 + 40))) for n in range(1)]
    chain: list[tuple[tarfile.TarInfo, bytes]] = []
    for n in range(60):
        chain += [directory(f"w{n}/" + "/".join("d" * 40)), link(f"w{n + 1}", f"w{n}/" + "/".join("d" * 40))]
    done = bundle(layout(tmp_path / "i", BUSYBOX, layer(*entries, *chain, entry("../x"))), tmp_path / "b")
    assert done.returncode == 1 and "has .. in it" in done.stderr
    assert not (tmp_path / "b").exists()


def test_who_may_look(tmp_path: Path) -> None:
    made(layout(tmp_path / "i", BUSYBOX), tmp_path / "b")
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o700


def test_labels_that_are_for_runtimes(tmp_path: Path) -> None:
    names = ("run.oci.hooks.stdout", "org.systemd.property.RuntimeMaxUSec", "bundle", "org.criu.config", "mine")
    made(layout(tmp_path / "i", BUSYBOX, Labels=dict.fromkeys(names, "/x")), tmp_path / "b")
    annotations = json.loads((tmp_path / "b/config.json").read_text())["annotations"]
    assert annotations["mine"] == "/x" and not set(names[:-1]) & set(annotations)


def test_etc_passwd_is_a_device(tmp_path: Path) -> None:
    """It is not opened."""
    image = layout(tmp_path / "i", BUSYBOX, layer(entry("etc/passwd", type=tarfile.FIFOTYPE)), User="7")
    made(image, tmp_path / "b")
    done = bundle(
        layout(tmp_path / "j", BUSYBOX, layer(link("etc/passwd", "/etc/shadow")), User="root"), tmp_path / "c"
    )
    assert done.returncode == 1 and "none of that name" in done.stderr


def test_a_layout_leads_nowhere_else(tmp_path: Path) -> None:
    image = layout(tmp_path / "i", BUSYBOX)
    (image / "blobs").rename(tmp_path / "elsewhere")
    (image / "blobs").symlink_to(tmp_path / "elsewhere")
    done = bundle(image, tmp_path / "b")
    assert done.returncode == 1 and ("ELOOP" in done.stderr or "ENOTDIR" in done.stderr)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/manifest.json").write_text('[{"Config": "../secret.json", "Layers": ["../../../dev/zero"]}]')
    done = bundle(tmp_path / "d", tmp_path / "b")
    assert done.returncode == 1 and "neither oci-layout" in done.stderr
    os.mkfifo(tmp_path / "fifo")
    done = bundle(tmp_path / "fifo", tmp_path / "b")
    assert done.returncode == 1 and "neither a file nor a directory" in done.stderr


@pytest.mark.parametrize("cut", [100, 5000, 100_000])
def test_a_file_that_is_cut_short(tmp_path: Path, cut: int) -> None:
    for form in ("tar", "gz"):
        image = docker(tmp_path / f"i.{form}", BUSYBOX)
        raw = image.read_bytes() if form == "tar" else gzip.compress(image.read_bytes())
        image.write_bytes(raw[:cut])
        done = bundle(image, tmp_path / "b")
        assert done.returncode == 1 and "read the image" in done.stderr and "itself failed" not in done.stderr, done
        assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    "index", ["[]", '{"manifests": null}', '{"manifests": 5}', '{"manifests": [{"platform": null}]}', '"x"', "{}"]
)
def test_an_index_of_another_form(tmp_path: Path, index: str) -> None:
    image = layout(tmp_path / "i", BUSYBOX)
    (image / "index.json").write_text(index)
    done = bundle(image, tmp_path / "b")
    assert done.returncode == 1 and "itself failed" not in done.stderr, done


@pytest.mark.parametrize(
    "said",
    [
        {"Entrypoint": "abc"}, {"Cmd": [1, None]}, {"Env": [{}]}, {"Env": "A=b"}, {"Labels": [1]}, {"Labels": {"a": 1}},
        {"ExposedPorts": [1, 2]}, {"User": "\u00b2"}, {"User": "9" * 5000}, {"User": "99999999999"},
        {"WorkingDir": ["a"]}, {"WorkingDir": "relative"},
    ],
    ids=str,
)  # fmt: skip
def test_a_config_of_another_form(tmp_path: Path, said: dict[str, Any]) -> None:
    done = bundle(layout(tmp_path / "i", BUSYBOX, **said), tmp_path / "b")
    assert done.returncode == 1 and "itself failed" not in done.stderr, done
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("manifest", ['{"a": 1}', "[1]", "[{}]", '[{"Config": 5, "Layers": []}]'])
def test_a_manifest_of_another_form(tmp_path: Path, manifest: str) -> None:
    with tarfile.open(tmp_path / "i.tar", "w") as tar:
        tar.addfile(entry("manifest.json", manifest.encode())[0], io.BytesIO(manifest.encode()))
    done = bundle(tmp_path / "i.tar", tmp_path / "b")
    assert done.returncode == 1 and "itself failed" not in done.stderr, done


def test_whiteouts_are_of_lower_layers_alone(tmp_path: Path) -> None:
    """In whatever order they come, and through symlinks too."""
    lower = layer(
        directory("a"), directory("a/b"), entry("a/b/lower", b"x"), entry("c", b"x"), directory("real"),
        entry("real/lower", b"x"), link("way", "real"), directory("e"), entry("e/lower", b"x"),
    )  # fmt: skip
    upper = layer(
        entry("a/b/new", b"y"), entry("a/.wh..wh..opq"), entry("c", b"y"), entry(".wh.c"), entry("way/new", b"y"),
        entry("real/.wh..wh..opq"), entry("e/new", b"y"), entry(".wh.e"),
    )  # fmt: skip
    root = made(layout(tmp_path / "i", BUSYBOX, lower, upper), tmp_path / "b")
    assert sorted(str(p.relative_to(root / "a")) for p in (root / "a").rglob("*")) == ["b", "b/new"]
    assert (root / "c").read_bytes() == b"y"
    assert [p.name for p in (root / "real").iterdir()] == ["new"] == [p.name for p in (root / "e").iterdir()]


def test_a_damaged_header(tmp_path: Path) -> None:
    raw = bytearray(layer(entry("a", b"x"), entry("b", b"x"), entry("c", b"x")))
    raw[1024 + 5] ^= 1
    done = bundle(layout(tmp_path / "i", BUSYBOX, bytes(raw)), tmp_path / "b")
    assert done.returncode == 1 and "a header is damaged" in done.stderr


def test_odd_members(tmp_path: Path) -> None:
    symlink = link("s", "busybox")
    symlink[0].pax_headers = {"SCHILY.xattr.user.mine": "v"}
    lower, upper = layer(entry("a", b"kept")), layer(link("a", "a", tarfile.LNKTYPE), symlink)
    root = made(layout(tmp_path / "i", BUSYBOX, lower, upper), tmp_path / "b")
    assert (root / "a").read_bytes() == b"kept"


def test_a_sparse_file(tmp_path: Path) -> None:
    """Its holes take no room."""
    (tmp_path / "f").write_bytes(b"begin")
    with open(tmp_path / "f", "r+b") as file:
        file.seek(1 << 30)
        file.write(b"end")
    subprocess.run(["tar", "-C", tmp_path, "--sparse", "--format=gnu", "-cf", tmp_path / "l.tar", "f"], check=True)
    root = made(layout(tmp_path / "i", BUSYBOX, (tmp_path / "l.tar").read_bytes()), tmp_path / "b")
    about = (root / "f").stat()
    assert about.st_size == (1 << 30) + 3 and about.st_blocks < 10_000
    with open(root / "f", "rb") as file:
        assert file.read(6) == b"begin\0"
        file.seek(1 << 30)
        assert file.read() == b"end"


def test_a_path_with_colons(tmp_path: Path) -> None:
    (tmp_path / "a:b").mkdir()
    made(f"{layout(tmp_path / 'a:b/i:1', BUSYBOX)}:latest", tmp_path / "b")
