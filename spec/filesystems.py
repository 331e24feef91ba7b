"""The options that file systems take as data, by name and value: what the kernel would refuse when it is mounted
(Documentation/filesystems/, and each file system's table of struct fs_parameter_spec, as of Linux 6.18).

Cold: for `pyrun check`, which has no kernel to ask where it may not run as root. A mount asks the kernel itself.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, NamedTuple

from pyrun.spec.faults import Fault, show
from pyrun.spec.mount_options import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.spec.config import Config


class Value(NamedTuple):
    """What stands behind the = of an option: a regular expression, and its words."""

    pattern: str
    words: str


FLAG = Value("", "takes no value")
_TEXT = Value(".+", "needs a value")
_NUMBER = Value(r"\+?(0[xX][0-9a-fA-F]+|[0-9]+)", "must be a number")
_OCTAL = Value(r"\+?[0-7]+", "must be an octal number")
_SIZE = Value(
    r"(0[xX][0-9a-fA-F]+|[0-9]+)[kKmMgGtTpPeE]?", "must be a number, or one with k, m, g, t, p or e behind it"
)
_SHARE = Value(f"{_SIZE.pattern}%?|%", f"{_SIZE.words}, or a share of the memory in %")


def _one_of(*words: str) -> Value:
    return Value("|".join(words), f"must be one of {', '.join(words)}" if words[1:] else f"must be {words[0]}")


_SWITCH = _one_of("on", "off")

# fs/namespace.c and security/: what is nobody's own.
_EVERYWHERE = dict.fromkeys(("context", "fscontext", "defcontext", "rootcontext", "source"), _TEXT) | {
    "seclabel": FLAG,
    "smackfsdef": _TEXT,
    "smackfsfloor": _TEXT,
    "smackfshat": _TEXT,
    "smackfsroot": _TEXT,
    "smackfstransmute": _TEXT,
}

OPTIONS: dict[str, dict[str, Value]] = {
    # mm/shmem.c
    "tmpfs": {
        "gid": _NUMBER,
        "grpquota": FLAG,
        "grpquota_block_hardlimit": _SIZE,
        "grpquota_inode_hardlimit": _SIZE,
        "huge": _one_of("never", "always", "within_size", "advise"),
        "inode32": FLAG,
        "inode64": FLAG,
        "mode": _OCTAL,
        "mpol": _TEXT,
        "noswap": FLAG,
        "nr_blocks": _SIZE,
        "nr_inodes": _SIZE,
        "quota": FLAG,
        "size": _SHARE,
        "uid": _NUMBER,
        "usrquota": FLAG,
        "usrquota_block_hardlimit": _SIZE,
        "usrquota_inode_hardlimit": _SIZE,
    },
    # fs/devpts/inode.c
    "devpts": {
        "gid": _NUMBER,
        "max": _NUMBER,
        "mode": _OCTAL,
        "newinstance": FLAG,
        "ptmxmode": _OCTAL,
        "uid": _NUMBER,
    },
    # fs/proc/root.c
    "proc": {
        "gid": _NUMBER,
        "hidepid": Value(
            r"\+?[0124]|off|noaccess|invisible|ptraceable",
            "must be one of off, noaccess, invisible, ptraceable, or of 0, 1, 2, 4",
        ),
        "pidns": _TEXT,
        "subset": _one_of("pid"),
    },
    "sysfs": {},
    "mqueue": {},
    # fs/overlayfs/params.c
    "overlay": {
        "datadir+": _TEXT,
        "default_permissions": FLAG,
        "index": _SWITCH,
        "lowerdir": _TEXT,
        "lowerdir+": _TEXT,
        "metacopy": _SWITCH,
        "nfs_export": _SWITCH,
        "override_creds": FLAG,
        "nooverride_creds": FLAG,
        "redirect_dir": _one_of("on", "off", "follow", "nofollow"),
        "upperdir": _TEXT,
        "userxattr": FLAG,
        "uuid": _one_of("on", "off", "auto", "null"),
        "verity": _one_of("on", "off", "require"),
        "volatile": FLAG,
        "workdir": _TEXT,
        "xino": _one_of("on", "off", "auto"),
    },
}


def data(config: Config) -> Iterator[Fault]:
    """Options that the file system of a mount does not know, or not with that value (MUST 80)."""
    for i, mount in enumerate(config.get("mounts", [])):
        kind, options = mount.get("type", ""), parse(mount.get("options", []))
        if kind not in OPTIONS or options.bind or options.remount:
            continue
        for j, key, value in options.data:
            if words := _trouble(kind, key, value):
                yield Fault(f"/mounts/{i}/options/{j}", words[0], "MUST 80", words[1])
        if kind == "overlay":
            yield from _overlay({key: j for j, key, _ in options.data}, i)


def _trouble(kind: str, key: str, value: str | None) -> tuple[str, str] | None:
    """(what is wrong, a hint)."""
    known = {**_EVERYWHERE, **OPTIONS[kind]}
    if key not in known:
        near = difflib.get_close_matches(key, known, 1)
        return f"{kind} has no option {show(key)}", f"did you mean {near[0]}?" if near else ""
    row = known[key]
    if row is FLAG:
        return None if value is None else (f"{key} of {kind} {row.words}", "")
    if value is None:
        return f"{key} of {kind} needs a value", ""
    return None if re.fullmatch(row.pattern, value) else (f"{key} of {kind} {row.words}, not {show(value)}", "")


def _overlay(given: dict[str, int], i: int) -> Iterator[Fault]:
    """overlayfs.rst: something lies below, and what is written is made in a directory beside it first."""
    if not {"lowerdir", "lowerdir+"} & given.keys():
        yield Fault(f"/mounts/{i}/options", "an overlay needs a lowerdir", "MUST 80")
    if "upperdir" in given and "workdir" not in given:
        yield Fault(f"/mounts/{i}/options/{given['upperdir']}", "upperdir needs a workdir beside it", "MUST 80")
