"""What checkpoint and restore have in common: the directories of an image, and what CRIU is told of a container."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from pyrun.cgroups.host import host
from pyrun.container import gather
from pyrun.criu.messages import CGROUP_MODES, NETWORK_LOCKS
from pyrun.errors import Error
from pyrun.kernel.files import unescaped
from pyrun.plan import devices
from pyrun.record import Record
from pyrun.spec.namespaces import NAMESPACES
from pyrun.spec.paths import clean

if TYPE_CHECKING:
    from pyrun.cgroups.cgroup import Cgroup
    from pyrun.container.hooks import Kind
    from pyrun.spec.config import Config

# What stood for 0, 1 and 2, as runc keeps it.
DESCRIPTORS = "descriptors.json"
# Which namespaces may be joined by an image: CRIU's word, and runc's key.
EXTERNAL = {"network": ("net", "extRootNetNS"), "pid": ("pid", "extRootPidNS")}
# Those that are run at restore, once there are namespaces.
SETUP_HOOKS: tuple[Kind, ...] = ("prestart", "createRuntime")
# CRIU's own options: runc's file is read where there is none of ours.
_CONFIG_ANNOTATION = "org.criu.config"
_CONFIG_FILES = ("/etc/criu/pyrun.conf", "/etc/criu/runc.conf")
_DEBUG = 4


class ImageOptions(Record):
    """What checkpoint and restore have in common, each with its flag's name."""

    image_path: str = ""
    work_path: str = ""
    tcp_established: bool = False
    tcp_close: bool = False
    ext_unix_sk: bool = False
    shell_job: bool = False
    file_locks: bool = False
    link_remap: bool = False
    auto_dedup: bool = False
    lazy_pages: bool = False
    manage_cgroups_mode: str = ""
    network_lock: str = ""
    empty_ns: tuple[str, ...] = ()
    # CRIU's executable; "" for what is found
    criu: str = ""


