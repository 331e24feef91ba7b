"""Which security modules this host has: loaded only where a config asks for one."""

from __future__ import annotations

from pyrun.errors import Error
from pyrun.kernel.constants import UNCONFINED
from pyrun.kernel.files import read_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import Process

_PROFILES = "/sys/kernel/security/apparmor/profiles"


def require(process: Process) -> None:
    """Raises Error for a profile or label that this host has no module for."""
    profile = process.get("apparmorProfile", "")
    if profile not in ("", UNCONFINED) and not apparmor():
        hint = "boot with apparmor, or leave the profile out"
        raise Error("apparmor is not enabled on this host", pointer="/process/apparmorProfile", hint=hint)
    if process.get("selinuxLabel") and not selinux():
        words = "selinux is not in force on this host"
        raise Error(words, pointer="/process/selinuxLabel", hint="load a policy, or leave the label out")


def require_loaded(profile: str, pointer: str = "") -> None:
    """Raises Error for a profile that AppArmor has not been given. Where that can't be seen (no AppArmor, or securityfs
    is not mounted), and of a stack of profiles, nothing is said."""
    lines = _read(_PROFILES).splitlines()  # each: the name, and its mode in parentheses
    if not lines or "//&" in profile or profile in ("", UNCONFINED):
        return
    if profile.encode() not in {line.rpartition(b" (")[0] for line in lines}:
        hint = "load it with apparmor_parser"
        raise Error(f"AppArmor has no profile {profile}", pointer=pointer, hint=hint)


def apparmor() -> bool:
    """AppArmor is in force on this host."""
    return _first("/sys/module/apparmor/parameters/enabled") == b"Y"


def selinux() -> bool:
    """There is SELinux, and a policy: without one everything is labelled "kernel" (selinux(8))."""
    known = b"selinuxfs" in _read("/proc/filesystems")
    return known and _first("/proc/self/attr/current") not in (b"", b"kernel")


def _first(path: str) -> bytes:
    return _read(path).partition(b"\n")[0].rstrip(b"\0")


def _read(path: str) -> bytes:
    try:
        return read_bytes(path)
    except OSError:  # not there; attr/current without a module: EINVAL
        return b""
