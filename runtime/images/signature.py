"""Who has signed an image: a claim as `podman push --sign-by` and `skopeo standalone-sign` write them
(containers/image, "containers-signature"): an OpenPGP message, signed, that names the digest of the image's manifest.

gpgv(1) judges it, by a keyring of the caller's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from tempfile import TemporaryDirectory

from pyrun.errors import Error
from pyrun.spec import strictjson
from pyrun.spec.faults import Invalid

_SECONDS = 60


def signer(claim: str, keyring: str, manifest: str) -> str:
    """The fingerprint of the key in `keyring` that has signed the claim that the image is that of this digest. Raises
    Error."""
    what = "verify the signature"
    if not manifest:
        detail = "the image has no manifest with a digest: docker save's archives have none"
        raise Error(what, detail=detail, hint="an OCI layout or archive has one")
    program = shutil.which("gpgv")
    if not program:
        raise Error(what, detail="gpgv is not installed", hint="install gpgv")
    with TemporaryDirectory(prefix="pyrun-") as directory:
        payload = f"{directory}/payload"
        # A keyring without a slash in its name would be looked for in a directory of GnuPG's.
        command = [program, "--status-fd", "1", "--keyring", os.path.abspath(keyring), "--output", payload, claim]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_SECONDS, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            raise Error(what, detail=f"gpgv has not ended within {_SECONDS} s") from None
        rows = [line.split() for line in done.stdout.splitlines()]
        valid = [row for row in rows if row[:2] == ["[GNUPG:]", "VALIDSIG"]]
        if done.returncode or len(valid) != 1:
            said = done.stderr.strip().split("\n")[-1]
            raise Error(what, detail=f"gpgv says: {said}" if said else "it is not valid")
        with open(payload, "rb") as file:
            claimed = _claimed(file.read())
    if claimed != manifest:
        raise Error(what, detail=f"it is of {claimed}, and the image is {manifest}")
    return valid[0][-1]  # the primary key's


def _claimed(payload: bytes) -> str:
    try:
        critical = strictjson.loads(payload)["critical"]
        if critical["type"] not in ("atomic container signature", "cosign container image signature"):
            raise ValueError(critical["type"])
        return str(critical["image"]["docker-manifest-digest"])
    except (Invalid, KeyError, TypeError, ValueError):
        raise Error("verify the signature", detail="what is signed is no claim about an image") from None
