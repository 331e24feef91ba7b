"""/mounts (config.md "Mounts"; MUST 48 to 52, and what the mounts of the image must not do)."""

from __future__ import annotations

from pyrun.spec import mount_options
from pyrun.spec.checks.common import mapping_faults, namespaces_of
from pyrun.spec.faults import Fault, show
from pyrun.spec.paths import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.spec.config import Config, Mount

# What may be mounted below /proc: files that lxcfs fakes. Anything else could stand in for a file that the runtime or
# a security module trusts (CVE-2019-16884).
BELOW_PROC = frozenset(
    {
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/meminfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/uptime",
        "/proc/loadavg",
        "/proc/slabinfo",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/sys/crypto/fips_enabled",
    }
)
# Only on a real directory: a symlink in the image would send it elsewhere (CVE-2019-19921, CVE-2023-27561).
ORDINARY_DIRECTORY = {"proc", "sysfs"}
# File systems of the kernel's own without FS_ALLOW_IDMAP.
_UNMAPPED = ("cgroup", "cgroup2", "devpts", "mqueue", "proc", "sysfs")
_FOR_BINDS = ("copy-symlink", "src-nofollow")


def mounts(config: Config) -> Iterator[Fault]:
    """All that is to be said of each mount, in its order."""
    own_maps = "user" in namespaces_of(config.get("linux"))
    for i, mount in enumerate(config.get("mounts", ())):
        at, options = f"/mounts/{i}", mount.get("options", [])
        binds = "bind" in options or "rbind" in options
        yield from _destination(mount, at, binds)
        if binds:
            yield from _bind(mount, at)
        else:
            yield from _type(mount, at)
        yield from _options(mount, at, binds)
        yield from _id_mapping(mount, at, binds, own_maps)


def _destination(mount: Mount, at: str, binds: bool) -> Iterator[Fault]:
    destination = clean(mount["destination"])
    if destination == "/":
        yield Fault(f"{at}/destination", "nothing can be mounted over the container's root")
    elif destination == "/proc" and not binds and mount.get("type") != "proc":
        yield Fault(f"{at}/type", f"/proc must be of type proc, not {show(mount.get('type', ''))}")
    elif destination.startswith("/proc/") and destination not in BELOW_PROC:
        hint = f"except for {', '.join(sorted(BELOW_PROC))}"
        yield Fault(f"{at}/destination", "operation not permitted: nothing may be mounted inside /proc", hint=hint)


def _type(mount: Mount, at: str) -> Iterator[Fault]:
    if not mount.get("type") and "remount" not in mount.get("options", ()):
        yield Fault(f"{at}/type", "is required", hint="only binds (options bind or rbind) and remounts do without")
    elif mount.get("type") == "bind":
        yield Fault(f"{at}/type", "no filesystem is called bind", hint="use the option bind or rbind")


def _bind(mount: Mount, at: str) -> Iterator[Fault]:
    if not mount.get("source"):
        yield Fault(f"{at}/source", "is required for a bind")


def mount_warnings(config: Config) -> Iterator[Fault]:
    """What is no error but has no effect, or another than it seems to have."""
    for i, mount in enumerate(config.get("mounts", ())):
        at, options = f"/mounts/{i}", mount.get("options", ())
        if mount["destination"][0] != "/":
            problem = f"a relative path, {show(mount['destination'])}, is taken from the container's root"
            yield Fault(f"{at}/destination", problem, "MUST 49", "make it absolute")
        if "bind" not in options and "rbind" not in options:
            continue
        for j, option in enumerate(options):
            if option and option not in mount_options.OPTIONS and not option.startswith(mount_options.ID_MAPS):
                # As for mount(2): a bind has no filesystem of its own to set up.
                problem = f"the option {show(option)} has no effect: a bind passes none to a filesystem"
                yield Fault(f"{at}/options/{j}", problem)


def _options(mount: Mount, at: str, binds: bool) -> Iterator[Fault]:
    for j, option in enumerate(mount.get("options", ())):
        if option == "tmpcopyup" and (binds or mount.get("type") != "tmpfs"):
            yield Fault(f"{at}/options/{j}", "tmpcopyup is for the type tmpfs only")
        if option in _FOR_BINDS and not binds:
            yield Fault(f"{at}/options/{j}", f"{option} is for binds only")


def _id_mapping(mount: Mount, at: str, binds: bool, own_maps: bool) -> Iterator[Fault]:
    options = mount.get("options", [])
    maps = "uidMappings" in mount or "gidMappings" in mount
    for j, option in enumerate(options):
        if option.startswith(mount_options.ID_MAPS):
            maps = True
            yield from _id_map_option(option, f"{at}/options/{j}")
    if ("uidMappings" in mount) != ("gidMappings" in mount):
        absent = "gidMappings" if "uidMappings" in mount else "uidMappings"
        yield Fault(f"{at}/{absent}", "is required: uidMappings and gidMappings come together", "MUST 52")
    for option in ("idmap", "ridmap"):
        if option in options and not maps and not own_maps:
            hint = "give the mount uidMappings and gidMappings, or the container a user namespace"
            problem = f"there is no id mapping for {option} to use"
            yield Fault(f"{at}/options/{options.index(option)}", problem, "MUST 51", hint)
    if not binds and mount.get("type") in _UNMAPPED and (maps or "idmap" in options or "ridmap" in options):
        yield Fault(at, f"the kernel maps no ids of a {mount['type']}", hint="leave the mappings out")
    yield from mapping_faults(mount.get("uidMappings", ()), f"{at}/uidMappings")
    yield from mapping_faults(mount.get("gidMappings", ()), f"{at}/gidMappings")


def _id_map_option(option: str, at: str) -> Iterator[Fault]:
    try:
        maps = mount_options.id_maps(option)
    except ValueError as error:
        yield Fault(at, str(error))
        return
    for mappings in maps:
        for fault in mapping_faults(mappings, ""):
            yield Fault(at, fault.problem)
