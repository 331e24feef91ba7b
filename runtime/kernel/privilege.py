"""What the runtime itself may do: root may be root of a user namespace only (user_namespaces(7))."""

from __future__ import annotations

import posix

from pyrun.kernel.files import read_bytes

_ALL_IDS = [b"0", b"0", b"4294967295"]


def nested() -> bool:
    """We are in another user namespace than the host's first, which has all ids as they are: no mknod(2) then, and no
    bpf(2), whoever we are."""
    try:
        return read_bytes("/proc/self/uid_map").split() != _ALL_IDS
    except OSError:  # a kernel without user namespaces
        return False


def rootless() -> bool:
    """Cgroups may be out of reach."""
    return posix.geteuid() != 0 or nested()


def own_capabilities() -> int:
    """The capabilities that this process could pass on: permitted and in the bounding set (proc(5), status)."""
    _, _, tail = read_bytes("/proc/self/status").partition(b"CapPrm:")
    permitted, _, tail = tail.partition(b"\n")
    _, _, tail = tail.partition(b"CapBnd:")
    return int(permitted, 16) & int(tail.partition(b"\n")[0], 16)
