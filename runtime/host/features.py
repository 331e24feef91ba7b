"""What pyrun supports here, from the tables that the code itself goes by, less what it refuses (features.md)."""

from __future__ import annotations

import sys

from pyrun.host.seccomp import library_version
from pyrun.spec import features as spec_features
from pyrun.spec import seccomp
from pyrun.version import COMMIT, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def features() -> dict[str, Any]:
    """The document that `pyrun features` prints."""
    libseccomp = library_version()
    document: dict[str, Any] = spec_features.features(
        cgroup={"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
        seccomp_flags=seccomp.FLAGS,
        unsafe_annotations=["bundle", "org.systemd.property.", "run.oci."],
        annotations={
            "org.pyrun.version": VERSION,
            # runc's names
            "org.opencontainers.runc.checkpoint.enabled": "true",
            **({"org.pyrun.commit": COMMIT} if COMMIT else {}),
            "org.pyrun.python": sys.version.split()[0],
            **({"io.github.seccomp.libseccomp.version": libseccomp} if libseccomp else {}),
        },
    )
    document["linux"]["seccomp"]["actions"] = sorted(seccomp.ACTIONS)
    return document
