"""Mount options: one row an option, and parse(), which adds up the options of one mount.

Sources: config.md "Linux mount options", mount(8), linux/mount.h, and fs/fs_context.c for the names of the superblock
flags. An option without a row is for the filesystem, as config.md asks.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrun.spec.config import IDMapping

    # What the option does, and its operands.
    Row = tuple[Callable[..., None], *tuple[Any, ...]]

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


def flag(ms: int, attribute: int = 0, superblock: str = "") -> Row:
    """A flag to set: MS_ of mount(2), MOUNT_ATTR_ of the mount, and its name for FSCONFIG_SET_FLAG where it is the
    superblock's too."""
    return _flag, ms, True, attribute, superblock


def no_flag(ms: int, attribute: int = 0, superblock: str = "") -> Row:
    """A flag to clear."""
    return _flag, ms, False, attribute, superblock


def atime(ms: int, attribute: int) -> Row:
    """A mode of atime. They exclude one another: the last one named holds."""
    return _atime, ms, True, attribute


def no_atime(ms: int, attribute: int) -> Row:
    """A mode of atime that is not to be."""
    return _atime, ms, False, attribute


def recursive(attribute: int) -> Row:
    """An attribute to set of the mount and all mounts below it (mount_setattr(2), AT_RECURSIVE)."""
    return _recursive, True, attribute


def no_recursive(attribute: int) -> Row:
    """An attribute to clear of all of them."""
    return _recursive, False, attribute


def recursive_atime(attribute: int) -> Row:
    """A mode of atime for all of them."""
    return _recursive_atime, True, attribute


def no_recursive_atime(attribute: int) -> Row:
    """A mode of atime that none of them is to have."""
    return _recursive_atime, False, attribute


def propagation(ms: int) -> Row:
    """How the mount hangs together with others (mount_namespaces(7)); with MS_REC those below it too."""
    return _propagation, ms


def switch(name: str) -> Row:
    """The slot of MountOptions that becomes True."""
    return _switch, name


# What each kind of row does to the sum; `i` is where in the list the option stands.


def _nothing(found: MountOptions, i: int) -> None:
    pass


def _flag(found: MountOptions, i: int, ms: int, on: bool, attribute: int, superblock: str) -> None:
    found.named = True
    if on:
        found.ms_flags |= ms
        found.attr_set |= attribute
        found.attr_clr &= ~attribute
    else:
        found.ms_flags &= ~ms
        found.attr_set &= ~attribute
        found.attr_clr |= attribute
    if superblock:
        found.superblock.pop(ms, None)  # so that it takes the place of the last one named
        found.superblock[ms] = (i, superblock, on)


def _atime(found: MountOptions, i: int, ms: int, on: bool, attribute: int) -> None:
    found.named = True
    found.ms_flags = found.ms_flags & ~_MS_ATIME | ms if on else found.ms_flags & ~ms
    found.atime = _mode(found.atime, on, attribute)


def _recursive(found: MountOptions, i: int, on: bool, attribute: int) -> None:
    if on:
        found.recursive_set |= attribute
        found.recursive_clr &= ~attribute
    else:
        found.recursive_set &= ~attribute
        found.recursive_clr |= attribute


def _recursive_atime(found: MountOptions, i: int, on: bool, attribute: int) -> None:
    found.recursive_atime = _mode(found.recursive_atime, on, attribute)


def _mode(before: int, on: bool, attribute: int) -> int:
    """The mode of atime after an option for or against `attribute`: relatime is what is left without one."""
    if on:
        return attribute
    return MOUNT_ATTR_RELATIME if before in (_UNNAMED, attribute) else before


def _propagation(found: MountOptions, i: int, ms: int) -> None:
    found.propagation.append((i, ms))


def _switch(found: MountOptions, i: int, name: str) -> None:
    setattr(found, name, True)


_MS_ATIME = MS_NOATIME | MS_RELATIME | MS_STRICTATIME
_UNNAMED = -1  # no mode of atime has been named

