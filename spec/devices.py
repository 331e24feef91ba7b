"""The devices and symlinks that every container has in /dev (config-linux.md "Default Devices", runtime-linux.md)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

# MUST 89: path, type, major, minor. Mode 0666, owner root.
DEFAULT_DEVICES: tuple[tuple[str, Literal["c", "b"], int, int], ...] = (
    ("/dev/null", "c", 1, 3),
    ("/dev/zero", "c", 1, 5),
    ("/dev/full", "c", 1, 7),
    ("/dev/random", "c", 1, 8),
    ("/dev/urandom", "c", 1, 9),
    ("/dev/tty", "c", 5, 0),
)
DEFAULT_DEVICE_MODE = 0o666

# MUST 89: /dev/ptmx leads to the container's own devpts. /dev/console is a bind of the terminal, if there is one.
PTMX_LINK = ("/dev/ptmx", "pts/ptmx")

# MUST 42: symlink, target. Each is made when its target is there after the mounts.
DEV_LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
)

# The types of linux.devices: the bits of st_mode. u is an unbuffered character device, the same to the kernel.
TYPES = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}
