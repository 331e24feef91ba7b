"""What a config asks for and this host can't do. Nothing is changed to find out, and no root is needed: what only root
may look at is taken to be there."""

from __future__ import annotations

import difflib
import fcntl
import os
import resource
import socket
from functools import partial
from typing import TYPE_CHECKING

from pyrun.cgroups.host import host as hierarchies_of_host
from pyrun.check import cgroups, parameters, subids
from pyrun.check.content import content
from pyrun.errors import Error
from pyrun.host import lsm
from pyrun.kernel.constants import NS_GET_NSTYPE
from pyrun.kernel.privilege import nested, own_capabilities
from pyrun.machine.explain import OLDEST_KERNEL
from pyrun.plan import rootfs
from pyrun.plan.mounts import made_inside
from pyrun.spec import ranges, sysctls
from pyrun.spec.audit import collect
from pyrun.spec.capabilities import CAPABILITIES, SETS
from pyrun.spec.checks.document import HOOKS
from pyrun.spec.faults import Fault, escape, show
from pyrun.spec.namespaces import NAMESPACES
from pyrun.spec.rlimits import RLIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyrun.caller import Caller
    from pyrun.container.bundle import CreateOptions
    from pyrun.spec.config import Config

_CAP_SYS_RESOURCE = CAPABILITIES["CAP_SYS_RESOURCE"]
_INFINITY = (1 << 64) - 1
_ALIKE = 0.8


class Host:
    """What the checks look at, gathered once."""

    def __init__(self, config: Config, options: CreateOptions, caller: Caller) -> None:
        self.config = config
        self.linux = config.get("linux", {})
        self.process = config.get("process", {})
        self.options = options
        self.log = caller.log
        self.root = os.geteuid() == 0
        self.capabilities = own_capabilities() if self.root else (1 << 41) - 1
        self.namespaces = {row["type"]: row for row in self.linux.get("namespaces", [])}

    @property
    def can_make_devices(self) -> bool:
        """Root of the host, with CAP_MKNOD."""
        return not nested() and bool(self.capabilities >> CAPABILITIES["CAP_MKNOD"] & 1)

    @property
    def unlimited(self) -> bool:
        """CAP_SYS_RESOURCE is there, as far as we know."""
        return bool(self.capabilities >> _CAP_SYS_RESOURCE & 1)


def errors(host: Host) -> list[Fault]:
    """What `create` would be refused here."""
    return collect([partial(check, host) for check in ERRORS])


def warnings(host: Host) -> list[Fault]:
    """What would be left out, or has no effect."""
    return collect([partial(check, host) for check in WARNINGS])


def kernel(host: Host) -> Iterator[Fault]:
    """Its version."""
    release = os.uname().release
    numbers = [int(part) for part in release.replace("-", ".").split(".")[:2] if part.isdigit()]
    if numbers < [int(part) for part in OLDEST_KERNEL.split(".")]:
        yield Fault("", f"pyrun needs Linux {OLDEST_KERNEL} or newer, this is {release}")


def namespaces(host: Host) -> Iterator[Fault]:
    """The kernel has them, and those to join are what they are said to be (MUST 82, 83)."""
    for i, row in enumerate(host.linux.get("namespaces", [])):
        kind, path = row["type"], row.get("path")
        flag, file = NAMESPACES[kind]
        if not os.path.exists(f"/proc/self/ns/{file}"):
            yield Fault(f"/linux/namespaces/{i}/type", f"this kernel has no {kind} namespaces")
        if not path:
            continue
        at = f"/linux/namespaces/{i}/path"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError:
            continue
        except OSError as e:
            yield Fault(at, f"{show(path)}: {(e.strerror or str(e)).lower()}", "MUST 82")
            continue
        try:
            if fcntl.ioctl(fd, NS_GET_NSTYPE) != flag:
                yield Fault(at, f"{show(path)} is a namespace of another type than {kind}", "MUST 83")
        except OSError:
            yield Fault(at, f"{show(path)} is no namespace", "MUST 83")
        finally:
            os.close(fd)
    if not host.root and "user" not in host.namespaces:
        hint = "add a user namespace: pyrun spec --rootless shows one"
        yield Fault("/linux/namespaces", "without root a container needs a user namespace", hint=hint)


def binds(host: Host) -> Iterator[Fault]:
    """Their sources exist."""
    later = made_inside(host.config, rootfs.path(host.config, host.options.bundle))
    for i, mount in enumerate(host.config.get("mounts", [])):
        options, source = mount.get("options", []), mount.get("source", "")
        if i in later:
            continue
        if ("bind" in options or "rbind" in options) and source.startswith("/") and not _there(source):
            yield Fault(f"/mounts/{i}/source", f"{show(source)} does not exist on this host")


def root(host: Host) -> Iterator[Fault]:
    """What it lies on lets programs be executed: its mount's flags go along into the container."""
    path = rootfs.path(host.config, host.options.bundle) if "root" in host.config else ""
    if path and os.path.isdir(path) and os.statvfs(path).f_flag & os.ST_NOEXEC:
        hint = "mount that without noexec, or move the bundle"
        yield Fault("/root/path", f"{show(path)} lies on a mount with noexec: nothing there is executed", hint=hint)