class Directories:
    """The directories of images and of the log, open. make: they may be missing."""

    def __init__(self, options: ImageOptions, log: str, *, make: bool) -> None:
        self.log = f"{options.work_path}/{log}"
        self.log_name = log
        self.image = self.work = -1
        try:
            for path in (options.image_path, options.work_path) if make else (options.work_path,):
                # Root of a user namespace searches it too; what CRIU puts there only root may read.
                os.makedirs(path, 0o711, exist_ok=True)
            self.image = os.open(options.image_path, os.O_RDONLY | os.O_DIRECTORY)
            self.work = os.open(options.work_path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as e:
            self.__exit__()
            raise Error("open the image", call=f"open {e.filename}", errno=e.errno) from None

    def __enter__(self) -> Directories:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (self.image, self.work):
            if fd >= 0:
                os.close(fd)


def request(options: ImageOptions, config: Config, directories: Directories) -> dict[str, Any]:
    """What both tell CRIU: members of criu_opts (criu/messages.py). Raises Error."""
    mode = options.manage_cgroups_mode or "soft"
    if mode not in CGROUP_MODES:
        raise Error(f"--manage-cgroups-mode is {', '.join(CGROUP_MODES)}, not {mode}")
    if options.network_lock and options.network_lock not in NETWORK_LOCKS:
        raise Error(f"--network-lock is {', '.join(NETWORK_LOCKS)}, not {options.network_lock}")
    unknown = next((name for name in options.empty_ns if name != "network"), "")
    if unknown:
        raise Error(f"--empty-ns takes network, not {unknown}")
    return {
        "images_dir_fd": directories.image,
        "work_dir_fd": directories.work,
        "log_level": _DEBUG,
        "log_file": directories.log_name,
        "notify_scripts": True,
        "tcp_established": options.tcp_established,
        "tcp_close": options.tcp_close or None,
        "ext_unix_sk": options.ext_unix_sk,
        "shell_job": options.shell_job,
        "file_locks": options.file_locks,
        "auto_dedup": options.auto_dedup,
        "lazy_pages": options.lazy_pages or None,
        "orphan_pts_master": True,
        "manage_cgroups": True,
        "manage_cgroups_mode": CGROUP_MODES[mode],
        "network_lock": NETWORK_LOCKS.get(options.network_lock),
        "empty_ns": NAMESPACES["network"][0] if has_empty_network(options, config) else None,
        "config_file": _config_file(config),
    }


def has_empty_network(options: ImageOptions, config: Config) -> bool:
    """What is in the network namespace is not in the image: that is asked for, or there are hooks of the kinds by which
    managers set it up, one end of it outside, and would again at restore. (runc leaves it out always.)"""
    return bool(options.empty_ns) or any(config.get("hooks", {}).get(kind) for kind in SETUP_HOOKS)


def _config_file(config: Config) -> str | None:
    """CRIU's own options: of the annotation, or of a file that is there."""
    annotations = config.get("annotations", {})
    if _CONFIG_ANNOTATION in annotations:
        return annotations[_CONFIG_ANNOTATION] or None
    return next((path for path in _CONFIG_FILES if os.path.exists(path)), None)


def terminal(seen: os.stat_result) -> str:
    """CRIU's name for a terminal that is not the container's (criu(8), --external)."""
    return f"tty[{seen.st_rdev:x}:{seen.st_dev:x}]"


def is_terminal(name: str) -> bool:
    """It is one of these."""
    return name.startswith("tty[")


def external_mounts(config: Config, bundle: str, pid: int = 0) -> list[str]:
    """Mounts of what is the host's: by their destinations, as init `pid` has them; with a bundle, for restore, to what
    they are of. CRIU does not mind one that is not there."""
    found = {}
    own = {clean(mount["destination"]) for mount in config.get("mounts", [])}
    points = _mount_points("self" if bundle else str(pid))
    for mount in config.get("mounts", []):
        options = {*mount.get("options", [])}
        if {"bind", "rbind"} & options:
            destination, source = clean(mount["destination"]), os.path.join(bundle, mount["source"])
            found[destination] = source
            if "rbind" in options:
                above = os.path.realpath(source) if bundle else destination
                rests = {point[len(above) :] for point in points if point.startswith(f"{above}/".replace("//", "/"))}
                found |= {destination + rest: source + rest for rest in rests if destination + rest not in own}
    linux = config.get("linux", {})
    if any(row["type"] == "user" for row in linux.get("namespaces", [])):
        # There devices are binds of the host's, and what hides files is one of them.
        found |= {node.path: node.path for node in devices.nodes(config)}
        masked = [clean(path) for path in linux.get("maskedPaths", [])]
        found |= {path: "/dev/null" for path in masked if bundle or _is_device(f"/proc/{pid}/root{path}")}
    return [f"mnt[{destination}]:{source if bundle else destination}" for destination, source in found.items()]


def external_cgroups(config: Config, cgroup: Cgroup, *, restored: bool) -> list[str]:
    """What a mount of type cgroup is made of (plan/cgroup_mount.py) is the host's: on version 1 one of each hierarchy
    in it, on version 2 itself, unless the container has a cgroup namespace of its own, with which CRIU makes it."""
    rows = config.get("linux", {}).get("namespaces", [])
    if cgroup.mode == "v2" and any(row["type"] == "cgroup" and not row.get("path") for row in rows):
        return []
    return [
        f"mnt[{destination}]:{point + path if restored else destination}"
        for mount in config.get("mounts", [])
        if mount.get("type") == "cgroup"
        for controllers, point, path in gather.visible_cgroups(config, host(), cgroup)
        for destination in [f"{clean(mount['destination'])}/{controllers.removeprefix('name=')}".rstrip("/")]
    ]


def _mount_points(pid: str) -> list[str]:
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return [unescaped(line.split(" ", 5)[4]) for line in file]


def _is_device(path: str) -> bool:
    try:
        return stat.S_ISCHR(os.lstat(path).st_mode)
    except OSError:
        return False
