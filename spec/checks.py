"""What the schema can't say: small checks, each for one rule, over values whose shape the schema has found good.

A check yields Faults; one that breaks a numbered MUST carries it as its rule. The checks see the bundle alone: what
depends on the host (does the path exist, does the kernel know it) is found out later, where it is used.
"""

from __future__ import annotations

from pyrun.spec import mount_options, ranges, sysctls
from pyrun.spec.capabilities import CAPABILITIES, SETS
from pyrun.spec.faults import Fault, escape, show
from pyrun.spec.namespaces import CLOCKS
from pyrun.spec.rlimits import RLIMITS
from pyrun.spec.version import OCI_VERSION_MIN, SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from pyrun.spec.config import (
        Config,
        HookKind,
        IDMapping,
        Linux,
        Mount,
        Namespace,
        Process,
        Resources,
        Seccomp,
    )

    Check: TypeAlias = Callable[[Config], Iterator[Fault]]

ABSOLUTE = "must be an absolute path"


def config_faults(config: Config) -> list[Fault]:
    """All faults of a config.json that load()'s schema has passed."""
    faults = [fault for check in CONFIG_CHECKS for fault in check(config)]
    process = config.get("process")
    if process is not None:
        faults += process_faults(process, "/process")
    linux = config.get("linux")
    if linux is not None:
        faults += [fault for check in LINUX_CHECKS for fault in check(linux)]
        resources = linux.get("resources")
        if resources is not None:
            faults += resources_faults(resources, "/linux/resources")
    return faults


def process_faults(process: Process, at: str = "") -> list[Fault]:
    """All faults of a process; `at` is its JSON pointer."""
    return [fault for check in PROCESS_CHECKS for fault in check(process, at)]


def resources_faults(resources: Resources, at: str = "") -> list[Fault]:
    """All faults of a set of resources; `at` is its JSON pointer."""
    return [fault for check in RESOURCES_CHECKS for fault in check(resources, at)]


def config_warnings(config: Config) -> list[Fault]:
    """What is no error but deserves a word: a MUST or SHOULD that tells us to go on."""
    warnings = [
        Fault(
            f"/mounts/{i}/destination",
            f"a relative path, {show(mount['destination'])}, is taken from the container's root",
            "MUST 49",
            "make it absolute",
        )
        for i, mount in enumerate(config.get("mounts", ()))
        if mount["destination"][0] != "/"
    ]
    process = config.get("process")
    if process is not None:
        warnings += process_warnings(process, "/process")
    return warnings


def process_warnings(process: Process, at: str = "") -> list[Fault]:
    """The capabilities that don't exist: they can't be granted, and that is no error."""
    capabilities = process.get("capabilities", {})
    return [
        Fault(f"{at}/capabilities/{kind}/{i}", f"unknown capability {show(name)}, not granted", "MUST 59")
        for kind in SETS
        for i, name in enumerate(capabilities.get(kind, ()))
        if name not in CAPABILITIES
    ]


# The document as a whole


def oci_version(config: Config) -> Iterator[Fault]:
    version = config["ociVersion"]
    if not is_semver(version):
        yield Fault("/ociVersion", f"must be a semantic version such as {SPEC_VERSION}, not {show(version)}", "MUST 45")
    elif not version.startswith("1."):
        hint = f"pyrun takes bundles of {OCI_VERSION_MIN} to {SPEC_VERSION}, and newer ones of the series 1"
        yield Fault("/ociVersion", f"version {version} is of another series than 1", "MUST 45", hint)


