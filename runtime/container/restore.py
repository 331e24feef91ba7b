"""restore: a container of an image that CRIU has written (runtime/criu/)."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, Any

from pyrun.cgroups.host import host
from pyrun.container import gather
from pyrun.container.bundle import read_config
from pyrun.container.container import Container
from pyrun.container.create import first_state
from pyrun.container.image import (
    DESCRIPTORS,
    EXTERNAL,
    SETUP_HOOKS,
    Directories,
    ImageOptions,
    external_cgroups,
    external_mounts,
    has_empty_network,
    is_terminal,
    request,
)
from pyrun.container.pid_file import write_pid_file
from pyrun.container.state import CONFIGS, FORMAT
from pyrun.container.store import CRIU_ROOT, ContainerDir
from pyrun.container.undo import Undo
from pyrun.criu import stage
from pyrun.criu.messages import RESTORE
from pyrun.criu.pages import require_whole
from pyrun.criu.service import Service, failure, find
from pyrun.errors import ConfigError, Error
from pyrun.host import lsm
from pyrun.host.cgroup_options import CgroupOptions
from pyrun.kernel.process import child_pids, end_child, start_time
from pyrun.machine.launch import execute
from pyrun.plan.create import compile_device_filter
from pyrun.plan.namespaces import compile_loopback
from pyrun.spec import strictjson
from pyrun.spec.faults import Invalid
from pyrun.spec.paths import clean

if TYPE_CHECKING:
    from pyrun.caller import Caller
    from pyrun.container.bundle import CreateOptions
    from pyrun.spec.config import Config

# The first of the descriptors that CRIU inherits: our stderr, its own being for us.
_FIRST = 4


class RestoreOptions(ImageOptions):
    """Of restore alone."""

    lsm_profile: str = ""
    lsm_mount_context: str = ""


def restore(
    root: str, name: str, bundle: CreateOptions, options: RestoreOptions, caller: Caller
) -> tuple[Container, int]:
    """Make the container `name` in the store `root` of an image and a bundle. Returns it, locked, with init as a child
    of ours, and the terminal's master when the caller relays it, else -1. Raises Error, and leaves nothing behind."""
    if os.geteuid():
        raise Error("restore", detail="CRIU takes root")
    raw, config = read_config(bundle)
    criu = find(options.criu)
    undo = Undo()
    try:
        directory = ContainerDir.new(root, name, caller)
        undo.push(directory.remove)
        restoring = _Restoring(Container(directory, first_state(name, config, bundle), caller), config, bundle, undo)
        try:
            restoring.run(raw, criu, options)
        except BaseException as error:
            try:
                undo.run()
            except (Error, OSError) as e:
                caller.log.warning(f"clean-up incomplete, run `delete --force`: {e}")
            directory.close()
            if isinstance(error, Invalid):
                raise ConfigError(error.faults) from None
            raise
        return restoring.container, restoring.console
    finally:
        undo.close()


