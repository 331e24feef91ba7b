"""System call numbers, one row a call: x86_64, aarch64 (the kernel's syscall_64.tbl and asm-generic/unistd.h).

Only calls that exist on both are here: the *at forms and statx (never fstat or open). The operands of clone are not in
the same order on both: only the first is used.
"""

from __future__ import annotations

import posix

MACHINES = ("x86_64", "aarch64")

NUMBERS = {
    "bpf": (321, 280),
    "capset": (126, 91),
    "chdir": (80, 49),
    "chroot": (161, 51),
    "clone": (56, 220),
    "clone3": (435, 435),
    "close": (3, 57),
    "close_range": (436, 436),
    "dup3": (292, 24),
    "execve": (59, 221),
    "exit_group": (231, 94),
    "faccessat2": (439, 439),
    "fchdir": (81, 50),
    "fchmodat": (268, 53),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "fsconfig": (431, 431),
    "fsetxattr": (190, 7),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "fstatfs": (138, 44),
    "getcwd": (79, 17),
    "ioctl": (16, 29),
    "ioprio_set": (251, 30),
    "keyctl": (250, 219),
    "mkdirat": (258, 34),
    "mknodat": (259, 33),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "openat": (257, 56),
    "openat2": (437, 437),
    "personality": (135, 92),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "read": (0, 63),
    "readlinkat": (267, 78),
    "readv": (19, 65),
    "rt_sigaction": (13, 134),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "seccomp": (317, 277),
    "sendmsg": (46, 211),
    "set_mempolicy": (238, 237),
    "setdomainname": (171, 162),
    "setgroups": (116, 159),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "setresgid": (119, 149),
    "setresuid": (117, 147),
    "setpgid": (109, 154),
    "setsid": (112, 157),
    "socket": (41, 198),
    "statx": (332, 291),
    "symlinkat": (266, 36),
    "umask": (95, 166),
    "umount2": (166, 39),
    "unlinkat": (263, 35),
    "unshare": (272, 97),
    "write": (1, 64),
    "writev": (20, 66),
}


def numbers(machine: str) -> dict[str, int]:
    """The numbers of one machine, as `uname -m` names it. Raises LookupError for one that pyrun does not know."""
    if machine not in MACHINES:
        raise LookupError(f"pyrun runs on {' and '.join(MACHINES)}, not on {machine}")
    column = MACHINES.index(machine)
    return {name: row[column] for name, row in NUMBERS.items()}


def here() -> str:
    """This machine's name."""
    return posix.uname().machine