def is_semver(text: str) -> bool:
    """Is the text a version by SemVer 2.0.0?"""
    text, plus, build = text.partition("+")
    text, dash, pre_release = text.partition("-")
    numbers = text.split(".")
    return (
        len(numbers) == 3
        and all(_is_number(number) for number in numbers)
        and (not dash or all(_is_tag(tag) and (not tag.isdigit() or _is_number(tag)) for tag in pre_release.split(".")))
        and (not plus or all(_is_tag(tag) for tag in build.split(".")))
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")


def _is_tag(text: str) -> bool:
    return text.isascii() and text.replace("-", "a").isalnum()


def root(config: Config) -> Iterator[Fault]:
    if "root" not in config:
        yield Fault("/root", "is required", "MUST 46")


def host_names(config: Config) -> Iterator[Fault]:
    own_uts = "uts" in _namespaces(config.get("linux"))
    for pointer, name in (("/hostname", config.get("hostname")), ("/domainname", config.get("domainname"))):
        if not name:
            continue
        if not own_uts:
            yield Fault(pointer, "needs a uts namespace", hint='add {"type": "uts"} to /linux/namespaces')
        if len(name.encode()) > 64:
            yield Fault(pointer, "must have at most 64 bytes")


def annotation_names(config: Config) -> Iterator[Fault]:
    if "" in config.get("annotations", ()):
        yield Fault("/annotations/", "the name of an annotation must not be empty", "MUST 76")


def hooks(config: Config) -> Iterator[Fault]:
    found = config.get("hooks", {})
    for kind in HOOKS:
        for i, hook in enumerate(found.get(kind, ())):
            if not hook["path"].startswith("/"):
                yield Fault(f"/hooks/{kind}/{i}/path", f"{ABSOLUTE}, not {show(hook['path'])}", "MUST 63")
            if hook.get("timeout", 1) <= 0:
                yield Fault(f"/hooks/{kind}/{i}/timeout", f"must be more than 0, not {hook['timeout']}", "MUST 64")


# In the order in which they run (runtime.md "Lifecycle").
HOOKS: tuple[HookKind, ...] = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)


def mounts(config: Config) -> Iterator[Fault]:
    own_maps = "user" in _namespaces(config.get("linux"))
    for i, mount in enumerate(config.get("mounts", ())):
        options = mount.get("options", ())
        binds = "bind" in options or "rbind" in options
        if binds:
            yield from _bind(i, mount)
        elif not mount.get("type") and "remount" not in options:
            hint = "only binds (options bind or rbind) and remounts do without"
            yield Fault(f"/mounts/{i}/type", "is required", hint=hint)
        elif mount.get("type") == "bind":
            yield Fault(f"/mounts/{i}/type", "no filesystem is called bind", hint="use the option bind or rbind")
        if "tmpcopyup" in options and (binds or mount.get("type") != "tmpfs"):
            yield Fault(f"/mounts/{i}/options/{_index(mount, 'tmpcopyup')}", "tmpcopyup is for the type tmpfs only")
        maps = "uidMappings" in mount or "gidMappings" in mount
        for j, option in enumerate(options):
            if option.startswith(mount_options.ID_MAPS):
                maps = True
                yield from _id_maps(option, f"/mounts/{i}/options/{j}")
        if ("uidMappings" in mount) != ("gidMappings" in mount):
            absent = "gidMappings" if "uidMappings" in mount else "uidMappings"
            yield Fault(f"/mounts/{i}/{absent}", "is required: uidMappings and gidMappings come together", "MUST 52")
        for option in ("idmap", "ridmap"):
            if option in options and not maps and not own_maps:
                pointer = f"/mounts/{i}/options/{_index(mount, option)}"
                hint = "give the mount uidMappings and gidMappings, or the container a user namespace"
                yield Fault(pointer, f"there is no id mapping for {option} to use", "MUST 51", hint)
        for option in ("copy-symlink", "src-nofollow"):
            if option in options and not binds:
                yield Fault(f"/mounts/{i}/options/{_index(mount, option)}", f"{option} is for binds only")
        if not binds and (maps or "idmap" in options or "ridmap" in options):
            yield Fault(f"/mounts/{i}", "only a bind can be id-mapped", hint="use the option bind or rbind")
        yield from _mapping_faults(mount.get("uidMappings", ()), f"/mounts/{i}/uidMappings")
        yield from _mapping_faults(mount.get("gidMappings", ()), f"/mounts/{i}/gidMappings")


