"""May the process's user execute a file of the root? By owner, group and mode of the file and of every directory on the
way to it (path_resolution(7)), as they are seen in the container."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pyrun.spec.faults import show

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrun.spec.config import Config, IDMapping

_EXECUTE = 1


class Access:
    """Whoever the process is, by what decides: its ids, and its effective capabilities."""

    def __init__(self, config: Config) -> None:
        process, linux = config.get("process", {}), config.get("linux", {})
        user = process.get("user", {})
        capabilities = process.get("capabilities", {}).get("effective", [])
        self.uid = user.get("uid", 0)
        self.gids = {user.get("gid", 0), *user.get("additionalGids", [])}
        self._overrides = "CAP_DAC_OVERRIDE" in capabilities
        self._searches = self._overrides or "CAP_DAC_READ_SEARCH" in capabilities
        self._uids = linux.get("uidMappings", [])
        self._gids = linux.get("gidMappings", [])

    def refusal(self, file: str, directories: Iterable[str], root: str) -> str:
        """Which of these paths on the host gives no x to the user, in words, without `root` in front; "" when all do,
        or it can't be known."""
        for path, capable in [*((directory, self._searches) for directory in directories), (file, self._overrides)]:
            try:
                found = os.stat(path, follow_symlinks=False)
            except OSError:
                return ""
            uid, gid = _inside(found.st_uid, self._uids), _inside(found.st_gid, self._gids)
            # user_namespaces(7): no capability is over a file whose ids are not mapped
            if (capable and uid is not None and gid is not None) or _has_list(path):
                continue
            shift = 6 if uid == self.uid else 3 if gid in self.gids else 0
            if not found.st_mode >> shift & _EXECUTE:
                mode = f"mode {found.st_mode & 0o7777:04o}, of {_words(uid)}:{_words(gid)}"
                return f"{show(path.removeprefix(root) or '/')} ({mode}) may not be {_verb(path)} by uid {self.uid}"
        return ""


def _verb(path: str) -> str:
    return "searched" if os.path.isdir(path) else "executed"


def _words(number: int | None) -> str:
    return "an unmapped id" if number is None else str(number)


def _inside(number: int, mappings: list[IDMapping]) -> int | None:
    """The container's id for one of the host; None when it has none."""
    if not mappings:
        return number
    for row in mappings:
        if 0 <= number - row["hostID"] < row["size"]:
            return number - row["hostID"] + row["containerID"]
    return None


def _has_list(path: str) -> bool:
    """An access control list (acl(5)) may say something else than the mode."""
    try:
        return "system.posix_acl_access" in os.listxattr(path, follow_symlinks=False)
    except OSError:
        return False