class _Restoring:
    """One restore under way."""

    def __init__(self, container: Container, config: Config, bundle: CreateOptions, undo: Undo) -> None:
        self.container = container
        self.config = config
        self.bundle = bundle
        self.undo = undo
        self.console = -1
        self.empty_network = False
        # What has executed us may have left children to us.
        self.strangers = frozenset(child_pids(os.getpid()))

    def run(self, raw: bytes, criu: str, options: RestoreOptions) -> None:
        container, state, caller = self.container, self.container.state, self.container.caller
        self.empty_network = has_empty_network(options, self.config)
        cgroup = gather.own_cgroup(self.bundle, host(), container.id, self.config, caller)
        cgroup.foresee()
        state["cgroup"] = cgroup.to_state()
        container.directory.write_file(CONFIGS[FORMAT], raw)
        container.directory.write(state)
        with Directories(options, "restore.log", make=False) as directories:
            self._require_searchable(directories.image, options.image_path)
            self._require_profile(options.lsm_profile)
            require_whole(directories.image, options.image_path)
            inherited, keys = _inherited(self.config)
            kept = CgroupOptions(caller)
            try:
                conversation = self._service(criu, inherited, options)
                try:
                    writes = cgroup.writes(gather.resources(self.config, cgroup))  # type: ignore[arg-type]
                    cgroup.create(conversation.pid if cgroup.needs_process else 0)
                    state["cgroup"], state["freezer"] = cgroup.to_state(), cgroup.freezer
                    self.undo.push(container.remove_cgroup)
                    container.directory.write(state)
                    cgroup.apply(writes)
                    self._filter_devices(cgroup)
                    if not cgroup.needs_process:
                        cgroup.add(conversation.pid)
                    asked = {
                        **request(options, self.config, directories),
                        "images_dir_fd": stage.IMAGE,
                        "work_dir_fd": stage.WORK,
                        "root": f"{container.directory.path}/{CRIU_ROOT}",
                        "rst_sibling": True,
                        "external": [
                            *external_mounts(self.config, self.bundle.bundle),
                            *external_cgroups(self.config, cgroup, restored=True),
                        ],
                        "inherit_fd": [{"key": key, "fd": number} for key, number in keys],
                        "cg_root": _cgroup_roots(conversation.pid),
                        "lsm_profile": options.lsm_profile or None,
                        "lsm_mount_context": options.lsm_mount_context or None,
                    }
                    streams = _streams(f"{options.image_path}/{DESCRIPTORS}")
                    asked["inherit_fd"] += streams
                    if any(is_terminal(row["key"]) for row in streams):
                        asked["shell_job"] = False  # with which CRIU looks for 0, and has put that away already
                    self.undo.push(self._end_children)
                    # It may wait for ever, for `criu lazy-pages`.
                    wait = container.caller.wait_for
                    response = conversation.ask({"type": RESTORE, "opts": asked}, self._notice, wait)
                finally:
                    conversation.end()
                    kept.give_back()
            finally:
                for fd in inherited:
                    os.close(fd)
            if not response.get("success"):
                raise failure(f"restore container {container.id}", response, directories.log, conversation.said)
        self._is_init(response["restore"]["pid"])
        # In this order: as long as it is `creating`, that directory says how what is in its cgroup came there.
        del state["creating"]
        container.directory.write(state)
        os.rmdir(CRIU_ROOT, dir_fd=container.directory.fd)
        if self.bundle.pid_file:
            write_pid_file(self.bundle.pid_file, state["pid"])

    def _require_searchable(self, image: int, path: str) -> None:
        """Root of a user namespace looks for what an image need not have."""
        if self.container.has_userns and not os.fstat(image).st_mode & stat.S_IXOTH:
            detail = f"{path} can't be searched by root of the user namespace"
            raise Error("restore", detail=detail, hint=f"chmod o+x {path}")

    def _require_profile(self, said: str) -> None:
        """CRIU 4.1 hangs when processes can't have theirs. said: of --lsm-profile."""
        kind, _, name = said.partition(":")
        if not said:
            lsm.require_loaded(self.config.get("process", {}).get("apparmorProfile", ""), "/process/apparmorProfile")
        elif kind == "apparmor":
            lsm.require_loaded(name)

    def _service(self, criu: str, inherited: list[int], options: RestoreOptions) -> Service:
        directory, state = self.container.directory, self.container.state
        os.mkdir(CRIU_ROOT, 0o700, dir_fd=directory.fd)
        needed = _needed(self.config, self.bundle.bundle)
        arguments = [state["rootfs"], f"{directory.path}/{CRIU_ROOT}", options.image_path, options.work_path, criu]
        command = [sys.executable, "-IS", stage.__file__, *arguments, *needed]
        return Service(command, inherited, staged=True)

    def _filter_devices(self, cgroup: Any) -> None:
        facts = gather.facts(
            self.container.id, self.config, self.bundle, host(), cgroup, self.container.caller, cache=False
        )
        if facts.device_filter:
            execute(compile_device_filter(facts), self.container.caller, "set the device filter", cgroup.path)

    def _is_init(self, pid: int) -> None:
        self.container.state["pid"] = pid
        self.container.state["started"] = start_time(pid)
        self.container.directory.write(self.container.state)

    def _notice(self, script: str, pid: int, fd: int) -> None:
        if script == "orphan-pts-master":
            from pyrun.container.handover import keep_terminal, send_terminal  # lazy: only with a terminal

            if self.bundle.console_socket:
                send_terminal(fd, self.bundle.console_socket)
            else:
                self.console = fd
                keep_terminal(fd)
        elif script == "setup-namespaces":
            self._is_init(pid)
            if self.empty_network:
                self._set_up_loopback(pid)
            if self.config.get("hooks"):
                from pyrun.container.hooks import run_hooks  # lazy: only with hooks

                self.undo.push_last(self.container.run_poststop)
                for kind in SETUP_HOOKS:
                    run_hooks(kind, self.container, "created")

    def _set_up_loopback(self, pid: int) -> None:
        """In a network namespace of its own, as at create."""
        rows = self.config.get("linux", {}).get("namespaces", [])
        if any(row["type"] == "network" and not row.get("path") for row in rows):
            where = f"/proc/{pid}/ns/net"
            execute(compile_loopback(pid), self.container.caller, "set up the loopback device", where)

    def _end_children(self) -> None:
        """What CRIU has made is a child of ours, heard of or not; it has ended itself by now."""
        for pid in child_pids(os.getpid()):
            if pid not in self.strangers:
                end_child(pid)


