"""What this host has of all that containers may ask for, and this caller of it: found out by looking alone."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

from pyrun.cgroups.host import TOP, detect
from pyrun.check import subids
from pyrun.criu import service
from pyrun.errors import Error
from pyrun.host import lsm
from pyrun.host.seccomp import library_version
from pyrun.kernel import privilege
from pyrun.kernel.files import exists, read
from pyrun.machine.explain import OLDEST_KERNEL
from pyrun.record import Record
from pyrun.spec.capabilities import CAPABILITIES
from pyrun.spec.namespaces import NAMESPACES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Literal

    from pyrun.caller import Caller

    Level = Literal["ok", "limited", "missing"]

_DIRECTORIES = ("/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/sbin")
# Linux -> what it brought that a container may notice
_NEWER = (
    ((5, 19), "id-mapped overlay mounts"),
    ((6, 3), "id-mapped tmpfs, executables in memory that say so"),
    ((6, 17), "exec and joined pid namespaces without a moment of being seen"),
)
_FEW_FILES = 1024


class Finding(Record):
    """about: what was looked at. level: ok, limited (something does without, or does otherwise) or missing (containers,
    or what is named, can't be had). says: what is there. cost: what that means, "" for nothing. mend: how to change
    it, "" where nothing need be done, or can."""

    about: str
    level: Level
    says: str
    cost: str = ""
    mend: str = ""


class Patient:
    """What the checks look at."""

    def __init__(self, caller: Caller, root: str, criu: str = "") -> None:
        self.caller = caller
        self.root = root
        self.criu = criu
        self.uid = os.geteuid()
        self.nested = privilege.nested()
        self.capabilities = privilege.own_capabilities()
        self.hierarchies = detect(_text("/proc/self/mountinfo"), _text("/proc/self/cgroup"))
        self.kernel = tuple(int(part) for part in os.uname().release.replace("-", ".").split(".")[:2] if part.isdigit())


def examine(caller: Caller, root: str, criu: str = "") -> list[Finding]:
    """All findings, in an order to be read in. root: the directory of containers' states. criu: CRIU's executable, ""
    for what is found."""
    patient = Patient(caller, root, criu)
    return [finding for check in CHECKS for finding in check(patient)]


def kernel(patient: Patient) -> Iterator[Finding]:
    release = os.uname().release
    oldest = tuple(map(int, OLDEST_KERNEL.split(".")))
    if patient.kernel < oldest:
        yield Finding(
            about="kernel",
            level="missing",
            says=f"Linux {release}",
            cost=f"pyrun needs {OLDEST_KERNEL} or newer: mount_setattr(2)",
            mend="a newer kernel",
        )
        return
    lacks = [f"{'.'.join(map(str, since))}: {what}" for since, what in _NEWER if patient.kernel < since]
    cost = f"newer ones have more ({'; '.join(lacks)})" if lacks else ""
    yield Finding(about="kernel", level="ok", says=f"Linux {release}", cost=cost)


def namespaces(patient: Patient) -> Iterator[Finding]:
    lacking = [kind for kind, (_, file) in NAMESPACES.items() if not exists(f"/proc/self/ns/{file}")]
    none = [kind for kind in NAMESPACES if _text(f"/proc/sys/user/max_{_SYSCTL.get(kind, kind)}_namespaces") == "0"]
    if lacking or none:
        says = f"none of {', '.join(lacking)}" if lacking else f"no {', '.join(none)} namespace may be made"
        mend = "a kernel that has them" if lacking else "raise /proc/sys/user/max_*_namespaces"
        yield Finding(
            about="namespaces", level="limited", says=says, cost="a config that asks for one is refused", mend=mend
        )
    else:
        yield Finding(about="namespaces", level="ok", says=", ".join(NAMESPACES))


_SYSCTL = {"mount": "mnt", "network": "net"}


def cgroups(patient: Patient) -> Iterator[Finding]:
    found = patient.hierarchies
    if found.mode == "none":
        mend = f"mount -t cgroup2 none {TOP}"
        yield Finding(about="cgroups", level="missing", says="none is mounted", cost="no limits, no pause", mend=mend)
        return
    if found.mode == "v1":
        names = sorted(name for tree in found.trees for name in tree.controllers)
        yield Finding(
            about="cgroups",
            level="limited",
            says=f"version 1: {', '.join(names)}",
            cost="deprecated; no delegation to users, no memory.high, no pressure figures",
            mend="boot with systemd.unified_cgroup_hierarchy=1",
        )
        return
    own = TOP + found.trees[0].own_below_mount
    given = _text(f"{own}/cgroup.controllers").split()
    if not os.access(own if patient.uid else TOP, os.W_OK):
        yield Finding(
            about="cgroups",
            level="limited",
            says=f"version 2: {own} can't be written",
            cost="containers have no cgroup of their own: no limits, no pause, no update",
            mend="--systemd-cgroup, or systemd-run --user --scope -p Delegate=yes"
            if patient.uid
            else f"mount {TOP} writable",
        )
        return
    wanted = {"cpu", "cpuset", "io", "memory", "pids"}
    lacks = sorted(wanted - {*given})
    if lacks:
        mend = "systemctl edit user@.service: [Service] Delegate=cpu cpuset io memory pids" if patient.uid else ""
        says, cost = f"version 2, without {', '.join(lacks)}", "their limits are refused"
        yield Finding(about="cgroups", level="limited", says=says, cost=cost, mend=mend)
    else:
        yield Finding(about="cgroups", level="ok", says=f"version 2: {', '.join(given)}")


def systemd(patient: Patient) -> Iterator[Finding]:
    if not exists("/run/systemd/system"):
        yield Finding(about="systemd", level="limited", says="it is not running", cost="--systemd-cgroup does not work")
        return
    environ = patient.caller.environ
    user = environ.get(b"XDG_RUNTIME_DIR", f"/run/user/{patient.uid}".encode()).decode(errors="surrogateescape")
    place = f"{user}/systemd/private" if patient.uid else "/run/dbus/system_bus_socket"
    if exists(place) or exists("/run/systemd/private"):
        yield Finding(about="systemd", level="ok", says="its manager can be asked for scopes")
    else:
        mend = "loginctl enable-linger, and log in" if patient.uid else "start dbus"
        says, cost = f"there is no {place}", "--systemd-cgroup does not work"
        yield Finding(about="systemd", level="limited", says=says, cost=cost, mend=mend)


def user_namespaces(patient: Patient) -> Iterator[Finding]:
    if patient.uid == 0 and not patient.nested:
        yield Finding(about="user", level="ok", says="root of the host")
        return
    who = "root of a user namespace" if patient.uid == 0 else f"uid {patient.uid}"
    barred = [
        f"{path.removeprefix('/proc/sys/').replace('/', '.')}={_text(path)}"
        for path, bad in (
            ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
            ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
            ("/proc/sys/user/max_user_namespaces", "0"),
        )
        if _text(path) == bad
    ]
    if barred and patient.uid:
        cost, mend = "without root there are no containers", f"sysctl: change {', '.join(barred)}"
        yield Finding(about="user", level="missing", says=f"{who}, without user namespaces", cost=cost, mend=mend)
        return
    lacks = [
        f"/etc/{name}"
        for name in ("subuid", "subgid")
        if patient.uid and not subids.ranges(f"/etc/{name}", patient.uid)
    ]
    lacks += [tool for tool in ("newuidmap", "newgidmap") if patient.uid and not _program(tool)]
    if lacks:
        yield Finding(
            about="user",
            level="limited",
            says=f"{who}: nothing in {', '.join(lacks)}",
            cost="a container has one id only, that of the caller",
            mend="install uidmap; usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER",
        )
    else:
        yield Finding(about="user", level="ok", says=who)


def capabilities(patient: Patient) -> Iterator[Finding]:
    if patient.uid and not patient.nested:
        return
    lacking = [name for name, number in CAPABILITIES.items() if not patient.capabilities >> number & 1]
    if lacking:
        cost = "a container can't have them"
        if "CAP_SYS_RESOURCE" in lacking:
            cost += "; no limit can be raised above this process's hard ones"
        yield Finding(about="capabilities", level="limited", says=f"without {', '.join(lacking)}", cost=cost)
    else:
        yield Finding(about="capabilities", level="ok", says=f"all {len(CAPABILITIES)}")


def limits(patient: Patient) -> Iterator[Finding]:
    hard = {name: resource.getrlimit(getattr(resource, name))[1] for name in ("RLIMIT_NOFILE", "RLIMIT_NPROC")}
    says = ", ".join(f"{name} {value if value >= 0 else 'unlimited'}" for name, value in hard.items())
    if 0 <= hard["RLIMIT_NOFILE"] < _FEW_FILES:
        cost, mend = "a bundle with many binds runs out of descriptors", "ulimit -Hn 1048576"
        yield Finding(about="limits", level="limited", says=says, cost=cost, mend=mend)
    else:
        yield Finding(about="limits", level="ok", says=says)


def security(patient: Patient) -> Iterator[Finding]:
    version = library_version()
    if not _text("/proc/sys/kernel/seccomp/actions_avail"):
        cost, mend = "a config with linux.seccomp is refused", "a kernel with CONFIG_SECCOMP_FILTER"
        yield Finding(about="seccomp", level="missing", says="the kernel has none", cost=cost, mend=mend)
    elif not version:
        cost, mend = "a config with linux.seccomp is refused", "install libseccomp2"
        yield Finding(about="seccomp", level="missing", says="libseccomp is not installed", cost=cost, mend=mend)
    else:
        yield Finding(about="seccomp", level="ok", says=f"libseccomp {version}")
    there = [name for name, found in (("AppArmor", lsm.apparmor()), ("SELinux", lsm.selinux())) if found]
    if there:
        yield Finding(about="labels", level="ok", says=", ".join(there))
    else:
        cost = "profiles and labels in a config are refused, mount labels have no effect"
        yield Finding(about="labels", level="limited", says="neither AppArmor nor SELinux is in force", cost=cost)


def settings(patient: Patient) -> Iterator[Finding]:
    """Sysctls that change what pyrun does."""
    if _text("/proc/sys/vm/memfd_noexec") == "2":
        cost, mend = "the executor is copied to /tmp for each command", "sysctl vm.memfd_noexec=1"
        yield Finding(about="sysctl", level="limited", says="vm.memfd_noexec is 2", cost=cost, mend=mend)
    if patient.uid and _text("/proc/sys/kernel/yama/ptrace_scope") == "3":
        cost = "no seccomp agent without root"
        yield Finding(about="sysctl", level="limited", says="kernel.yama.ptrace_scope is 3", cost=cost)


def store(patient: Patient) -> Iterator[Finding]:
    """Where containers' states are kept."""
    above = patient.root
    while not exists(above):
        above = os.path.dirname(above)
    if not os.access(above, os.W_OK):
        says, mend = f"{above} can't be written", "choose a --root"
        yield Finding(about="store", level="missing", says=says, cost="no container can be kept", mend=mend)
        return
    says = patient.root
    try:
        import psutil  # lazy: it may not be there

        usage = psutil.disk_usage(above)
        memory = psutil.virtual_memory()
        says += f": {usage.free >> 20} MiB free; {memory.available >> 20} MiB of memory, {psutil.cpu_count()} CPUs"
    except (ImportError, OSError):
        pass  # what it would add
    yield Finding(about="store", level="ok", says=says)


def tools(patient: Patient) -> Iterator[Finding]:
    if exists("/sys/fs/resctrl/tasks"):
        yield Finding(about="resctrl", level="ok", says="mounted: linux.intelRdt works")
    try:
        import prctl  # noqa: F401  # lazy: a wheel does not bring it
    except ImportError:
        cost = "`run` does not adopt processes that outlive an init without a pid namespace of its own"
        mend = 'pip install "pyrun-oci[prctl]"'
        yield Finding(about="prctl", level="limited", says="python-prctl is not installed", cost=cost, mend=mend)


_CRIU = {"mem_track": "--pre-dump", "lazy_pages": "--lazy-pages"}


def criu(patient: Patient) -> Iterator[Finding]:
    """What checkpoint and restore are done by."""
    try:
        path = service.find(patient.criu)
    except Error:
        cost, mend = "no checkpoint, no restore", "install criu"
        yield Finding(about="criu", level="limited", says="it is not installed", cost=cost, mend=mend)
        return
    try:
        says = f"CRIU {'.'.join(map(str, service.version(path)))}"
        if patient.uid:
            yield Finding(about="criu", level="limited", says=says, cost="checkpoint and restore take root")
            return
        if lacks := service.check(path):
            cost, mend = "no checkpoint, no restore", "a kernel with what CRIU needs (criu.org/Linux_kernel)"
            yield Finding(about="criu", level="limited", says=f"{says}: {lacks}", cost=cost, mend=mend)
            return
        without = [name for name in _CRIU if not service.has_feature(path, name)]
    except Error as e:
        yield Finding(about="criu", level="limited", says=str(e), cost="no checkpoint, no restore", mend="install criu")
        return
    has = [name for name in _CRIU if name not in without]
    cost = f"no {', '.join(_CRIU[name] for name in without)}" if without else ""
    says = f"{says}: {', '.join(has)}" if has else says
    mend = "a kernel with CONFIG_MEM_SOFT_DIRTY and userfaultfd(2)" if without else ""
    yield Finding(about="criu", level="limited" if without else "ok", says=says, cost=cost, mend=mend)


CHECKS: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    kernel,
    user_namespaces,
    capabilities,
    limits,
    namespaces,
    cgroups,
    systemd,
    security,
    settings,
    store,
    criu,
    tools,
)


def _text(path: str) -> str:
    try:
        return read(path).strip()
    except OSError:
        return ""


def _program(name: str) -> str:
    return next((path for folder in _DIRECTORIES if os.access(path := f"{folder}/{name}", os.X_OK)), "")
