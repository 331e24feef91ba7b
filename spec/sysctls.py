"""Which sysctls a container may set: those of a namespace of its own, all others are the host's (config-linux.md
"Sysctl"; the kernel marks them by their table set, so that the list is by prefix).
"""

from __future__ import annotations

# prefix of the path below /proc/sys: the namespace that must be the container's own
NAMESPACED = (
    ("net/", "network"),
    ("fs/mqueue/", "ipc"),
    ("kernel/msg", "ipc"),
    ("kernel/sem", "ipc"),
    ("kernel/shm", "ipc"),
    ("user/", "user"),
)
NAMESPACED_EXACT = {"kernel/domainname": "uts", "kernel/auto_msgmni": "ipc"}


def path(key: str) -> str:
    """The path below /proc/sys: dots separate, or slashes do, whichever comes first; the other then stands for itself.

    "net.ipv4.conf.eth0/1.forwarding" and "net/ipv4/conf/eth0.1/forwarding" are the same (sysctl(8)).
    Raises ValueError for a key that is no such path.
    """
    dot, slash = key.find("."), key.find("/")
    if dot != -1 and (slash == -1 or dot < slash):
        key = key.translate({0x2E: "/", 0x2F: "."})
    if any(part in ("", ".", "..") for part in key.split("/")):
        raise ValueError("not the name of a sysctl")
    return key


def namespace(path: str) -> str | None:
    """The type of the namespace that the sysctl at this path() belongs to, None for one of the whole host."""
    for prefix, kind in NAMESPACED:
        if path.startswith(prefix):
            return kind
    return NAMESPACED_EXACT.get(path)