OPTIONS: dict[str, Row] = {
    # MUST 50
    "defaults": (_nothing,),
    "bind": switch("bind"),
    "rbind": switch("rbind"),
    "remount": switch("remount"),
    "ro": flag(MS_RDONLY, MOUNT_ATTR_RDONLY, superblock="ro"),
    "rw": no_flag(MS_RDONLY, MOUNT_ATTR_RDONLY, superblock="rw"),
    "nosuid": flag(MS_NOSUID, MOUNT_ATTR_NOSUID),
    "suid": no_flag(MS_NOSUID, MOUNT_ATTR_NOSUID),
    "nodev": flag(MS_NODEV, MOUNT_ATTR_NODEV),
    "dev": no_flag(MS_NODEV, MOUNT_ATTR_NODEV),
    "noexec": flag(MS_NOEXEC, MOUNT_ATTR_NOEXEC),
    "exec": no_flag(MS_NOEXEC, MOUNT_ATTR_NOEXEC),
    "nodiratime": flag(MS_NODIRATIME, MOUNT_ATTR_NODIRATIME),
    "diratime": no_flag(MS_NODIRATIME, MOUNT_ATTR_NODIRATIME),
    "noatime": atime(MS_NOATIME, MOUNT_ATTR_NOATIME),
    "atime": no_atime(MS_NOATIME, MOUNT_ATTR_NOATIME),
    "relatime": atime(MS_RELATIME, MOUNT_ATTR_RELATIME),
    "norelatime": no_atime(MS_RELATIME, MOUNT_ATTR_RELATIME),
    "strictatime": atime(MS_STRICTATIME, MOUNT_ATTR_STRICTATIME),
    "nostrictatime": no_atime(MS_STRICTATIME, MOUNT_ATTR_STRICTATIME),
    "sync": flag(MS_SYNCHRONOUS, superblock="sync"),
    "async": no_flag(MS_SYNCHRONOUS, superblock="async"),
    "dirsync": flag(MS_DIRSYNC, superblock="dirsync"),
    "lazytime": flag(MS_LAZYTIME, superblock="lazytime"),
    "nolazytime": no_flag(MS_LAZYTIME, superblock="nolazytime"),
    "iversion": flag(MS_I_VERSION),
    "noiversion": no_flag(MS_I_VERSION),
    "silent": flag(MS_SILENT),
    "loud": no_flag(MS_SILENT),
    "shared": propagation(MS_SHARED),
    "rshared": propagation(MS_SHARED | MS_REC),
    "slave": propagation(MS_SLAVE),
    "rslave": propagation(MS_SLAVE | MS_REC),
    "private": propagation(MS_PRIVATE),
    "rprivate": propagation(MS_PRIVATE | MS_REC),
    "unbindable": propagation(MS_UNBINDABLE),
    "runbindable": propagation(MS_UNBINDABLE | MS_REC),
    # MUST 51, and the options that config.md lists as SHOULD or MAY
    "idmap": switch("idmap"),
    "ridmap": switch("ridmap"),
    "tmpcopyup": switch("tmpcopyup"),
    "mand": flag(MS_MANDLOCK, superblock="mand"),
    "nomand": no_flag(MS_MANDLOCK, superblock="nomand"),
    "nosymfollow": flag(MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW),
    "symfollow": no_flag(MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW),
    "rro": recursive(MOUNT_ATTR_RDONLY),
    "rrw": no_recursive(MOUNT_ATTR_RDONLY),
    "rnosuid": recursive(MOUNT_ATTR_NOSUID),
    "rsuid": no_recursive(MOUNT_ATTR_NOSUID),
    "rnodev": recursive(MOUNT_ATTR_NODEV),
    "rdev": no_recursive(MOUNT_ATTR_NODEV),
    "rnoexec": recursive(MOUNT_ATTR_NOEXEC),
    "rexec": no_recursive(MOUNT_ATTR_NOEXEC),
    "rnodiratime": recursive(MOUNT_ATTR_NODIRATIME),
    "rdiratime": no_recursive(MOUNT_ATTR_NODIRATIME),
    "rnosymfollow": recursive(MOUNT_ATTR_NOSYMFOLLOW),
    "rsymfollow": no_recursive(MOUNT_ATTR_NOSYMFOLLOW),
    "rnoatime": recursive_atime(MOUNT_ATTR_NOATIME),
    "ratime": no_recursive_atime(MOUNT_ATTR_NOATIME),
    "rrelatime": recursive_atime(MOUNT_ATTR_RELATIME),
    "rnorelatime": no_recursive_atime(MOUNT_ATTR_RELATIME),
    "rstrictatime": recursive_atime(MOUNT_ATTR_STRICTATIME),
    "rnostrictatime": no_recursive_atime(MOUNT_ATTR_STRICTATIME),
    # not in config.md; the peers have them. What belongs to the superblock has no mounts below it.
    "rsync": flag(MS_SYNCHRONOUS, superblock="sync"),
    "rasync": no_flag(MS_SYNCHRONOUS, superblock="async"),
    "rdirsync": flag(MS_DIRSYNC, superblock="dirsync"),
    "rmand": flag(MS_MANDLOCK, superblock="mand"),
    "rnomand": no_flag(MS_MANDLOCK, superblock="nomand"),
    "copy-symlink": switch("copy_symlink"),
    "src-nofollow": switch("src_nofollow"),
    "dest-nofollow": switch("dest_nofollow"),
}

