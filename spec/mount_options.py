"""Mount options: one row an option, and parse(), which adds up the options of one mount.

Sources: config.md "Linux mount options", mount(8), linux/mount.h, and fs/fs_context.c for the names of the superblock
flags. An option without a row is for the filesystem, as config.md asks.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import IDMapping

# mount(2)
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_MANDLOCK = 64
MS_DIRSYNC = 128
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_SILENT = 32768
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_I_VERSION = 1 << 23
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

# fsmount(2), mount_setattr(2)
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70  # a field of three values, not bits: to change it, all of it must be in attr_clr
MOUNT_ATTR_RELATIME = 0x00
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

# What the new mount API can't say: only mount(2) takes these.
MS_ONLY = MS_SILENT | MS_I_VERSION

# The kinds of row. Where a column says nothing to a kind it is 0 or "".
FLAG = 0  # MS_ flag, set or clear, the MOUNT_ATTR_ of it, its name for FSCONFIG_SET_FLAG
ATIME = 1  # the same for the modes of atime, which exclude one another: the last one named holds
RECURSIVE = 2  # MOUNT_ATTR_, set or clear, for mount_setattr(AT_RECURSIVE)
RATIME = 3  # the same for the modes of atime
PROPAGATION = 4  # MS_ flag, with MS_REC or without
SWITCH = 5  # the slot of MountOptions that becomes True
NOTHING = 6

SET = True
CLEAR = False

# name: (kind, MS_ flag, set or clear, MOUNT_ATTR_, name)
OPTIONS: dict[str, tuple[int, int, bool, int, str]] = {
    # MUST 50
    "defaults": (NOTHING, 0, SET, 0, ""),
    "bind": (SWITCH, 0, SET, 0, "bind"),
    "rbind": (SWITCH, 0, SET, 0, "rbind"),
    "remount": (SWITCH, 0, SET, 0, "remount"),
    "ro": (FLAG, MS_RDONLY, SET, MOUNT_ATTR_RDONLY, "ro"),
    "rw": (FLAG, MS_RDONLY, CLEAR, MOUNT_ATTR_RDONLY, "rw"),
    "nosuid": (FLAG, MS_NOSUID, SET, MOUNT_ATTR_NOSUID, ""),
    "suid": (FLAG, MS_NOSUID, CLEAR, MOUNT_ATTR_NOSUID, ""),
    "nodev": (FLAG, MS_NODEV, SET, MOUNT_ATTR_NODEV, ""),
    "dev": (FLAG, MS_NODEV, CLEAR, MOUNT_ATTR_NODEV, ""),
    "noexec": (FLAG, MS_NOEXEC, SET, MOUNT_ATTR_NOEXEC, ""),
    "exec": (FLAG, MS_NOEXEC, CLEAR, MOUNT_ATTR_NOEXEC, ""),
    "nodiratime": (FLAG, MS_NODIRATIME, SET, MOUNT_ATTR_NODIRATIME, ""),
    "diratime": (FLAG, MS_NODIRATIME, CLEAR, MOUNT_ATTR_NODIRATIME, ""),
    "noatime": (ATIME, MS_NOATIME, SET, MOUNT_ATTR_NOATIME, ""),
    "atime": (ATIME, MS_NOATIME, CLEAR, MOUNT_ATTR_NOATIME, ""),
    "relatime": (ATIME, MS_RELATIME, SET, MOUNT_ATTR_RELATIME, ""),
    "norelatime": (ATIME, MS_RELATIME, CLEAR, MOUNT_ATTR_RELATIME, ""),
    "strictatime": (ATIME, MS_STRICTATIME, SET, MOUNT_ATTR_STRICTATIME, ""),
    "nostrictatime": (ATIME, MS_STRICTATIME, CLEAR, MOUNT_ATTR_STRICTATIME, ""),
    "sync": (FLAG, MS_SYNCHRONOUS, SET, 0, "sync"),
    "async": (FLAG, MS_SYNCHRONOUS, CLEAR, 0, "async"),
    "dirsync": (FLAG, MS_DIRSYNC, SET, 0, "dirsync"),
    "lazytime": (FLAG, MS_LAZYTIME, SET, 0, "lazytime"),
    "nolazytime": (FLAG, MS_LAZYTIME, CLEAR, 0, "nolazytime"),
    "iversion": (FLAG, MS_I_VERSION, SET, 0, ""),
    "noiversion": (FLAG, MS_I_VERSION, CLEAR, 0, ""),
    "silent": (FLAG, MS_SILENT, SET, 0, ""),
    "loud": (FLAG, MS_SILENT, CLEAR, 0, ""),
    "shared": (PROPAGATION, MS_SHARED, SET, 0, ""),
    "rshared": (PROPAGATION, MS_SHARED | MS_REC, SET, 0, ""),
    "slave": (PROPAGATION, MS_SLAVE, SET, 0, ""),
    "rslave": (PROPAGATION, MS_SLAVE | MS_REC, SET, 0, ""),
    "private": (PROPAGATION, MS_PRIVATE, SET, 0, ""),
    "rprivate": (PROPAGATION, MS_PRIVATE | MS_REC, SET, 0, ""),
    "unbindable": (PROPAGATION, MS_UNBINDABLE, SET, 0, ""),
    "runbindable": (PROPAGATION, MS_UNBINDABLE | MS_REC, SET, 0, ""),
    # MUST 51, and the options that config.md lists as SHOULD or MAY
    "idmap": (SWITCH, 0, SET, 0, "idmap"),
    "ridmap": (SWITCH, 0, SET, 0, "ridmap"),
    "tmpcopyup": (SWITCH, 0, SET, 0, "tmpcopyup"),
    "mand": (FLAG, MS_MANDLOCK, SET, 0, "mand"),
    "nomand": (FLAG, MS_MANDLOCK, CLEAR, 0, "nomand"),
    "nosymfollow": (FLAG, MS_NOSYMFOLLOW, SET, MOUNT_ATTR_NOSYMFOLLOW, ""),
    "symfollow": (FLAG, MS_NOSYMFOLLOW, CLEAR, MOUNT_ATTR_NOSYMFOLLOW, ""),
    "rro": (RECURSIVE, 0, SET, MOUNT_ATTR_RDONLY, ""),
    "rrw": (RECURSIVE, 0, CLEAR, MOUNT_ATTR_RDONLY, ""),
    "rnosuid": (RECURSIVE, 0, SET, MOUNT_ATTR_NOSUID, ""),
    "rsuid": (RECURSIVE, 0, CLEAR, MOUNT_ATTR_NOSUID, ""),
    "rnodev": (RECURSIVE, 0, SET, MOUNT_ATTR_NODEV, ""),
    "rdev": (RECURSIVE, 0, CLEAR, MOUNT_ATTR_NODEV, ""),
    "rnoexec": (RECURSIVE, 0, SET, MOUNT_ATTR_NOEXEC, ""),
    "rexec": (RECURSIVE, 0, CLEAR, MOUNT_ATTR_NOEXEC, ""),
    "rnodiratime": (RECURSIVE, 0, SET, MOUNT_ATTR_NODIRATIME, ""),
    "rdiratime": (RECURSIVE, 0, CLEAR, MOUNT_ATTR_NODIRATIME, ""),
    "rnosymfollow": (RECURSIVE, 0, SET, MOUNT_ATTR_NOSYMFOLLOW, ""),
    "rsymfollow": (RECURSIVE, 0, CLEAR, MOUNT_ATTR_NOSYMFOLLOW, ""),
    "rnoatime": (RATIME, 0, SET, MOUNT_ATTR_NOATIME, ""),
    "ratime": (RATIME, 0, CLEAR, MOUNT_ATTR_NOATIME, ""),
    "rrelatime": (RATIME, 0, SET, MOUNT_ATTR_RELATIME, ""),
    "rnorelatime": (RATIME, 0, CLEAR, MOUNT_ATTR_RELATIME, ""),
    "rstrictatime": (RATIME, 0, SET, MOUNT_ATTR_STRICTATIME, ""),
    "rnostrictatime": (RATIME, 0, CLEAR, MOUNT_ATTR_STRICTATIME, ""),
    # not in config.md; the peers have them. What belongs to the superblock has no mounts below it.
    "rsync": (FLAG, MS_SYNCHRONOUS, SET, 0, "sync"),
    "rasync": (FLAG, MS_SYNCHRONOUS, CLEAR, 0, "async"),
    "rdirsync": (FLAG, MS_DIRSYNC, SET, 0, "dirsync"),
    "rmand": (FLAG, MS_MANDLOCK, SET, 0, "mand"),
    "rnomand": (FLAG, MS_MANDLOCK, CLEAR, 0, "nomand"),
    "copy-symlink": (SWITCH, 0, SET, 0, "copy_symlink"),
    "src-nofollow": (SWITCH, 0, SET, 0, "src_nofollow"),
    "dest-nofollow": (SWITCH, 0, SET, 0, "dest_nofollow"),
}


# SELinux values hold commas, so they may come in quotes, which mount(2) takes off but fsconfig(2) doesn't.
_QUOTED = ("context", "fscontext", "defcontext", "rootcontext")


class MountOptions:
    """What the options of one mount add up to. Where options contradict each other the last one holds.

    bind, rbind    -- a bind mount; rbind: with the mounts below the source (bind is True too)
    remount        -- change a mount that is there
    ms_flags       -- for mount(2), with MS_BIND, MS_REC and MS_REMOUNT, without propagation
    attr_set/_clr  -- MOUNT_ATTR_ bits of this mount; an atime option puts all of MOUNT_ATTR__ATIME into attr_clr
    recursive_set/_clr -- MOUNT_ATTR_ bits of this mount and all below it, for mount_setattr(AT_RECURSIVE)
    sb_flags       -- (index, name for FSCONFIG_SET_FLAG) of the superblock. Those that switch off, such as "rw",
                      only for a remount: a new superblock has them off. None for a bind: it leaves its source's alone
    propagation    -- (index, MS_ flag, perhaps with MS_REC), each to be applied in turn after the mount is made
    data           -- (index, key, value or None) for the filesystem, in order
    idmap, ridmap  -- an id-mapped mount; ridmap: with the mounts below it (idmap is True too)
    mappings       -- (uids, gids) of an option idmap=..., each as in mounts' uidMappings; None without one
    tmpcopyup, copy_symlink, src_nofollow, dest_nofollow -- as named
    index          -- where in the list an option is (its last place), so that errors can point at it
    """

    __slots__ = (
        "attr_clr",
        "attr_set",
        "bind",
        "copy_symlink",
        "data",
        "dest_nofollow",
        "idmap",
        "index",
        "mappings",
        "ms_flags",
        "propagation",
        "rbind",
        "recursive_clr",
        "recursive_set",
        "remount",
        "ridmap",
        "sb_flags",
        "src_nofollow",
        "tmpcopyup",
    )

    def __init__(self) -> None:
        self.bind = False
        self.rbind = False
        self.remount = False
        self.ms_flags = 0
        self.attr_set = 0
        self.attr_clr = 0
        self.recursive_set = 0
        self.recursive_clr = 0
        self.sb_flags: list[tuple[int, str]] = []
        self.propagation: list[tuple[int, int]] = []
        self.data: list[tuple[int, str, str | None]] = []
        self.idmap = False
        self.ridmap = False
        self.mappings: tuple[list[IDMapping], list[IDMapping]] | None = None
        self.tmpcopyup = False
        self.copy_symlink = False
        self.src_nofollow = False
        self.dest_nofollow = False
        self.index: dict[str, int] = {}

    @property
    def ms_only(self) -> int:
        """The flags set that only mount(2) can take, not the new mount API."""
        return self.ms_flags & MS_ONLY


def parse(options: list[str]) -> MountOptions:
    """Read the options of one mount. What isn't in the table is data for the filesystem. Raises ValueError for an
    idmap=... that can't be read."""
    found = MountOptions()
    ms_flags = 0
    superblock: dict[int, tuple[int, str, bool]] = {}
    atime = ratime = -1
    for i, option in enumerate(options):
        row = OPTIONS.get(option)
        if option.startswith(ID_MAPS):
            found.mappings = id_maps(option)
            found.index[option.partition("=")[0]] = i
            found.idmap = True
            found.ridmap |= option[0] == "r"
            continue
        if row is None:
            found.data.extend((i, *item) for item in _data(option))
            continue
        found.index[option] = i
        kind, flag, on, attribute, name = row
        if kind == FLAG:
            ms_flags = ms_flags | flag if on else ms_flags & ~flag
            if on:
                found.attr_set |= attribute
                found.attr_clr &= ~attribute
            else:
                found.attr_set &= ~attribute
                found.attr_clr |= attribute
            if name:
                superblock.pop(flag, None)
                superblock[flag] = (i, name, on)
        elif kind == ATIME:
            if on:
                ms_flags = ms_flags & ~_MS_ATIME | flag
                atime = attribute
            else:
                ms_flags &= ~flag
                atime = MOUNT_ATTR_RELATIME if atime in (-1, attribute) else atime
        elif kind == RECURSIVE:
            if on:
                found.recursive_set |= attribute
                found.recursive_clr &= ~attribute
            else:
                found.recursive_set &= ~attribute
                found.recursive_clr |= attribute
        elif kind == RATIME:
            if on:
                ratime = attribute
            else:
                ratime = MOUNT_ATTR_RELATIME if ratime in (-1, attribute) else ratime
        elif kind == PROPAGATION:
            found.propagation.append((i, flag))
        elif kind == SWITCH:
            setattr(found, name, True)
    if atime != -1:
        found.attr_set |= atime
        found.attr_clr |= MOUNT_ATTR__ATIME
    if ratime != -1:
        found.recursive_set |= ratime
        found.recursive_clr |= MOUNT_ATTR__ATIME
    if found.rbind:
        found.bind = True
        ms_flags |= MS_REC
    if found.bind:
        ms_flags |= MS_BIND
    else:
        found.sb_flags = [(i, name) for i, name, on in superblock.values() if on or found.remount]
    if found.remount:
        ms_flags |= MS_REMOUNT
    found.idmap |= found.ridmap
    found.ms_flags = ms_flags
    return found


