"""process.user, capabilities, noNewPrivileges: who the program runs as (config.md "Linux Process", capabilities(7))."""

from __future__ import annotations

from _struct import Struct
from errno import EINVAL, EPERM

from pyrun.kernel.constants import (
    LINUX_CAPABILITY_VERSION_3,
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAP_AMBIENT_RAISE,
    PR_CAPBSET_DROP,
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
)
from pyrun.kernel.signals import SIGKILL
from pyrun.machine.program import PASS, Program
from pyrun.spec.capabilities import CAPABILITIES, mask
from pyrun.spec.faults import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrun.plan.facts import Facts
    from pyrun.spec.capabilities import CapabilitySet
    from pyrun.spec.config import Process

_CAP_HEADER = Struct("<Ii")
_CAP_DATA = Struct("<6I")
LAST_CAPABILITY = max(CAPABILITIES.values())

# The spec says to inherit an unset umask; runc and crun set this one, and images rely on it.
DEFAULT_UMASK = 0o022


def become(p: Program, process: Process, facts: Facts, has_userns: bool) -> None:
    """Take the configured user and capabilities, but for what `lends` says."""
    user = process.get("user", {})
    granted = grantable(process, available(facts, has_userns))
    bounding, ambient = granted["bounding"], granted["ambient"]
    with p.at("/process/capabilities/bounding"):
        for capability in range(LAST_CAPABILITY + 1):
            if not bounding >> capability & 1:
                # An older kernel doesn't know the newest ones (EINVAL), and then can't grant them either.
                p.prctl(PR_CAPBSET_DROP, capability, ignore=(EINVAL,))
    with p.at("/process/user"):
        p.prctl(PR_SET_KEEPCAPS, 1)
        if not facts.keep_groups:
            _groups(p, process, facts.privileged)
        with p.at("gid"):
            p.call("setresgid", *(user.get("gid", 0),) * 3, note=_UNMAPPED)
        with p.at("uid"):
            p.call("setresuid", *(user.get("uid", 0),) * 3, note=_UNMAPPED)
        p.prctl(PR_SET_KEEPCAPS, 0)
        # Both were undone by the change of ids.
        p.prctl(PR_SET_DUMPABLE, 0)
        p.prctl(PR_SET_PDEATHSIG, SIGKILL)
    with p.at("/process/capabilities"):
        _capset(p, granted, 1 << CAPABILITIES["CAP_SYS_ADMIN"] if lends(process, facts) else 0)
        # In no ambient set unless asked for by name (CVE-2022-29162); one that isn't grantable is skipped (MUST 59).
        p.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
        for capability in range(LAST_CAPABILITY + 1):
            if ambient >> capability & 1:
                p.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, ignore=(EPERM, EINVAL))
    with p.at("/process/user/umask"):
        p.call("umask", user.get("umask", DEFAULT_UMASK))
    if process.get("noNewPrivileges"):
        with p.at("/process/noNewPrivileges"):
            p.prctl(PR_SET_NO_NEW_PRIVS, 1)


def lends(process: Process, facts: Facts) -> bool:
    """Loading the filter takes CAP_SYS_ADMIN then; it is given back as soon as that is done (seccomp(2))."""
    return bool(facts.seccomp) and not process.get("noNewPrivileges")


def give_back(p: Program, process: Process, capabilities: int) -> None:
    """The sets as configured. After the filter, whose password lets this through."""
    with p.at("/process/capabilities"):
        _capset(p, grantable(process, capabilities), 0)


def give_up(p: Program) -> None:
    """All capabilities: there is no program to have any."""
    with p.at("/process"):
        p.call("capset", _CAP_HEADER.pack(LINUX_CAPABILITY_VERSION_3, 0), bytes(_CAP_DATA.size), 0, 0, 0, PASS)


def _capset(p: Program, granted: dict[CapabilitySet, int], lent: int) -> None:
    sets = granted["effective"] | lent, granted["permitted"] | lent, granted["inheritable"]
    header = _CAP_HEADER.pack(LINUX_CAPABILITY_VERSION_3, 0)
    low = [bits & 0xFFFFFFFF for bits in sets]
    high = [bits >> 32 for bits in sets]
    p.call("capset", header, _CAP_DATA.pack(*low, *high), 0, 0, 0, PASS)


def available(facts: Facts, has_userns: bool) -> int:
    """The capabilities that can be had at all, as bits: all in a user namespace, else those of the runtime."""
    return (1 << LAST_CAPABILITY + 1) - 1 if has_userns else facts.capabilities


def grantable(process: Process, capabilities: int) -> dict[CapabilitySet, int]:
    """The five sets as the kernel will grant them, as bits (capset(2), capabilities(7) "Transformation ..."): what is
    not to be had is left out, not refused (MUST 59)."""
    sets = process.get("capabilities", {})
    bounding = mask(sets.get("bounding", [])) & capabilities
    permitted = mask(sets.get("permitted", [])) & capabilities
    inheritable = mask(sets.get("inheritable", [])) & bounding
    return {
        "bounding": bounding,
        "permitted": permitted,
        "inheritable": inheritable,
        "effective": mask(sets.get("effective", [])) & permitted,
        "ambient": mask(sets.get("ambient", [])) & permitted & inheritable,
    }


def warnings(process: Process, capabilities: int) -> list[Fault]:
    """One for all capabilities that are known but won't be granted, since this caller has not got them. Not of an
    ambient one without its inheritable twin: configs of Go's world are full of these, and runc says nothing."""
    sets: Mapping[str, list[str]] = process.get("capabilities", {})  # type: ignore[assignment]
    asked = dict.fromkeys(name for kind in ("bounding", "effective", "permitted") for name in sets.get(kind, []))
    missing = [name for name in asked if name in CAPABILITIES and not capabilities >> CAPABILITIES[name] & 1]
    if not missing:
        return []
    return [Fault("/process/capabilities", f"can't be granted: {', '.join(missing)}", "MUST 59")]


def _groups(p: Program, process: Process, setgroups: bool) -> None:
    groups = process.get("user", {}).get("additionalGids", [])
    with p.at("additionalGids"):
        if setgroups or groups:
            p.call("setgroups", len(groups), b"".join(gid.to_bytes(4, "little") for gid in groups), note=_SETGROUPS)


_UNMAPPED = "EINVAL here means: the id has no mapping in the user namespace"
_SETGROUPS = "additional groups need a user namespace whose gidMappings were written with privilege"
