"""/linux, but for its resources (config-linux.md)."""

from __future__ import annotations

from pyrun.spec import sysctls
from pyrun.spec.checks.common import (
    ABSOLUTE,
    device_number_faults,
    is_interface,
    mapping_faults,
    namespaces_of,
    range_faults,
)
from pyrun.spec.faults import Fault, escape, show
from pyrun.spec.namespaces import CLOCKS
from pyrun.spec.paths import cgroup_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.spec.config import Linux, Seccomp


def namespaces(linux: Linux) -> Iterator[Fault]:
    """Each type once, paths absolute (MUST 81, 86)."""
    seen = set()
    for i, namespace in enumerate(linux.get("namespaces", ())):
        if namespace["type"] in seen:
            yield Fault(f"/linux/namespaces/{i}/type", f"{show(namespace['type'])} occurs more than once", "MUST 86")
        seen.add(namespace["type"])
        path = namespace.get("path", "")
        if path and path[0] != "/":
            yield Fault(f"/linux/namespaces/{i}/path", f"{ABSOLUTE}, not {show(path)}", "MUST 81")


def id_mappings(linux: Linux) -> Iterator[Fault]:
    """They belong to a user namespace, and a new one needs them."""
    user = namespaces_of(linux).get("user")
    both = (("uidMappings", linux.get("uidMappings")), ("gidMappings", linux.get("gidMappings")))
    for name, mappings in both:
        if mappings and user is None:
            hint = 'add {"type": "user"} to /linux/namespaces'
            yield Fault(f"/linux/{name}", "needs a user namespace", hint=hint)
        elif not mappings and user is not None and (not user.get("path") or any(other for _, other in both)):
            yield Fault(f"/linux/{name}", "is required for a new user namespace")
        yield from mapping_faults(mappings or (), f"/linux/{name}")


def time_offsets(linux: Linux) -> Iterator[Fault]:
    """They belong to a time namespace that is new (time_namespaces(7))."""
    offsets = linux.get("timeOffsets")
    if not offsets:
        return
    own = namespaces_of(linux).get("time")
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
    """Paths are absolute, numbers possible (config-linux.md "Devices")."""
    for i, device in enumerate(linux.get("devices", ())):
        if not device["path"].startswith("/"):
            yield Fault(f"/linux/devices/{i}/path", f"{ABSOLUTE}, not {show(device['path'])}")
        if device["type"] == "p":
            continue
        for name in ("major", "minor"):
            if name not in device:
                yield Fault(f"/linux/devices/{i}/{name}", f"is required for type {device['type']}")
        yield from device_number_faults(device, f"/linux/devices/{i}")


def net_devices(linux: Linux) -> Iterator[Fault]:
    """They need a network namespace, and names that a device can have (MUST 91)."""
    found = linux.get("netDevices")
    if not found:
        return
    if "network" not in namespaces_of(linux):
        hint = 'add {"type": "network"} to /linux/namespaces'
        yield Fault("/linux/netDevices", "needs a network namespace", hint=hint)
    taken = set()
    for name, device in found.items():
        pointer = f"/linux/netDevices/{escape(name)}"
        if not is_interface(name):
            yield Fault(pointer, f"{show(name)} is no name for a network device")
        new_name = device.get("name") or name
        # MUST 91: %d in the new name is for the kernel to fill in.
        if not is_interface(new_name) or new_name.count("%") > 1 or "%" in new_name.replace("%d", ""):
            yield Fault(f"{pointer}/name", f"{show(new_name)} is no name for a network device")
        if new_name in taken and "%" not in new_name:
            yield Fault(f"{pointer}/name", f"two devices would be called {show(new_name)}", "MUST 91")
        taken.add(new_name)


def cgroups_path(linux: Linux) -> Iterator[Fault]:
    """It names a cgroup below the mount point (MUST 100)."""
    path = linux.get("cgroupsPath")
    if path:  # "" is as good as absent
        try:
            cgroup_path(path)
        except ValueError as error:
            yield Fault("/linux/cgroupsPath", str(error), "MUST 100")


def swap(linux: Linux) -> Iterator[Fault]:
    """Not among the checks of resources by themselves: `update` may change the one and leave the other as it is."""
    memory = linux.get("resources", {}).get("memory", {})
    if memory.get("swap", 0) > 0 and not memory.get("limit"):
        problem = "needs memory.limit: it is the limit of memory and swap together"
        yield Fault("/linux/resources/memory/swap", problem)


def paths(linux: Linux) -> Iterator[Fault]:
    """maskedPaths and readonlyPaths are absolute (MUST 134, 135)."""
    for rule, name, entries in (
        ("MUST 134", "maskedPaths", linux.get("maskedPaths", ())),
        ("MUST 135", "readonlyPaths", linux.get("readonlyPaths", ())),
    ):
        for i, path in enumerate(entries):
            if not path.startswith("/"):
                yield Fault(f"/linux/{name}/{i}", f"{ABSOLUTE}, not {show(path)}", rule)


def sysctl(linux: Linux) -> Iterator[Fault]:
    """They belong to a namespace of the container's own."""
    own = namespaces_of(linux)
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
    """What the actions and their numbers allow (MUST 127, 128, 132)."""
    found = linux.get("seccomp")
    if found is None:
        return
    from pyrun.spec.seccomp import WITH_ERRNO  # lazy: only with a profile

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


def intel_rdt(linux: Linux) -> Iterator[Fault]:
    """Names and lines as resctrl takes them (MUST 115 to 117)."""
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
    """No flags are defined (MUST 80)."""
    if linux.get("personality", {}).get("flags"):
        yield Fault("/linux/personality/flags", "must be empty: the specification defines no flag", "MUST 80")


def memory_policy(linux: Linux) -> Iterator[Fault]:
    """Modes, nodes and flags that go together (set_mempolicy(2))."""
    found = linux.get("memoryPolicy")
    if found is None:
        return
    at = "/linux/memoryPolicy"
    mode, nodes, flags = found["mode"], found.get("nodes", ""), found.get("flags", ())
    yield from range_faults(nodes, f"{at}/nodes")
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
