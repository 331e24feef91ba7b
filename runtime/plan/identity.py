"""process.user, capabilities, noNewPrivileges: who the program runs as (config.md "Linux Process", capabilities(7))."""

from __future__ import annotations

from _struct import Struct
from errno import EINVAL, EPERM

from pyrun.runtime.linux import (
    LINUX_CAPABILITY_VERSION_3,
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAP_AMBIENT_RAISE,
    PR_CAPBSET_DROP,
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    SIGKILL,
)
from pyrun.runtime.program import Program
from pyrun.spec.capabilities import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import Process

_CAP_HEADER = Struct("<Ii")
_CAP_DATA = Struct("<6I")
LAST_CAPABILITY = max(CAPABILITIES.values())

# The spec says to inherit an unset umask; runc and crun set this one, and images rely on it.
DEFAULT_UMASK = 0o022


def become(p: Program, process: Process, available: int, setgroups: bool) -> None:
    """Take the configured user and capabilities. `available`: the capabilities that can be had at all, as bits."""
    user = process.get("user", {})
    sets = process.get("capabilities", {})
    bounding = _bits(sets.get("bounding", [])) & available
    effective = _bits(sets.get("effective", [])) & available
    permitted = _bits(sets.get("permitted", [])) & available
    inheritable = _bits(sets.get("inheritable", [])) & available
    ambient = _bits(sets.get("ambient", [])) & available
    with p.source("/process/capabilities/bounding"):
        for capability in range(LAST_CAPABILITY + 1):
            if not bounding >> capability & 1:
                # An older kernel doesn't know the newest ones (EINVAL), and then can't grant them either.
                skip = p.label()
                p.prctl(PR_CAPBSET_DROP, capability, errors={EINVAL: skip})
                p.place(skip)
    with p.source("/process/user"):
        p.prctl(PR_SET_KEEPCAPS, 1)
        _groups(p, process, setgroups)
        with p.source("gid"):
            p.call("setresgid", *(user.get("gid", 0),) * 3, note=_UNMAPPED)
        with p.source("uid"):
            p.call("setresuid", *(user.get("uid", 0),) * 3, note=_UNMAPPED)
        p.prctl(PR_SET_KEEPCAPS, 0)
        # Both were undone by the change of ids.
        p.prctl(PR_SET_DUMPABLE, 0)
        p.prctl(PR_SET_PDEATHSIG, SIGKILL)
    with p.source("/process/capabilities"):
        header = _CAP_HEADER.pack(LINUX_CAPABILITY_VERSION_3, 0)
        low = [bits & 0xFFFFFFFF for bits in (effective, permitted, inheritable)]
        high = [bits >> 32 for bits in (effective, permitted, inheritable)]
        p.call("capset", header, _CAP_DATA.pack(*low, *high))
        # In no ambient set unless asked for by name (CVE-2022-29162); one that isn't grantable is skipped (MUST 59).
        p.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
        for capability in range(LAST_CAPABILITY + 1):
            if ambient >> capability & 1:
                skip = p.label()
                p.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, errors={EPERM: skip, EINVAL: skip})
                p.place(skip)
    with p.source("/process/user/umask"):
        p.call("umask", user.get("umask", DEFAULT_UMASK))
    if process.get("noNewPrivileges"):
        with p.source("/process/noNewPrivileges"):
            p.prctl(PR_SET_NO_NEW_PRIVS, 1)


def _groups(p: Program, process: Process, setgroups: bool) -> None:
    groups = process.get("user", {}).get("additionalGids", [])
    with p.source("additionalGids"):
        if setgroups or groups:
            p.call("setgroups", len(groups), b"".join(gid.to_bytes(4, "little") for gid in groups), note=_SETGROUPS)


def _bits(names: list[str]) -> int:
    bits = 0
    for name in names:
        if name in CAPABILITIES:
            bits |= 1 << CAPABILITIES[name]
    return bits


_UNMAPPED = "EINVAL here means: the id has no mapping in the user namespace"
_SETGROUPS = "additional groups need a user namespace whose gidMappings were written with privilege"