def _id_maps(option: str, at: str) -> Iterator[Fault]:
    try:
        maps = mount_options.id_maps(option)
    except ValueError as error:
        yield Fault(at, str(error))
        return
    for mappings in maps:
        for fault in _mapping_faults(mappings, ""):
            yield Fault(at, fault.problem)


def _bind(i: int, mount: Mount) -> Iterator[Fault]:
    if not mount.get("source"):
        yield Fault(f"/mounts/{i}/source", "is required for a bind")
    for j, option in enumerate(mount["options"]):
        if option and option not in mount_options.OPTIONS and not option.startswith(mount_options.ID_MAPS):
            # A bind has no filesystem of its own to set up: mount(2) would drop it without a word.
            problem = f"unknown option {show(option)}, and a bind passes none to a filesystem"
            yield Fault(f"/mounts/{i}/options/{j}", problem)


def _index(mount: Mount, option: str) -> int:
    return mount["options"].index(option)


CONFIG_CHECKS: tuple[Check, ...] = (oci_version, root, host_names, annotation_names, hooks, mounts)


# /process


def cwd(process: Process, at: str) -> Iterator[Fault]:
    if not process["cwd"].startswith("/"):
        yield Fault(f"{at}/cwd", f"{ABSOLUTE}, not {show(process['cwd'])}", "MUST 54")


def args(process: Process, at: str) -> Iterator[Fault]:
    if not process.get("args"):
        yield Fault(f"{at}/args", "must have at least one entry, the program", "MUST 55")


def env(process: Process, at: str) -> Iterator[Fault]:
    for i, entry in enumerate(process.get("env", ())):
        if "=" not in entry[1:]:
            yield Fault(f"{at}/env/{i}", f"must be NAME=VALUE, not {show(entry)}")


def rlimits(process: Process, at: str) -> Iterator[Fault]:
    seen = set()
    for i, rlimit in enumerate(process.get("rlimits", ())):
        kind = rlimit["type"]
        if kind not in RLIMITS:
            yield Fault(f"{at}/rlimits/{i}/type", f"unknown limit {show(kind)}", "MUST 56", "see getrlimit(2)")
        if kind in seen:
            yield Fault(f"{at}/rlimits/{i}/type", f"{show(kind)} occurs more than once", "MUST 58")
        seen.add(kind)
        if rlimit["soft"] > rlimit["hard"]:
            problem = f"the soft limit, {rlimit['soft']}, is above the hard one, {rlimit['hard']}"
            yield Fault(f"{at}/rlimits/{i}/soft", problem)


def console_size(process: Process, at: str) -> Iterator[Fault]:
    # MUST 53: without a terminal its size is not looked at. struct winsize has 16 bits for each.
    if process.get("terminal"):
        size = process.get("consoleSize", {})
        for name, value in (("height", size.get("height", 0)), ("width", size.get("width", 0))):
            if value > 65535:
                yield Fault(f"{at}/consoleSize/{name}", f"must be at most 65535, not {value}")


def scheduler(process: Process, at: str) -> Iterator[Fault]:
    found = process.get("scheduler")
    if found is None:
        return
    policy, at = found["policy"], f"{at}/scheduler"
    priority, nice = found.get("priority", 0), found.get("nice", 0)
    if policy == "SCHED_ISO":
        yield Fault(f"{at}/policy", "no Linux kernel has SCHED_ISO")
    if not -20 <= nice <= 19:
        yield Fault(f"{at}/nice", f"must be from -20 to 19, not {nice}")
    if policy in ("SCHED_FIFO", "SCHED_RR"):
        if not 1 <= priority <= 99:
            yield Fault(f"{at}/priority", f"must be from 1 to 99 for {policy}, not {priority}")
    elif priority:
        yield Fault(f"{at}/priority", f"must not be set for {policy}", hint="it is for SCHED_FIFO and SCHED_RR")
    runtime, deadline, period = found.get("runtime", 0), found.get("deadline", 0), found.get("period", 0)
    if policy != "SCHED_DEADLINE":
        for name, value in (("runtime", runtime), ("deadline", deadline), ("period", period)):
            if value:
                yield Fault(f"{at}/{name}", f"must not be set for {policy}", hint="it is for SCHED_DEADLINE")
    elif not 1024 <= runtime <= deadline <= (period or deadline) < 1 << 63:
        # sched(7): the kernel counts in units of 1024 ns, and a period of 0 is the deadline.
        problem = f"1024 <= runtime <= deadline <= period must hold, not {runtime}, {deadline}, {period}"
        yield Fault(at, problem)


