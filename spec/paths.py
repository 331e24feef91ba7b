"""Paths of the config as text, before anything is looked up."""

from __future__ import annotations

from pyrun.spec.faults import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection


def clean(path: str) -> str:
    """`path` as an absolute one, lexically: no empty, "." or ".." components ("/" at least)."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def is_below(path: str, directories: Collection[str]) -> bool:
    """The cleaned path is one of the directories, or below one."""
    while path:
        if path in directories:
            return True
        path = path.rpartition("/")[0]
    return "/" in directories


def cgroup_path(path: str) -> str:
    """linux.cgroupsPath without empty and `.` components and without a slash at its end; absolute if it was.

    Raises ValueError, in words to be read after the pointer, for what could leave the cgroup file system or be its
    top (config-linux.md "Cgroups Path", MUST 100), and for what can't be the name of a cgroup.
    """
    if "\0" in path or "\n" in path:  # the kernel takes no newline: it would break /proc/PID/cgroup
        raise ValueError("must not hold a NUL or a newline")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ValueError("must be UTF-8") from None
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError(f"must not go up with .., as {show(path)} does")
    if not parts:
        raise ValueError(f"must name a cgroup of the container's own, such as /pyrun/NAME, not {show(path)}")
    return ("/" if path.startswith("/") else "") + "/".join(parts)