def _inherited(config: Config) -> tuple[list[int], list[tuple[str, int]]]:
    """Our stderr and descriptors of namespaces to join, and (key, number) of each of these as CRIU has it."""
    fds = [os.dup(2)]
    keys = []
    for row in config.get("linux", {}).get("namespaces", []):
        if row.get("path") and row["type"] in EXTERNAL:
            try:
                fds.append(os.open(row["path"], os.O_RDONLY | os.O_CLOEXEC))
            except OSError as e:
                raise Error("join a namespace", call=f"open {row['path']}", errno=e.errno) from None
            keys.append((EXTERNAL[row["type"]][1], _FIRST + len(fds) - 1))
    return fds, keys


def _streams(path: str) -> list[dict[str, Any]]:
    """What stood for 0, 1 and 2, where it was a pipe, or a terminal of the caller's: now it is ours, as CRIU has it."""
    try:
        with open(path, "rb") as file:
            links = strictjson.loads(file.read())
    except (OSError, Invalid):
        return []
    numbered = zip((0, 1, _FIRST), links, strict=False) if isinstance(links, list) else ()
    found: dict[str, int] = {}
    for number, link in numbered:
        if isinstance(link, str) and ("pipe:" in link or is_terminal(link)):
            found.setdefault(link, number)
    return [{"key": link, "fd": number} for link, number in found.items()]


def _cgroup_roots(pid: int) -> list[dict[str, str]]:
    """Where the cgroups of the image are to be: where CRIU is itself. Version 2 has no controller's name."""
    found = []
    for line in _text(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        names = [name.removeprefix("name=") for name in controllers.split(",")]
        found += [{"ctrl": name, "path": path} if name else {"path": path} for name in names]
    return found


def _needed(config: Config, bundle: str) -> list[str]:
    """What the root must have for the mounts, for criu/stage.py; what lies below an earlier mount is in that."""
    points: list[str] = []
    found = []
    for mount in config.get("mounts", []):
        destination = clean(mount["destination"])
        if not destination.startswith(tuple(points)):
            found.append(_destination(mount, bundle))
        points.append(f"{destination}/")
    return [path for path in found if path]


def _destination(mount: Any, bundle: str) -> str:
    """What a mount is made on, for criu/stage.py; "" for what is not made."""
    if not {"bind", "rbind"} & set(mount.get("options", [])):
        return f"{clean(mount['destination'])}/"
    try:
        directory = stat.S_ISDIR(os.stat(os.path.join(bundle, mount["source"])).st_mode)
    except OSError:
        return ""
    return clean(mount["destination"]) + "/" * directory


def _text(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()
