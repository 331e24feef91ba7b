"""A bundle's config.json, read and checked: load() gives plain dicts with the spec's own names.

The types below are for mypy only. Every member may be absent, so that code asks with .get() or `in`, but for those that
the schema or the checks demand. Members whose value is null are dropped on loading, as if they had not been written:
that is what Go's decoder makes of null, and containerd, Docker and Podman write "args": null or "capabilities": null
and mean nothing by it. So null is never seen after load().
"""

from __future__ import annotations

from pyrun.spec import peers, schema, strictjson
from pyrun.spec.checks import config_faults, process_faults, resources_faults
from pyrun.spec.faults import Fault, Invalid
from pyrun.spec.version import SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal, TypeAlias, TypedDict

    class Box(TypedDict, total=False):
        height: int
        width: int

    class User(TypedDict, total=False):
        uid: int
        gid: int
        umask: int
        additionalGids: list[int]

    class Capabilities(TypedDict, total=False):
        bounding: list[str]
        effective: list[str]
        inheritable: list[str]
        permitted: list[str]
        ambient: list[str]

    class Rlimit(TypedDict, total=False):
        type: str
        soft: int
        hard: int

    class Scheduler(TypedDict, total=False):
        policy: str
        nice: int
        priority: int
        flags: list[str]
        runtime: int
        deadline: int
        period: int

    IOPriority = TypedDict("IOPriority", {"class": str, "priority": int}, total=False)

    class ExecCPUAffinity(TypedDict, total=False):
        initial: str
        final: str

    class Process(TypedDict, total=False):
        terminal: bool
        consoleSize: Box
        user: User
        args: list[str]
        env: list[str]
        cwd: str
        capabilities: Capabilities
        rlimits: list[Rlimit]
        noNewPrivileges: bool
        apparmorProfile: str
        selinuxLabel: str
        oomScoreAdj: int
        scheduler: Scheduler
        ioPriority: IOPriority
        execCPUAffinity: ExecCPUAffinity

    class Root(TypedDict, total=False):
        path: str
        readonly: bool

    class IDMapping(TypedDict, total=False):
        containerID: int
        hostID: int
        size: int

    class Mount(TypedDict, total=False):
        destination: str
        type: str
        source: str
        options: list[str]
        uidMappings: list[IDMapping]
        gidMappings: list[IDMapping]

    class Hook(TypedDict, total=False):
        path: str
        args: list[str]
        env: list[str]
        timeout: int

    HookKind: TypeAlias = Literal[
        "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"
    ]

    class Hooks(TypedDict, total=False):
        prestart: list[Hook]
        createRuntime: list[Hook]
        createContainer: list[Hook]
        startContainer: list[Hook]
        poststart: list[Hook]
        poststop: list[Hook]

    NamespaceType: TypeAlias = Literal["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]

    class Namespace(TypedDict, total=False):
        type: NamespaceType
        path: str

    class TimeOffset(TypedDict, total=False):
        secs: int
        nanosecs: int

    class Device(TypedDict, total=False):
        type: Literal["c", "b", "u", "p"]
        path: str
        major: int
        minor: int
        fileMode: int
        uid: int
        gid: int

    class NetDevice(TypedDict, total=False):
        name: str

    class DeviceRule(TypedDict, total=False):
        allow: bool
        type: str
        major: int
        minor: int
        access: str

    class Memory(TypedDict, total=False):
        limit: int
        reservation: int
        swap: int
        kernel: int
        kernelTCP: int
        swappiness: int
        disableOOMKiller: bool
        useHierarchy: bool
        checkBeforeUpdate: bool

    class CPU(TypedDict, total=False):
        shares: int
        quota: int
        burst: int
        period: int
        realtimeRuntime: int
        realtimePeriod: int
        cpus: str
        mems: str
        idle: int

    class Pids(TypedDict, total=False):
        limit: int

    class WeightDevice(TypedDict, total=False):
        major: int
        minor: int
        weight: int
        leafWeight: int

    class ThrottleDevice(TypedDict, total=False):
        major: int
        minor: int
        rate: int

    class BlockIO(TypedDict, total=False):
        weight: int
        leafWeight: int
        weightDevice: list[WeightDevice]
        throttleReadBpsDevice: list[ThrottleDevice]
        throttleWriteBpsDevice: list[ThrottleDevice]
        throttleReadIOPSDevice: list[ThrottleDevice]
        throttleWriteIOPSDevice: list[ThrottleDevice]

    class HugepageLimit(TypedDict, total=False):
        pageSize: str
        limit: int

    class InterfacePriority(TypedDict, total=False):
        name: str
        priority: int

    class Network(TypedDict, total=False):
        classID: int
        priorities: list[InterfacePriority]

    class Rdma(TypedDict, total=False):
        hcaHandles: int
        hcaObjects: int

    class Resources(TypedDict, total=False):
        devices: list[DeviceRule]
        memory: Memory
        cpu: CPU
        pids: Pids
        blockIO: BlockIO
        hugepageLimits: list[HugepageLimit]
        network: Network
        rdma: dict[str, Rdma]
        unified: dict[str, str]

    class SyscallArg(TypedDict, total=False):
        index: int
        value: int
        valueTwo: int
        op: str

    class Syscall(TypedDict, total=False):
        names: list[str]
        action: str
        errnoRet: int
        args: list[SyscallArg]

    class Seccomp(TypedDict, total=False):
        defaultAction: str
        defaultErrnoRet: int
        architectures: list[str]
        flags: list[str]
        listenerPath: str
        listenerMetadata: str
        syscalls: list[Syscall]

    class IntelRdt(TypedDict, total=False):
        closID: str
        schemata: list[str]
        l3CacheSchema: str
        memBwSchema: str
        enableMonitoring: bool

    class Personality(TypedDict, total=False):
        domain: str
        flags: list[str]

    class MemoryPolicy(TypedDict, total=False):
        mode: str
        nodes: str
        flags: list[str]

    class Linux(TypedDict, total=False):
        namespaces: list[Namespace]
        uidMappings: list[IDMapping]
        gidMappings: list[IDMapping]
        timeOffsets: dict[str, TimeOffset]
        devices: list[Device]
        netDevices: dict[str, NetDevice]
        cgroupsPath: str
        resources: Resources
        sysctl: dict[str, str]
        seccomp: Seccomp
        rootfsPropagation: str
        maskedPaths: list[str]
        readonlyPaths: list[str]
        mountLabel: str
        intelRdt: IntelRdt
        personality: Personality
        memoryPolicy: MemoryPolicy

    class Config(TypedDict, total=False):
        ociVersion: str
        root: Root
        mounts: list[Mount]
        process: Process
        hostname: str
        domainname: str
        hooks: Hooks
        annotations: dict[str, str]
        linux: Linux


def load(raw: bytes) -> Config:
    """The config.json of a bundle. Raises Invalid with all that is wrong with it, as far as the bundle alone shows."""
    config: Config = _load(raw, "", _settled)
    return config


def load_mounts(raw: bytes) -> list[Mount]:
    """Mounts by themselves, as `mounts add` takes them: an object with a member mounts, as in a config.json."""
    value = strictjson.loads(raw, drop_nulls=True)
    if not isinstance(value, dict) or value.keys() != {"mounts"}:
        raise Invalid([Fault("", 'must be an object with the member "mounts", and no other')])
    around: Config = {"ociVersion": SPEC_VERSION, "root": {"path": "rootfs"}, "mounts": value["mounts"]}
    return load(strictjson.dumps(around).encode()).get("mounts", [])


def _settled(config: Config) -> list[Fault]:
    if "annotations" in config:
        peers.settle(config)
    return config_faults(config)


def load_process(raw: bytes) -> Process:
    """A process by itself, as `exec --process` takes it: the same rules as for /process of a config.json."""
    process: Process = _load(raw, "process", process_faults)
    return process


def load_resources(raw: bytes) -> Resources:
    """Resources by themselves, as `update --resources` takes them: as /linux/resources of a config.json."""
    resources: Resources = _load(raw, "resources", resources_faults)
    return resources


def _load(raw: bytes, part: str, checks: Callable[[Any], list[Fault]]) -> Any:
    value = strictjson.loads(raw, drop_nulls=True)
    fault = schema.first_fault(value, schema.load("config", part))
    if fault is not None:
        try:
            from pyrun.spec import wording  # lazy: loads jsonschema, and only for a fault
        except ImportError:
            # The one fault known is better than none: jsonschema may be missing.
            raise Invalid([fault]) from None
        raise Invalid(wording.all_faults(value, "config", part) or [fault])
    faults = checks(value)
    if faults:
        raise Invalid(faults)
    return value
