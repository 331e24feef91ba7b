"""checkpoint: a container's processes to files, by CRIU (runtime/criu/)."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from pyrun.container.image import (
    DESCRIPTORS,
    EXTERNAL,
    Directories,
    ImageOptions,
    external_cgroups,
    external_mounts,
    is_terminal,
    request,
    terminal,
)
from pyrun.container.lazy import LazyPages, at_address
from pyrun.criu.messages import DUMP, PRE_DUMP
from pyrun.criu.service import Service, failure, find, has_feature
from pyrun.errors import DoesNotExistError, Error
from pyrun.host.cgroup_options import CgroupOptions
from pyrun.spec import strictjson

if TYPE_CHECKING:
    from pyrun.container.container import Container
    from pyrun.container.state import Status
    from pyrun.spec.config import Config


# Where lazy pages are asked for unless it is said: CRIU would take any address. The port is told in its log.
_OWN_PORT = "127.0.0.1:0"


class DumpOptions(ImageOptions):
    """Of checkpoint alone."""

    parent_path: str = ""
    leave_running: bool = False
    pre_dump: bool = False
    page_server: str = ""
    tcp_skip_in_flight: bool = False
    status_fd: int = -1


def checkpoint(container: Container, options: DumpOptions) -> None:
    """Write the container, which is locked, to image_path, and delete it then, unless it is left running. Raises Error,
    and then it runs on as it did; Interrupt while its memory is served, and then too."""
    _dump(container, options)
    if not options.leave_running and not options.pre_dump:
        try:
            if not container.directory.locked:
                container.locked()
            container.delete(force=True)
        except DoesNotExistError:
            pass  # somebody else has deleted it, while its memory was served


def _dump(container: Container, options: DumpOptions) -> None:
    status = container.status
    if status not in ("running", "paused"):
        raise Error(f"cannot checkpoint a container that is {status}")
    if os.geteuid():
        raise Error("checkpoint", detail="CRIU takes root")
    if options.status_fd >= 0 and not options.lazy_pages:
        raise Error("--status-fd takes --lazy-pages")
    if options.lazy_pages and options.pre_dump:
        raise Error("--pre-dump writes memory, and takes no --lazy-pages")
    lazy = LazyPages(container, options.status_fd)
    config, criu = container.config(), find(options.criu)
    for feature, wanted in (("mem_track", options.pre_dump), ("lazy_pages", options.lazy_pages)):
        if wanted and not has_feature(criu, feature):
            raise Error("checkpoint", detail=f"CRIU {feature.replace('_', ' ')} does not work on this kernel")
    with Directories(options, "dump.log", make=True) as directories:
        asked: dict[str, Any] = {
            **request(options, config, directories),
            "pid": container.state["pid"],
            "root": container.state["rootfs"],
            "leave_running": options.leave_running,
            "evasive_devices": True,
            "link_remap": options.link_remap,
            "tcp_skip_in_flight": options.tcp_skip_in_flight,
            "external": [
                *external_mounts(config, "", container.state["pid"]),
                *external_cgroups(config, container.cgroup(), restored=False),
                *_external_namespaces(container, config),
            ],
            "parent_img": options.parent_path or None,
            "track_mem": True if options.pre_dump or options.parent_path else None,
            "ps": _page_server(options.page_server or (_OWN_PORT if options.lazy_pages else "")),
            # CRIU leaves one that is frozen already, a paused container's, as it finds it.
            "freeze_cgroup": container.state.get("freezer") or None,
        }
        descriptors = _descriptors(container.state["pid"], options.shell_job)
        asked["external"] += sorted({*filter(is_terminal, descriptors)})
        _write(f"{options.image_path}/{DESCRIPTORS}", strictjson.dumps(descriptors))
        address = -1
        if options.lazy_pages:
            address = at_address(asked["ps"]["address"], asked["config_file"])
            asked["config_file"] = f"/proc/{os.getpid()}/fd/{address}"
        kept = CgroupOptions(container.caller)

        def notice(script: str, pid: int, fd: int) -> None:
            kept.give_back()  # while memory is served, and so for long
            lazy.notice(script, pid, fd)

        conversation = Service([criu, "swrk", "3"])
        try:
            kind = PRE_DUMP if options.pre_dump else DUMP
            response = conversation.ask({"type": kind, "opts": asked}, notice, lazy.wait)
        finally:
            conversation.end()
            if address >= 0:
                os.close(address)
            try:
                _as_before(container, status, served=lazy.served)
            finally:
                kept.give_back()
        if not response.get("success"):
            raise failure(f"checkpoint container {container.id}", response, directories.log, conversation.said)


def _as_before(container: Container, status: Status, *, served: bool) -> None:
    """A CRIU that is killed leaves it frozen; or, while it serves memory, thawed."""
    if status == "running" and not served and container.status == "paused":
        container.resume()
    elif status == "paused" and container.status == "running":
        container.cgroup().freeze()


def _external_namespaces(container: Container, config: Config) -> list[str]:
    """Those that the container has joined: by their inodes."""
    found = []
    for row in config.get("linux", {}).get("namespaces", []):
        if row.get("path") and row["type"] in EXTERNAL:
            kind, key = EXTERNAL[row["type"]]
            inode = os.stat(f"/proc/{container.state['pid']}/ns/{kind}").st_ino
            found.append(f"{kind}[{inode}]:{key}")
    return found


def _page_server(text: str) -> dict[str, Any] | None:
    if not text:
        return None
    address, _, port = text.rpartition(":")
    if not address or not port.isdigit():
        raise Error(f"--page-server is ADDRESS:PORT, not {text}")
    return {"address": address, "port": int(port)}


def _descriptors(pid: int, terminals: bool) -> list[str]:
    """What stands for 0, 1 and 2 of a process: the links of proc(5), "" for none; with `terminals` those that are not
    of its own /dev/pts by CRIU's name for them."""
    found = []
    for number in range(3):
        path = f"/proc/{pid}/fd/{number}"
        try:
            link, seen = os.readlink(path), os.stat(path)
            if terminals and _is_terminal(path, seen) and seen.st_dev != os.stat(f"/proc/{pid}/root/dev/pts").st_dev:
                link = terminal(seen)
        except OSError:
            link = ""
        found.append(link)
    return found


def _is_terminal(path: str, seen: os.stat_result) -> bool:
    if not stat.S_ISCHR(seen.st_mode):
        return False
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        return os.isatty(fd)
    finally:
        os.close(fd)


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(text)
    except OSError as e:
        raise Error("write the image", call=f"open {path}", errno=e.errno) from None
