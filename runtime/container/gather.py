"""What the plan of a container must know of this host, gathered before it is compiled."""

from __future__ import annotations

import posix

from pyrun.cgroups import drivers
from pyrun.host.dangling import destinations
from pyrun.kernel import privilege
from pyrun.machine.launch import Layout
from pyrun.plan import devices, labels, mounts, rootfs
from pyrun.plan.facts import Facts
from pyrun.plan.namespaces import Namespaces
from pyrun.spec import peers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.caller import Caller
    from pyrun.cgroups.cgroup import Cgroup
    from pyrun.cgroups.host import Hierarchies
    from pyrun.container.bundle import CreateOptions
    from pyrun.log import Log
    from pyrun.spec.config import Config, Resources


def layout(options: CreateOptions, config: Config) -> Layout:
    """Which descriptors a container's program finds open."""
    names = ["fifo", "status", *(f"preserved-{i}" for i in range(options.preserve_fds))]
    names += [f"idmap-{entry.index}" for entry in mapped(config)]
    names += [devices.PLACE] * devices.wants_place(config)
    return Layout(names, options.preserve_fds)


def mapped(config: Config) -> list[mounts.MountEntry]:
    """The mounts whose ids are to be mapped."""
    rows = enumerate(config.get("mounts", []))
    return [mounts.MountEntry(i, mount) for i, mount in rows if mounts.is_mapped(mount)]


def own_cgroup(
    options: CreateOptions, hierarchies: Hierarchies, container: str, config: Config, caller: Caller
) -> Cgroup:
    """The container's cgroup, not made yet, by the driver that the command line asks for. Raises Invalid."""
    path = config.get("linux", {}).get("cgroupsPath")
    rootless = privilege.rootless() if options.rootless is None else options.rootless
    annotations = config.get("annotations", {})
    manager = options.cgroup_manager
    return drivers.new(
        manager,
        hierarchies,
        container,
        path,
        rootless=rootless,
        annotations=annotations,
        environ=caller.environ,
    )


def cgroup_owner(config: Config) -> int:
    """Whom the container's cgroup is to belong to, as an id of the host's: its user, if it has a view of its own and a
    file system to write to (config-linux.md, "Cgroup ownership"). 0: it stays root's."""
    linux = config.get("linux", {})
    if not _writable_view(config):
        return 0
    uid: int = config.get("process", {}).get("user", {}).get("uid", 0)
    maps = linux.get("uidMappings")
    if not maps:
        return uid
    return devices.outside(maps, uid)


def subgroup(config: Config, cgroup: Cgroup) -> str:
    """The name of a cgroup in the scope, which the container takes for its own: as an annotation says. "": none."""
    name: str = config.get("annotations", {}).get(peers.SUBGROUP, "")
    return name if cgroup.mode == "v2" and cgroup.needs_process else ""


_LEAF = "init.scope"


def leaf(config: Config, cgroup: Cgroup) -> str:
    """The name of a cgroup in the container's, in which its processes begin: what the annotation says, or init.scope,
    out of which systemd finds by itself, where the container has a cgroup namespace and a writable cgroup2. Else ""."""
    if cgroup.mode != "v2" or not (cgroup.needs_process or any(d.made for d in cgroup.directories)):
        return ""
    return config.get("annotations", {}).get(peers.DELEGATE, _LEAF if _writable_view(config) else "")


def _writable_view(config: Config) -> bool:
    """It has a view of its cgroups of its own, and a file system to write to."""
    new = any(n["type"] == "cgroup" and not n.get("path") for n in config.get("linux", {}).get("namespaces", []))
    return new and any(
        mount.get("type") in ("cgroup", "cgroup2") and "ro" not in mount.get("options", ())
        for mount in config.get("mounts", [])
    )


def open_id_maps(config: Config, caller: Caller) -> list[int]:
    """A user namespace for each mount whose ids are to be mapped: with its own mappings, or the container's. Raises
    Error."""
    opened = []
    linux = config.get("linux", {})
    for entry in mapped(config):
        from pyrun.host.userns import open_mapped  # lazy: only with mapped mounts

        uids, gids = entry.mount.get("uidMappings"), entry.mount.get("gidMappings")
        if entry.options.mappings:
            uids, gids = entry.options.mappings
        joined = Namespaces(config).paths.get("user")
        if uids is None and joined:
            opened.append(posix.open(joined[0], posix.O_RDONLY | posix.O_CLOEXEC))
        elif uids is None:
            opened.append(open_mapped(linux.get("uidMappings", []), linux.get("gidMappings", []), "/linux", caller))
        else:
            opened.append(open_mapped(uids, gids or [], entry.pointer, caller))
    return opened


def resources(config: Config, cgroup: Cgroup) -> Resources:
    """linux.resources, with a rule that denies all devices when there is none, as with runc: a container's /dev has the
    default ones, and CAP_MKNOD should not be a way to all others."""
    wanted = config.get("linux", {}).get("resources", {})
    if wanted.get("devices") or not cgroup.has("devices"):
        return wanted
    return {**wanted, "devices": [{"allow": False, "access": "rwm"}]}


