"""What `features` prints (features.md, features-linux.md).

Every list is read off the table or schema that the runtime itself goes by, so that it can't say more than is true
(MUST 140). What a build or a host leaves out of them is the caller's knowledge.
"""

from __future__ import annotations

from pyrun.spec import schema
from pyrun.spec.capabilities import CAPABILITIES
from pyrun.spec.checks.document import HOOKS
from pyrun.spec.mount_options import OPTIONS
from pyrun.spec.namespaces import NAMESPACES
from pyrun.spec.version import OCI_VERSION_MIN, SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

CGROUP = {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True}


def features(
    cgroup: Mapping[str, bool] = CGROUP,
    seccomp_flags: Collection[str] | None = None,
    unsafe_annotations: Collection[str] = (),
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The features document.

    cgroup             -- which kinds of cgroups there is code for
    seccomp_flags      -- the filter flags that work here; None if there is no seccomp at all
    unsafe_annotations -- annotations, or prefixes that end in a dot, which a manager should not let users set
    annotations        -- versions and the like, for people
    """
    syscalls = _entries("seccomp", "syscalls")
    seccomp: dict[str, Any] = {"enabled": seccomp_flags is not None}
    if seccomp_flags is not None:
        known_flags = _entries("seccomp", "flags")["enum"]
        seccomp |= {
            "actions": sorted(syscalls["properties"]["action"]["enum"]),
            "operators": sorted(syscalls["properties"]["args"]["items"]["properties"]["op"]["enum"]),
            "archs": sorted(_entries("seccomp", "architectures")["enum"]),
            "knownFlags": sorted(known_flags),
            "supportedFlags": sorted(flag for flag in seccomp_flags if flag in known_flags),
        }
    memory_policy = schema.load("config", "linux")["properties"]["memoryPolicy"]["properties"]
    document: dict[str, Any] = {
        "ociVersionMin": OCI_VERSION_MIN,
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": sorted(OPTIONS),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": list(CAPABILITIES),
            "cgroup": dict(cgroup),
            "seccomp": seccomp,
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": {
                "modes": list(memory_policy["mode"]["enum"]),
                "flags": list(memory_policy["flags"]["items"]["enum"]),
            },
            # MUST 142: id-mapped mounts count as supported even when only some are.
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
    }
    if annotations is not None:
        document["annotations"] = dict(annotations)
    if unsafe_annotations:
        document["potentiallyUnsafeConfigAnnotations"] = sorted(unsafe_annotations)
    return document


def _entries(part: str, list_name: str) -> dict[str, Any]:
    """The schema of the entries of a list."""
    items: dict[str, Any] = schema.load("config", part)["properties"][list_name]["items"]
    return items