ID_MAPS = ("idmap=", "ridmap=")


def id_maps(option: str) -> tuple[list[IDMapping], list[IDMapping]]:
    """The uids and gids of idmap=uids=0-1000-10#10-2000-1;gids=0-1000-10, crun's way to say a mount's uidMappings and
    gidMappings: container id, host id, size. Raises ValueError."""
    found: dict[str, list[IDMapping]] = {"uids": [], "gids": []}
    text = option.partition("=")[2]
    for part in text.split(";"):
        name, _, rows = part.partition("=")
        for row in rows.split("#"):
            numbers = row.split("-")
            if name not in found or len(numbers) != 3 or not all(n.isascii() and n.isdigit() for n in numbers):
                raise ValueError(f"must be uids=ID-HOSTID-SIZE#...;gids=ID-HOSTID-SIZE#..., not {text!r}")
            container, host, size = map(int, numbers)
            found[name].append({"containerID": container, "hostID": host, "size": size})
    if not all(found.values()):
        raise ValueError("must have uids and gids")
    return found["uids"], found["gids"]


_MS_ATIME = MS_NOATIME | MS_RELATIME | MS_STRICTATIME


def _data(option: str) -> list[tuple[str, str | None]]:
    """One option of a filesystem, or several with commas between: mount(2) takes them joined and splits them."""
    found: list[tuple[str, str | None]] = []
    for part in _split(option) if "," in option else (option,):
        key, equals, value = part.partition("=")
        if key in _QUOTED and len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        if part:
            found.append((key, value if equals else None))
    return found


def _split(option: str) -> list[str]:
    """Split at commas, but for those after a backslash (overlay's way) and in quotes (SELinux's way)."""
    parts = [""]
    quoted = escaped = False
    for c in option:
        if c == "," and not quoted and not escaped:
            parts.append("")
            continue
        parts[-1] += c
        if c == '"' and not escaped:
            quoted = not quoted
        escaped = c == "\\" and not escaped
    return parts