def exec_cpu_affinity(process: Process, at: str) -> Iterator[Fault]:
    affinity = process.get("execCPUAffinity", {})
    for name, text in (("initial", affinity.get("initial", "")), ("final", affinity.get("final", ""))):
        yield from _range_faults(text, f"{at}/execCPUAffinity/{name}")


PROCESS_CHECKS: tuple[Callable[[Process, str], Iterator[Fault]], ...] = (
    cwd,
    args,
    env,
    rlimits,
    console_size,
    scheduler,
    exec_cpu_affinity,
)


# /linux


def namespaces(linux: Linux) -> Iterator[Fault]:
    seen = set()
    for i, namespace in enumerate(linux.get("namespaces", ())):
        if namespace["type"] in seen:
            yield Fault(f"/linux/namespaces/{i}/type", f"{show(namespace['type'])} occurs more than once", "MUST 86")
        seen.add(namespace["type"])
        path = namespace.get("path", "")
        if path and path[0] != "/":
            yield Fault(f"/linux/namespaces/{i}/path", f"{ABSOLUTE}, not {show(path)}", "MUST 81")


def id_mappings(linux: Linux) -> Iterator[Fault]:
    user = _namespaces(linux).get("user")
    both = (("uidMappings", linux.get("uidMappings")), ("gidMappings", linux.get("gidMappings")))
    for name, mappings in both:
        if mappings and user is None:
            hint = 'add {"type": "user"} to /linux/namespaces'
            yield Fault(f"/linux/{name}", "needs a user namespace", hint=hint)
        elif not mappings and user is not None and (not user.get("path") or any(other for _, other in both)):
            yield Fault(f"/linux/{name}", "is required for a new user namespace")
        yield from _mapping_faults(mappings or (), f"/linux/{name}")


def _mapping_faults(mappings: list[IDMapping] | tuple[()], at: str) -> Iterator[Fault]:
    for i, mapping in enumerate(mappings):
        size = mapping["size"]
        # user_namespaces(7): 4294967295 is no id, it stands for "leave as it is" in setuid's relatives.
        for name, first in (("containerID", mapping["containerID"]), ("hostID", mapping["hostID"])):
            if size == 0:
                yield Fault(f"{at}/{i}/size", "must be at least 1, not 0")
                break
            if first + size > 0xFFFFFFFF:
                yield Fault(f"{at}/{i}", f"{name} {first} and size {size} go beyond the last id, 4294967294")


def time_offsets(linux: Linux) -> Iterator[Fault]:
    offsets = linux.get("timeOffsets")
    if not offsets:
        return
    own = _namespaces(linux).get("time")
    if own is None:
        hint = 'add {"type": "time"} to /linux/namespaces'
        yield Fault("/linux/timeOffsets", "needs a time namespace", hint=hint)
    elif own.get("path"):
        problem = "can't be set for a time namespace that is there already"
        yield Fault("/linux/timeOffsets", problem, hint="give it no path")
    for clock in offsets:
        if clock not in CLOCKS:
            yield Fault(f"/linux/timeOffsets/{escape(clock)}", f"must be one of {', '.join(CLOCKS)}")


