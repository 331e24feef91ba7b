"""What the containers of the trial are: one image, and a few configs by turns."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conformance.harness import EXAMPLE

Config = dict[str, Any]
_APPLETS = ("sh", "sleep", "true", "cat", "tail")
# A dump interrupts what waits: sleep(1) of busybox ends then, and this does not.
_LASTS = ["tail", "-f", "-s", "100000", "/dev/null"]
_DIRECTORIES = ("bin", "proc", "dev", "sys", "tmp", "etc")


def image(folder: Path) -> None:
    """A rootfs with a busybox."""
    for name in _DIRECTORIES:
        (folder / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", folder / "bin/busybox")
    for name in _APPLETS:
        (folder / "bin" / name).symlink_to("busybox")


def config(number: int, cgroup: str, *, brief: bool, user: bool) -> Config:
    """That of a container of the number-th kind, by turns. user: for a caller who isn't root."""
    made = copy.deepcopy(EXAMPLE)
    made["process"]["args"] = ["true"] if brief else _LASTS
    if user:
        _without_root(made)
    else:
        made["linux"]["cgroupsPath"] = cgroup
        KINDS[number % len(KINDS)](made)
    return made


def _plain(made: Config) -> None:
    """As it is."""


def _filtered(made: Config) -> None:
    """With a seccomp profile, which is kept in the cache, hooks, and limits."""
    made["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["swapon", "swapoff"], "action": "SCMP_ACT_ERRNO"}],
    }
    made["linux"]["resources"] |= {"memory": {"limit": 1 << 26}, "pids": {"limit": 50}, "cpu": {"shares": 500}}
    made["hooks"] = {kind: [{"path": "/bin/true"}] for kind in ("createRuntime", "poststart", "poststop")}
    made["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 500, "hard": 1000}]


def _mapped(made: Config) -> None:
    """With a user namespace, and a copy of a directory of the image."""
    made["linux"]["namespaces"].append({"type": "user"})
    for key in ("uidMappings", "gidMappings"):
        made["linux"][key] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    made["mounts"].append({"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]})


KINDS: tuple[Callable[[Config], None], ...] = (_plain, _filtered, _mapped)


def _without_root(made: Config) -> None:
    """One id is mapped, and what takes root is left out."""
    made["linux"]["namespaces"] = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "user")]
    for key, own in (("uidMappings", os.getuid), ("gidMappings", os.getgid)):
        made["linux"][key] = [{"containerID": 0, "hostID": own() or NOBODY, "size": 1}]
    made["linux"].pop("resources")
    for mount in made["mounts"]:
        mount["options"] = [option for option in mount["options"] if not option.startswith("gid=")]
    made["mounts"] = [m for m in made["mounts"] if m["type"] not in ("sysfs", "cgroup", "mqueue")]


NOBODY = 65534