def visible_cgroups(config: Config, hierarchies: Hierarchies, cgroup: Cgroup) -> list[tuple[str, str, str]]:
    """Where the container's processes are in each hierarchy, as (its controllers, its mount point, the path there):
    without the right to make a cgroup, where ours are. The unified tree of a hybrid host is left out: images don't
    expect it."""
    below = _below(config, cgroup)
    made = {directory.controllers: directory.path for directory in cgroup.directories}
    return [
        (",".join(tree.controllers), tree.mountpoint, path[len(tree.mountpoint) :] + below)
        for tree in hierarchies.trees
        if tree.controllers or cgroup.mode == "v2"
        for path in [made.get(tree.controllers, tree.mountpoint + tree.own_below_mount)]
    ]


def _below(config: Config, cgroup: Cgroup) -> str:
    return f"/{name}" if (name := subgroup(config, cgroup)) else ""


def facts(
    container: str,
    config: Config,
    options: CreateOptions,
    hierarchies: Hierarchies,
    cgroup: Cgroup,
    caller: Caller,
    cache: bool = True,
) -> Facts:
    """What the plan must know of this host. `cache`: compiled seccomp profiles are kept."""
    device_filter = b""
    annotations = config.get("annotations", {})
    below = _below(config, cgroup)
    # Without privilege there is no bpf(2) for it, and no mknod(2) that it would have to stop.
    nested = privilege.nested()
    if cgroup.mode == "v2" and cgroup.path and posix.geteuid() == 0 and not nested:
        from pyrun.cgroups.controllers.devices import v2_device_program  # lazy: only on v2

        device_filter = v2_device_program(resources(config, cgroup)["devices"])  # type: ignore[arg-type]
    filter_, flags = seccomp_filter(config, caller, cache)
    if labels.wanted(config.get("process")):
        from pyrun.host import lsm  # lazy: only with labels

        lsm.require(config["process"])
    return Facts(
        layout=layout(options, config),
        bundle=options.bundle,
        container=container,
        privileged=posix.geteuid() == 0,
        nested=nested,
        capabilities=privilege.own_capabilities(),
        cgroup_v2=cgroup.mode == "v2",
        cgroups=visible_cgroups(config, hierarchies, cgroup),
        device_filter=device_filter,
        # A scope is made later, and always.
        cgroup_stays=not cgroup.needs_process and not any(d.made for d in cgroup.directories if not d.controllers),
        unified_cgroup=next((d.path + below for d in cgroup.directories if not d.controllers), ""),
        leaf=leaf(config, cgroup),
        v1_cgroups=[d.path for d in cgroup.directories if d.controllers],
        cgroups_optional=cgroup.optional,
        held=cgroup.needs_process,
        seccomp=filter_,
        seccomp_flags=flags,
        preserve=options.preserve_fds,
        keyring=options.keyring,
        pivot=options.pivot,
        symlinks=_symlinks(config, options.bundle),
        destinations=destinations(config, rootfs.path(config, options.bundle)),
        mount_label=_mount_label(config, caller.log),
        mount_context=annotations.get(peers.CONTEXT_TYPE, "context"),
        keep_groups=peers.on(annotations, peers.KEEP_GROUPS),
        procfs_takes_namespace=_release() >= _PIDNS,
    )


_PIDNS = (6, 17)


def _release() -> tuple[int, ...]:
    """The kernel's version: (6, 18) of "6.18.5-amd64", also of "6.18+"."""
    parts = posix.uname().release.split(".")[:2]
    return tuple(int(part[: len(part) - len(part.lstrip("0123456789"))] or 0) for part in parts)


def _symlinks(config: Config, bundle: str) -> dict[int, str]:
    """Where the sources of mounts with copy-symlink lead, if they are symlinks."""
    found = {}
    for i, mount in enumerate(config.get("mounts", [])):
        if "copy-symlink" in mount.get("options", ()):
            source = mount.get("source", "")
            try:
                found[i] = posix.readlink(source if source.startswith("/") else f"{bundle}/{source}")
            except OSError:  # not a symlink, or not there: opening it will tell
                continue
    return found


def _mount_label(config: Config, log: Log) -> str:
    label = config.get("linux", {}).get("mountLabel", "")
    if label:
        from pyrun.host import lsm  # lazy: only with labels

        if not lsm.selinux():
            log.warning("/linux/mountLabel: has no effect: selinux is not in force on this host")
            return ""
    return label


def seccomp_filter(config: Config, caller: Caller, cache: bool = True) -> tuple[bytes, int]:
    """The profile's program and the flags to load it with; (b"", 0) without one."""
    profile = config.get("linux", {}).get("seccomp")
    if not profile:
        return b"", 0
    from pyrun.host import seccomp  # lazy: only with a profile

    strict = peers.on(config.get("annotations", {}), peers.FAIL_UNKNOWN_SYSCALL)
    compiled = seccomp.program(profile, caller.cache("seccomp") if cache else "", caller.log, strict=strict)
    return compiled, seccomp.flags(profile)
