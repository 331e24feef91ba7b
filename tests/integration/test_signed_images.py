"""Images that somebody has signed, and a policy that asks who."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import PYRUN, Runtime
from test_bundle import BUSYBOX, docker, layout

pytestmark = [
    pytest.mark.pyrun_only("a thing of pyrun's own"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]


class Signer:
    """Somebody with a key."""

    def __init__(self, home: Path, name: str) -> None:
        home.mkdir(mode=0o700)
        self.home = home
        self.gpg("--passphrase", "", "--quick-generate-key", name, "ed25519", "sign", "never")
        listed = self.gpg("--with-colons", "--list-keys").stdout.decode().splitlines()
        self.fingerprint = next(line.split(":")[9] for line in listed if line.startswith("fpr"))
        self.keyring = home / "ring.gpg"
        self.keyring.write_bytes(self.gpg("--export").stdout)

    def gpg(self, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = ["gpg", "--batch", "--quiet", "--homedir", str(self.home), *arguments]
        try:
            return subprocess.run(command, input=data, capture_output=True, check=True)
        finally:
            subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False)
            end = time.monotonic() + 20
            while any(str(self.home) in text for text in command_lines()):
                assert time.monotonic() < end
                time.sleep(0.01)

    def claim(self, digest: str, **more: Any) -> Path:
        critical = {
            "type": "atomic container signature",
            "image": {"docker-manifest-digest": digest},
            "identity": {"docker-reference": "example.org/box"},
            **more,
        }
        file = self.home / f"claim-{digest[-8:]}"
        file.write_bytes(self.gpg("--sign", data=json.dumps({"critical": critical, "optional": {}}).encode()).stdout)
        return file


def command_lines() -> Iterator[str]:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield file.read_text(errors="replace")
        except OSError:
            continue  # it has ended


@pytest.fixture(scope="module")
def anna(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return Signer(tmp_path_factory.mktemp("anna") / "g", "anna@example.org")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return Signer(tmp_path_factory.mktemp("bert") / "g", "bert@example.org")


def manifest(image: Path) -> str:
    return str(json.loads((image / "index.json").read_text())["manifests"][0]["digest"])


def bundle(image: Path, into: Path, claim: Path, keyring: Path) -> subprocess.CompletedProcess[str]:
    command = [PYRUN, "bundle", "--copy", "--signature", claim, "--keyring", keyring, image, into]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_who_has_signed_it(tmp_path: Path, runtime: Runtime, anna: Signer, bert: Signer) -> None:
    image = layout(tmp_path / "i", BUSYBOX, Cmd=["/bin/busybox", "true"])
    done = bundle(image, tmp_path / "b", anna.claim(manifest(image)), anna.keyring)
    assert (done.returncode, done.stderr) == (0, "")
    policy = tmp_path / "policy"
    for names, code in (([anna.fingerprint], 0), ([bert.fingerprint], 1), ([], 1), ([anna.fingerprint.lower()], 0)):
        policy.write_text(json.dumps({"signers": names}))
        said = runtime("run", "--bundle", tmp_path / "b", "box", options=("--require", str(policy)))
        assert said.code == code, said
    assert (
        f"/root/path: is of an image that {anna.fingerprint} has signed"
        in runtime("check", tmp_path / "b", options=("--require", str(refusing(tmp_path)))).out
    )


def refusing(tmp_path: Path) -> Path:
    (tmp_path / "refusing").write_text('{"signers": []}')
    return tmp_path / "refusing"


def test_nobody_has(tmp_path: Path, runtime: Runtime) -> None:
    image = layout(tmp_path / "i", BUSYBOX)
    subprocess.run([PYRUN, "bundle", "--copy", image, tmp_path / "b"], check=True)
    said = runtime("check", tmp_path / "b", options=("--require", str(refusing(tmp_path))))
    assert "/root/path: is of an image that nobody has signed" in said.out


@pytest.mark.parametrize("how", ["key", "image", "text", "type", "damaged", "docker"])
def test_what_is_no_signature_of_it(tmp_path: Path, anna: Signer, bert: Signer, how: str) -> None:
    image = layout(tmp_path / "i", BUSYBOX)
    other = layout(tmp_path / "j", BUSYBOX, Cmd=["x"])
    claim, keyring, words = anna.claim(manifest(image)), anna.keyring, "gpgv says"
    if how == "key":
        keyring = bert.keyring
    elif how == "image":
        image, words = other, "and the image is"
    elif how == "text":
        claim.write_bytes(anna.gpg("--sign", data=b"hello").stdout)
        words = "is no claim about an image"
    elif how == "type":
        claim, words = anna.claim(manifest(image), type="something else"), "is no claim about an image"
    elif how == "damaged":
        raw = bytearray(claim.read_bytes())
        raw[len(raw) // 2] ^= 1
        claim.write_bytes(raw)
    else:
        image, words = docker(tmp_path / "d.tar", BUSYBOX), "the image has no manifest"
    done = bundle(image, tmp_path / "b", claim, keyring)
    assert done.returncode == 1
    assert words in done.stderr
    assert not (tmp_path / "b").exists()
