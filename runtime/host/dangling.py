"""Destinations of mounts that are, or go through, a symlink of the image whose target is missing: where they lead.

/etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf is in many images. The kernel resolves a path to what is
there, and makes nothing through such a link; here is only found out what it says. What is done with the answer is done
later, by descriptors and inside the root, like everything else: an image that changes meanwhile gains nothing.
"""

from __future__ import annotations

import posix
from errno import EINVAL, ENOENT

from pyrun.kernel.files import close
from pyrun.spec.checks.mounts import ORDINARY_DIRECTORY
from pyrun.spec.paths import clean, is_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import Config, Mount

_NOT_FOLLOWED = {"remount", "copy-symlink", "dest-nofollow"}
_MOST_LINKS = 40  # as in the kernel


def destinations(config: Config, root: str) -> dict[int, str]:
    """Number of the mount -> path in the container, for each that leads elsewhere than it says, to where nothing is.
    root: the root file system's path on the host."""
    found: dict[int, str] = {}
    before: set[str] = set()
    plain: set[str] = set()
    try:
        fd = posix.open(root, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError:  # which opening it for use will tell
        return {}
    try:
        for i, mount in enumerate(config.get("mounts", [])):
            path = clean(mount["destination"])
            # What lies in an earlier mount isn't the image's.
            if _follows(mount) and not is_below(path.rpartition("/")[0], before):
                leads_to = follow(fd, path, plain)
                if leads_to:
                    found[i] = leads_to
            before.add(path)
    finally:
        close(fd)
    return found


def _follows(mount: Mount) -> bool:
    """Others want what is at the destination itself, or refuse symlinks."""
    return not _NOT_FOLLOWED.intersection(mount.get("options", ())) and mount.get("type") not in ORDINARY_DIRECTORY


def follow(root: int, path: str, plain: set[str]) -> str:
    """Where a path leads below the directory `root`, if a symlink on the way has a missing target; else "". plain: what
    is known to be no symlink, which is added to.

    Symlinks are followed one name at a time, and nothing leads above the root (path_resolution(7))."""
    done: list[str] = []
    left = path.split("/")[::-1]
    links = 0
    while left:
        name = left.pop()
        if name in ("", "."):
            continue
        if name == "..":
            del done[-1:]
            continue
        here = "/".join((*done, name))
        if here in plain:
            done.append(name)
            continue
        try:
            text = posix.readlink(here, dir_fd=root)
        except OSError as e:
            if e.errno == EINVAL:  # no symlink
                plain.add(here)
                done.append(name)
                continue
            if e.errno != ENOENT:
                return ""
            # Nothing is here: what is left of the path is as it reads.
            rest = "/".join((*done, name, *left[::-1]))
            return clean(f"/{rest}") if links else ""
        links += 1
        if links > _MOST_LINKS:
            return ""
        if text.startswith("/"):
            done.clear()
        left += text.split("/")[::-1]
    return ""