# linux.rootfsPropagation: MS_ flag, perhaps with MS_REC (mount_namespaces(7)).
PROPAGATION = {
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "unbindable": MS_UNBINDABLE,
    "runbindable": MS_UNBINDABLE | MS_REC,
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
    named          -- a flag that mount(2) takes is set or cleared by name, propagation not counted
    index          -- where in the list an option is (its last place), so that errors can point at it
    atime, recursive_atime, superblock -- parse's own, while it adds up: the MOUNT_ATTR_ mode named last, -1 for none;
                      by MS_ flag (index, name, set or clear)
    """

    __slots__ = (
        "atime",
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
        "named",
        "propagation",
        "rbind",
        "recursive_atime",
        "recursive_clr",
        "recursive_set",
        "remount",
        "ridmap",
        "sb_flags",
        "src_nofollow",
        "superblock",
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
        self.named = False
        self.index: dict[str, int] = {}
        self.atime = self.recursive_atime = _UNNAMED
        self.superblock: dict[int, tuple[int, str, bool]] = {}

    @property
    def ms_only(self) -> int:
        """The flags set that only mount(2) can take, not the new mount API."""
        return self.ms_flags & MS_ONLY


def parse(options: list[str]) -> MountOptions:
    """Add up the options of one mount. What isn't in the table is data for the filesystem. Raises ValueError for an
    idmap=... that can't be read."""
    found = MountOptions()
    for i, option in enumerate(options):
        row = OPTIONS.get(option)
        if row is not None:
            found.index[option] = i
            act, *operands = row
            act(found, i, *operands)
        elif option.startswith(ID_MAPS):
            found.index[option.partition("=")[0]] = i
            found.mappings = id_maps(option)
            found.idmap = True
            found.ridmap |= option[0] == "r"
        else:
            found.data.extend((i, *item) for item in _data(option))
    _settle(found)
    return found


def _settle(found: MountOptions) -> None:
    """What follows from the options together, whatever their order."""
    if found.atime != _UNNAMED:
        found.attr_set |= found.atime
        found.attr_clr |= MOUNT_ATTR__ATIME
    if found.recursive_atime != _UNNAMED:
        found.recursive_set |= found.recursive_atime
        found.recursive_clr |= MOUNT_ATTR__ATIME
    found.bind |= found.rbind
    found.idmap |= found.ridmap
    if found.rbind:
        found.ms_flags |= MS_REC
    if found.bind:
        found.ms_flags |= MS_BIND
    else:
        named = found.superblock.values()
        found.sb_flags = [(i, name) for i, name, on in named if on or found.remount]
    if found.remount:
        found.ms_flags |= MS_REMOUNT


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