def overlays(host: Host) -> Iterator[Fault]:
    """Their directories are there, and the upper one and its work directory on one file system (overlayfs.rst)."""
    for i, mount in enumerate(host.config.get("mounts", [])):
        if mount.get("type") != "overlay":
            continue
        found: dict[str, tuple[int, str]] = {}
        for j, option in enumerate(mount.get("options", [])):
            name, _, value = option.partition("=")
            for path in value.split(":") if name == "lowerdir" else [value] * (name in ("upperdir", "workdir")):
                if path.startswith("/") and "\\" not in path and not _there(path):
                    yield Fault(f"/mounts/{i}/options/{j}", f"{show(path)} does not exist on this host")
            if name in ("upperdir", "workdir"):
                found[name] = (j, value)
        devices = {name: os.stat(path).st_dev for name, (_, path) in found.items() if os.path.isdir(path)}
        if len(set(devices.values())) > 1:
            hint = "make both directories on one file system"
            problem = "workdir is on another file system than upperdir"
            yield Fault(f"/mounts/{i}/options/{found['workdir'][0]}", problem, hint=hint)


def hooks(host: Host) -> Iterator[Fault]:
    """Those that run on the host can be executed (MUST 65)."""
    for kind in HOOKS:
        if kind == "startContainer":
            continue  # looked for in the container's root (check/bundle.py)
        for i, hook in enumerate(host.config.get("hooks", {}).get(kind, [])):
            if not os.access(hook["path"], os.X_OK) and (host.root or not _there(hook["path"])):
                problem = f"{show(hook['path'])} is not an executable file on this host"
                yield Fault(f"/hooks/{kind}/{i}/path", problem, "MUST 65")


def devices(host: Host) -> Iterator[Fault]:
    """In a user namespace devices are bound: mknod is refused there."""
    if "user" not in host.namespaces:
        return
    for i, device in enumerate(host.linux.get("devices", [])):
        # With the host's rights one that is not there is made.
        if device["type"] != "p" and not (host.root and host.can_make_devices) and not _there(device["path"]):
            problem = f"{show(device['path'])} does not exist on this host"
            yield Fault(f"/linux/devices/{i}/path", problem, "MUST 88", "in a user namespace devices are the host's")


def net_devices(host: Host) -> Iterator[Fault]:
    """They are there (MUST 90)."""
    names = {name for _, name in socket.if_nameindex()}
    for name in host.linux.get("netDevices", {}):
        if name not in names:
            yield Fault(f"/linux/netDevices/{escape(name)}", "there is no such interface here", "MUST 90")


def labels(host: Host) -> Iterator[Fault]:
    """The security module that they are for is in force."""
    for member in ("apparmorProfile", "selinuxLabel"):
        if host.process.get(member):
            try:
                lsm.require({member: host.process[member]})  # type: ignore[misc]
            except Error as e:
                yield Fault(e.pointer, e.what, hint=e.hint)


def limits(host: Host) -> Iterator[Fault]:
    """Raising a hard limit, and lowering the OOM score, take a capability (MUST 57, 60)."""
    for i, row in enumerate(host.process.get("rlimits", [])):
        _, hard = resource.getrlimit(RLIMITS[row["type"]])
        now = _INFINITY if hard == resource.RLIM_INFINITY else hard
        if row["hard"] > now and not host.unlimited:
            yield Fault(f"/process/rlimits/{i}/hard", f"raising it from {now} takes CAP_SYS_RESOURCE", "MUST 57")
    score = host.process.get("oomScoreAdj")
    if score is not None and not host.unlimited:
        with open("/proc/self/oom_score_adj") as file:
            now = int(file.read())
        if score < now:
            yield Fault("/process/oomScoreAdj", f"lowering it from {now} takes CAP_SYS_RESOURCE", "MUST 60")


def ids(host: Host) -> Iterator[Fault]:
    """Those of a user namespace are the caller's to map (user_namespaces(7))."""
    if not host.root and "user" in host.namespaces and not host.namespaces["user"].get("path"):
        yield from subids.faults(host.linux)


def limits_of_cgroups(host: Host) -> Iterator[Fault]:
    """The cgroup can be made, and has what limits ask for (MUST 30, 110, 111)."""
    yield from cgroups.faults(host.linux, host.root, host.options.cgroup_manager)


def sysctl(host: Host) -> Iterator[Fault]:
    """The kernel has them."""
    for key in host.linux.get("sysctl", {}):
        if not _there(f"/proc/sys/{sysctls.path(key)}"):
            yield Fault(f"/linux/sysctl/{escape(key)}", "this kernel has no such sysctl")


