"""Images made on the spot, since managers fetch nothing."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path


def files(folder: Path, also: Iterable[str] = ()) -> Path:
    """A tar archive of a busybox image's files, laid out in `folder`, which has nothing yet. also: applets that busybox
    may not list."""
    folder.mkdir(exist_ok=True)
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "var"):
        (folder / name).mkdir()
    (folder / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (folder / "bin/busybox").chmod(0o755)
    names = subprocess.check_output(["/bin/busybox", "--list"], text=True).split()
    for name in {*names, *also} - {"busybox"}:
        (folder / "bin" / name).symlink_to("busybox")
    (folder / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")
    path = folder.parent / f"{folder.name}.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(folder, ".")
    return path


def archive(layer: Path, name: str, command: list[str]) -> Path:
    """What `docker save` would write of an image with this one layer; it comes to lie beside that."""
    content = layer.read_bytes()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    config = json.dumps(
        {
            "architecture": machine,
            "os": "linux",
            "config": {"Cmd": command, "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
        }
    ).encode()
    digest = hashlib.sha256(config).hexdigest()
    manifest = json.dumps([{"Config": f"{digest}.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    path = layer.parent / f"{digest}.tar"
    with tarfile.open(path, "w") as tar:
        for member, raw in ((f"{digest}.json", config), ("layer.tar", content), ("manifest.json", manifest)):
            info = tarfile.TarInfo(member)
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    return path