def devices(linux: Linux) -> Iterator[Fault]:
    for i, device in enumerate(linux.get("devices", ())):
        if not device["path"].startswith("/"):
            yield Fault(f"/linux/devices/{i}/path", f"{ABSOLUTE}, not {show(device['path'])}")
        if device["type"] == "p":
            continue
        for name, bits, value in (("major", 12, device.get("major")), ("minor", 20, device.get("minor"))):
            if value is None:
                yield Fault(f"/linux/devices/{i}/{name}", f"is required for type {device['type']}")
            elif not 0 <= value < 1 << bits:
                yield Fault(f"/linux/devices/{i}/{name}", f"must be from 0 to {(1 << bits) - 1}, not {value}")


def net_devices(linux: Linux) -> Iterator[Fault]:
    found = linux.get("netDevices")
    if not found:
        return
    if "network" not in _namespaces(linux):
        hint = 'add {"type": "network"} to /linux/namespaces'
        yield Fault("/linux/netDevices", "needs a network namespace", hint=hint)
    taken = set()
    for name, device in found.items():
        pointer = f"/linux/netDevices/{escape(name)}"
        if not _is_interface(name):
            yield Fault(pointer, f"{show(name)} is no name for a network device")
        new_name = device.get("name") or name
        # MUST 91: %d in the new name is for the kernel to fill in.
        if not _is_interface(new_name) or new_name.count("%") > 1 or "%" in new_name.replace("%d", ""):
            yield Fault(f"{pointer}/name", f"{show(new_name)} is no name for a network device")
        if new_name in taken and "%" not in new_name:
            yield Fault(f"{pointer}/name", f"two devices would be called {show(new_name)}", "MUST 91")
        taken.add(new_name)


def _is_interface(name: str) -> bool:
    # dev_valid_name() in net/core/dev.c; IFNAMSIZ is 16 with the NUL at the end.
    return (
        0 < len(name.encode()) < 16
        and name not in (".", "..")
        and not any(c == "/" or c == ":" or c.isspace() for c in name)
    )


def cgroups_path(linux: Linux) -> Iterator[Fault]:
    path = linux.get("cgroupsPath", "")
    if ".." in path.split("/"):
        yield Fault("/linux/cgroupsPath", f"must not go up with .., as {show(path)} does", "MUST 100")


def paths(linux: Linux) -> Iterator[Fault]:
    for rule, name, entries in (
        ("MUST 134", "maskedPaths", linux.get("maskedPaths", ())),
        ("MUST 135", "readonlyPaths", linux.get("readonlyPaths", ())),
    ):
        for i, path in enumerate(entries):
            if not path.startswith("/"):
                yield Fault(f"/linux/{name}/{i}", f"{ABSOLUTE}, not {show(path)}", rule)


def sysctl(linux: Linux) -> Iterator[Fault]:
    own = _namespaces(linux)
    for key in linux.get("sysctl", ()):
        pointer = f"/linux/sysctl/{escape(key)}"
        try:
            path = sysctls.path(key)
        except ValueError as error:
            yield Fault(pointer, str(error))
            continue
        kind = sysctls.namespace(path)
        if path == "kernel/hostname":
            yield Fault(pointer, "is not set by sysctl", hint="use /hostname")
        elif kind is None:
            yield Fault(pointer, "belongs to no namespace: it would change the host")
        elif kind not in own:
            hint = f'add {{"type": "{kind}"}} to /linux/namespaces'
            yield Fault(pointer, f"needs an own {kind} namespace, else it would change the host", hint=hint)


def seccomp(linux: Linux) -> Iterator[Fault]:
    found = linux.get("seccomp")
    if found is None:
        return
    at = "/linux/seccomp"
    if "defaultErrnoRet" in found and found["defaultAction"] not in WITH_ERRNO:
        yield Fault(f"{at}/defaultErrnoRet", f"{found['defaultAction']} takes no errno", "MUST 127")
    if found["defaultAction"] == "SCMP_ACT_NOTIFY":
        # The listener would have to answer for the execve that starts the program, and for its own setting up.
        yield Fault(f"{at}/defaultAction", "SCMP_ACT_NOTIFY can't be the default")
    for i, rule in enumerate(found.get("syscalls", ())):
        if not rule["names"]:
            yield Fault(f"{at}/syscalls/{i}/names", "must have at least one entry", "MUST 128")
        if "errnoRet" in rule and rule["action"] not in WITH_ERRNO:
            yield Fault(f"{at}/syscalls/{i}/errnoRet", f"{rule['action']} takes no errno", "MUST 127")
    yield from _listener(found, at)


