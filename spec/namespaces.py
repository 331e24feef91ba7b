"""Namespaces: the type in linux.namespaces, the flag for clone(2), and the name in /proc/PID/ns (namespaces(7))."""

from __future__ import annotations

NAMESPACES = {
    "cgroup": (0x02000000, "cgroup"),
    "ipc": (0x08000000, "ipc"),
    "mount": (0x00020000, "mnt"),
    "network": (0x40000000, "net"),
    "pid": (0x20000000, "pid"),
    "time": (0x00000080, "time"),
    "user": (0x10000000, "user"),
    "uts": (0x04000000, "uts"),
}

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# The clocks of linux.timeOffsets as /proc/PID/timens_offsets calls them (time_namespaces(7)).
CLOCKS = ("monotonic", "boottime")
