"""What the schema can't say: small checks, each for one rule, over values whose shape the schema has found good.

A check yields Faults; one that breaks a numbered MUST carries it as its rule. The checks see the bundle alone: what
depends on the host (does the path exist, does the kernel know it) is found out later, where it is used. Each rule
stands here and nowhere else: what passes, the rest of the runtime refuses for the host's sake only.
"""

from __future__ import annotations

from pyrun.spec import peers
from pyrun.spec.capabilities import CAPABILITIES, SETS
from pyrun.spec.checks import document, linux, mounts, process, resources
from pyrun.spec.faults import Fault, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pyrun.spec.config import Config, Linux, Process, Resources

CONFIG_CHECKS: tuple[Callable[[Config], Iterator[Fault]], ...] = (
    document.oci_version,
    document.root,
    document.host_names,
    document.annotation_names,
    peers.crun_annotations,
    document.hooks,
    mounts.mounts,
)

PROCESS_CHECKS: tuple[Callable[[Process, str], Iterator[Fault]], ...] = (
    process.cwd,
    process.args,
    process.env,
    process.rlimits,
    process.console_size,
    process.scheduler,
    process.exec_cpu_affinity,
)

LINUX_CHECKS: tuple[Callable[[Linux], Iterator[Fault]], ...] = (
    linux.namespaces,
    linux.id_mappings,
    linux.time_offsets,
    linux.devices,
    linux.net_devices,
    linux.cgroups_path,
    linux.swap,
    linux.paths,
    linux.sysctl,
    linux.seccomp,
    linux.intel_rdt,
    linux.personality,
    linux.memory_policy,
)

RESOURCES_CHECKS: tuple[Callable[[Resources, str], Iterator[Fault]], ...] = (
    resources.device_rules,
    resources.memory,
    resources.cpu,
    resources.cpusets,
    resources.pids,
    resources.block_io,
    resources.hugepage_limits,
    resources.network,
    resources.rdma,
    resources.unified,
)


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
    warnings = [*mounts.mount_warnings(config), *peers.warnings(config)]
    process = config.get("process")
    if process is not None:
        warnings += process_warnings(process, "/process")
    return warnings


def process_warnings(process: Process, at: str = "") -> list[Fault]:
    """The capabilities that don't exist: they can't be granted, and that is no error. A user by name alone, which
    nobody but Windows heeds: the program would be root's."""
    capabilities = process.get("capabilities", {})
    user: Mapping[str, object] = process.get("user", {})
    found = []
    if "username" in user and "uid" not in user:
        hint = "Linux knows users by uid and gid, and without them it is root"
        found.append(Fault(f"{at}/user/username", "has no effect: it is for Windows", hint=hint))
    return found + [
        Fault(f"{at}/capabilities/{kind}/{i}", f"unknown capability {show(name)}, not granted", "MUST 59")
        for kind in SETS
        for i, name in enumerate(capabilities.get(kind, ()))
        if name not in CAPABILITIES
    ]