def _listener(found: Seccomp, at: str) -> Iterator[Fault]:
    if found.get("listenerPath"):
        return
    if found.get("listenerMetadata"):
        yield Fault(f"{at}/listenerMetadata", "needs listenerPath", "MUST 132")
    for i, rule in enumerate(found.get("syscalls", ())):
        if rule["action"] == "SCMP_ACT_NOTIFY":
            yield Fault(f"{at}/syscalls/{i}/action", "SCMP_ACT_NOTIFY needs a listenerPath")


WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")


def intel_rdt(linux: Linux) -> Iterator[Fault]:
    found = linux.get("intelRdt")
    if found is None:
        return
    at = "/linux/intelRdt"
    clos_id = found.get("closID", "")
    # MUST 115: / alone is the default group. Anything else names a directory right below it.
    if clos_id in (".", "..") or ("/" in clos_id and clos_id != "/"):
        yield Fault(f"{at}/closID", f"must be a plain name or /, not {show(clos_id)}")
    bandwidth = found.get("memBwSchema", "")
    if bandwidth and not bandwidth.startswith("MB:"):
        yield Fault(f"{at}/memBwSchema", f"must begin with MB:, not {show(bandwidth)}", "MUST 116")
    if "\n" in bandwidth:
        yield Fault(f"{at}/memBwSchema", "must be one line", "MUST 116")
    if "\n" in found.get("l3CacheSchema", ""):
        yield Fault(f"{at}/l3CacheSchema", "must be one line")
    for i, line in enumerate(found.get("schemata", ())):
        if "\n" in line:
            yield Fault(f"{at}/schemata/{i}", "must be one line", "MUST 117")


def personality(linux: Linux) -> Iterator[Fault]:
    if linux.get("personality", {}).get("flags"):
        yield Fault("/linux/personality/flags", "must be empty: the specification defines no flag", "MUST 80")


def memory_policy(linux: Linux) -> Iterator[Fault]:
    found = linux.get("memoryPolicy")
    if found is None:
        return
    at = "/linux/memoryPolicy"
    mode, nodes, flags = found["mode"], found.get("nodes", ""), found.get("flags", ())
    yield from _range_faults(nodes, f"{at}/nodes")
    # set_mempolicy(2)
    if nodes and mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        yield Fault(f"{at}/nodes", f"must be empty for {mode}")
    if not nodes and mode not in ("MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED"):
        yield Fault(f"{at}/nodes", f"is required for {mode}")
    if flags and mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        yield Fault(f"{at}/flags", f"must be empty for {mode}")
    if "MPOL_F_STATIC_NODES" in flags and "MPOL_F_RELATIVE_NODES" in flags:
        yield Fault(f"{at}/flags", "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude one another")
    if "MPOL_F_NUMA_BALANCING" in flags and mode not in ("MPOL_BIND", "MPOL_PREFERRED_MANY"):
        yield Fault(f"{at}/flags", f"MPOL_F_NUMA_BALANCING can't go with {mode}")


LINUX_CHECKS: tuple[Callable[[Linux], Iterator[Fault]], ...] = (
    namespaces,
    id_mappings,
    time_offsets,
    devices,
    net_devices,
    cgroups_path,
    paths,
    sysctl,
    seccomp,
    intel_rdt,
    personality,
    memory_policy,
)


# /linux/resources


def device_rules(resources: Resources, at: str) -> Iterator[Fault]:
    for i, rule in enumerate(resources.get("devices", ())):
        access = rule.get("access", "")
        if access.strip("rwm"):
            yield Fault(f"{at}/devices/{i}/access", f"must be made of r, w and m, not {show(access)}")
        for name, value in (("major", rule.get("major", -1)), ("minor", rule.get("minor", -1))):
            if not -1 <= value < 1 << 32:
                yield Fault(f"{at}/devices/{i}/{name}", f"must be a device number, or -1 for any, not {value}")