def seccomp(host: Host) -> Iterator[Fault]:
    """libseccomp takes the profile, and somebody listens for notifications (MUST 131)."""
    profile = host.linux.get("seccomp")
    if not profile:
        return
    from pyrun.host.seccomp import compile_filter  # lazy: only with a profile

    try:
        compile_filter(profile, host.log)
    except Error as e:
        yield Fault(e.pointer, e.detail or e.what, hint=e.hint)
    path = profile.get("listenerPath")
    if path and not _there(path):
        yield Fault("/linux/seccomp/listenerPath", f"nobody listens at {show(path)}", "MUST 131")


def unknown_calls(host: Host) -> Iterator[Fault]:
    """The names of a profile are those of system calls: of what libseccomp does not know, the filter knows nothing."""
    profile = host.linux.get("seccomp", {})
    if not profile.get("syscalls"):
        return
    from pyrun.host.seccomp import call_names, library_version, unknown_names  # lazy: only with a profile

    known, version = [*call_names().values()], library_version()
    for i, j, name in unknown_names(profile):
        near = difflib.get_close_matches(name, known, 1, _ALIKE)
        hint = f"did you mean {near[0]}?" if near else "it is newer, or of no kernel: the default action is taken"
        yield Fault(f"/linux/seccomp/syscalls/{i}/names/{j}", f"libseccomp {version} knows no {show(name)}", hint=hint)


def intel_rdt(host: Host) -> Iterator[Fault]:
    """resctrl is mounted, and has the group (MUST 113)."""
    wanted = host.linux.get("intelRdt")
    if wanted is None:
        return
    from pyrun.host.resctrl import Group  # lazy: only with linux.intelRdt

    try:
        Group.of(wanted, "check")
    except Error as e:
        yield Fault(e.pointer, e.what, "MUST 113", e.hint)


def memory_policy(host: Host) -> Iterator[Fault]:
    """Its nodes are online."""
    yield from _numbers(host.linux.get("memoryPolicy", {}).get("nodes", ""), "/linux/memoryPolicy/nodes", "node")


def cpus(host: Host) -> Iterator[Fault]:
    """Those of execCPUAffinity are online."""
    for member, text in host.process.get("execCPUAffinity", {}).items():
        yield from _numbers(str(text), f"/process/execCPUAffinity/{member}", "cpu")


def _numbers(text: str, at: str, kind: str) -> Iterator[Fault]:
    online = set(ranges.parse(content(f"/sys/devices/system/{kind}/online").strip() or "0"))
    absent = [number for number in ranges.parse(text) if number not in online]
    if absent:
        yield Fault(at, f"this host has no {kind} {absent[0]}")


def capabilities(host: Host) -> Iterator[Fault]:
    """Those that the caller can grant (MUST 59)."""
    if "user" in host.namespaces:
        return
    sets = host.process.get("capabilities", {})
    for kind in SETS:
        for i, name in enumerate(sets.get(kind, [])):
            if name in CAPABILITIES and not host.capabilities >> CAPABILITIES[name] & 1:
                yield Fault(f"/process/capabilities/{kind}/{i}", f"{name} can't be granted here", "MUST 59")


def file_systems(host: Host) -> Iterator[Fault]:
    """Their types are known."""
    known = {line.split()[-1] for line in content("/proc/filesystems").splitlines() if line}
    for i, mount in enumerate(host.config.get("mounts", [])):
        kind, options = mount.get("type", ""), mount.get("options", [])
        if kind and kind not in known and not {"bind", "rbind", "remount"} & set(options):
            hint = "unless a module brings it"
            yield Fault(f"/mounts/{i}/type", f"this kernel knows no file system {show(kind)}", hint=hint)


def file_system_options(host: Host) -> Iterator[Fault]:
    """The file systems take what mounts hand to them."""
    if host.root:
        yield from parameters.faults(host.config)


def mount_label(host: Host) -> Iterator[Fault]:
    """It is of use with SELinux only."""
    if host.linux.get("mountLabel") and not lsm.selinux():
        yield Fault("/linux/mountLabel", "has no effect: selinux is not in force on this host")


def old_cgroups(host: Host) -> Iterator[Fault]:
    """One line, and never in a run: nobody who starts a container can change it there."""
    if hierarchies_of_host().mode == "v1":
        hint = "boot with systemd.unified_cgroup_hierarchy=1, or a newer distribution"
        yield Fault(
            "", "this host has cgroup version 1, which its kernel's developers and systemd have given up", hint=hint
        )


def _there(path: str) -> bool:
    """Also what can't be looked at: whoever runs the container may be able to."""
    try:
        os.stat(path)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


ERRORS: tuple[Callable[[Host], Iterator[Fault]], ...] = (
    kernel,
    namespaces,
    binds,
    root,
    overlays,
    hooks,
    devices,
    net_devices,
    labels,
    limits,
    ids,
    limits_of_cgroups,
    sysctl,
    seccomp,
    intel_rdt,
    memory_policy,
    cpus,
    file_system_options,
)
WARNINGS: tuple[Callable[[Host], Iterator[Fault]], ...] = (
    capabilities,
    file_systems,
    mount_label,
    old_cgroups,
    unknown_calls,
)