def memory(resources: Resources, at: str) -> Iterator[Fault]:
    found = resources.get("memory", {})
    limit, swap = found.get("limit", 0), found.get("swap", 0)
    if limit > 0 and 0 < swap < limit:
        hint = "swap is the limit of memory and swap together"
        yield Fault(f"{at}/memory/swap", f"must be at least the limit, {limit}, not {swap}", hint=hint)
    if found.get("swappiness", 0) > 100:
        yield Fault(f"{at}/memory/swappiness", f"must be at most 100, not {found['swappiness']}")


def cpu(resources: Resources, at: str) -> Iterator[Fault]:
    found = resources.get("cpu", {})
    quota, burst, idle = found.get("quota", 0), found.get("burst", 0), found.get("idle", 0)
    if 0 < quota < burst:
        yield Fault(f"{at}/cpu/burst", f"must be at most the quota, {quota}, not {burst}", "MUST 105")
    if idle not in (0, 1):
        yield Fault(f"{at}/cpu/idle", f"must be 0 or 1, not {idle}")


def block_io(resources: Resources, at: str) -> Iterator[Fault]:
    found = resources.get("blockIO")
    if found is None:
        return
    at = f"{at}/blockIO"
    weights = [(f"{at}/weight", found.get("weight", 0)), (f"{at}/leafWeight", found.get("leafWeight", 0))]
    for i, device in enumerate(found.get("weightDevice", ())):
        if "weight" not in device and "leafWeight" not in device:
            yield Fault(f"{at}/weightDevice/{i}", "must have weight or leafWeight", "MUST 106")
        weights.append((f"{at}/weightDevice/{i}/weight", device.get("weight", 0)))
        weights.append((f"{at}/weightDevice/{i}/leafWeight", device.get("leafWeight", 0)))
    for pointer, weight in weights:
        # 0 is how managers that know no "unset" say it.
        if weight and not 10 <= weight <= 1000:
            yield Fault(pointer, f"must be from 10 to 1000, not {weight}")


def hugepage_limits(resources: Resources, at: str) -> Iterator[Fault]:
    for i, limit in enumerate(resources.get("hugepageLimits", ())):
        size = limit["pageSize"]
        if not (size[-2:] in ("KB", "MB", "GB") and _is_number(size[:-2]) and size[0] != "0"):
            pointer = f"{at}/hugepageLimits/{i}/pageSize"
            yield Fault(pointer, f"must be a size such as 64KB, 2MB or 1GB, not {show(size)}")


def rdma(resources: Resources, at: str) -> Iterator[Fault]:
    for name, limits in resources.get("rdma", {}).items():
        if "hcaHandles" not in limits and "hcaObjects" not in limits:
            yield Fault(f"{at}/rdma/{escape(name)}", "must have hcaHandles or hcaObjects", "MUST 107")


def unified(resources: Resources, at: str) -> Iterator[Fault]:
    for name in resources.get("unified", ()):
        # MUST 109: unknown files are written all the same, but only in the container's own cgroup.
        if "/" in name or "." not in name.strip("."):
            yield Fault(f"{at}/unified/{escape(name)}", "must be the name of a file of cgroup v2, such as memory.high")


RESOURCES_CHECKS: tuple[Callable[[Resources, str], Iterator[Fault]], ...] = (
    device_rules,
    memory,
    cpu,
    block_io,
    hugepage_limits,
    rdma,
    unified,
)


def _namespaces(linux: Linux | None) -> dict[str, Namespace]:
    return {namespace["type"]: namespace for namespace in linux.get("namespaces", ())} if linux else {}


def _range_faults(text: str, pointer: str) -> Iterator[Fault]:
    try:
        ranges.parse(text)
    except ValueError as error:
        yield Fault(pointer, f"{error}, not {show(text)}")
