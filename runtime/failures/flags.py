"""Which option of a manager writes which property of the config: whoever uses one never sees config.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

_T = TypeVar("_T")


class Origin(NamedTuple):
    """options: of `podman run` and `docker run`; kubernetes: the fields of a pod. "": it has none."""

    options: str
    kubernetes: str = ""


# Beginning of a pointer -> what writes it; the longest one that fits counts.
ORIGINS = {
    "/annotations": Origin("--annotation", "metadata.annotations"),
    "/domainname": Origin("--domainname (docker)"),
    "/hooks": Origin("--hooks-dir (podman), /usr/share/containers/oci/hooks.d, CDI devices"),
    "/hostname": Origin("--hostname, --uts", "hostname"),
    "/linux/cgroupsPath": Origin("--cgroup-parent, --cgroups", "QoS class, cgroupParent of the kubelet"),
    "/linux/devices": Origin("--device, --privileged", "device plugins, securityContext.privileged"),
    "/linux/gidMappings": Origin("--gidmap, --userns", "hostUsers: false"),
    "/linux/intelRdt": Origin("--rdt-class (podman)", "RDT class annotations"),
    "/linux/maskedPaths": Origin("--security-opt mask=, unmask=, systempaths=", "securityContext.procMount"),
    "/linux/mountLabel": Origin("--security-opt label=", "securityContext.seLinuxOptions"),
    "/linux/namespaces": Origin(
        "--network, --pid, --ipc, --uts, --userns, --cgroupns", "hostNetwork, hostPID, hostIPC"
    ),
    "/linux/personality": Origin("--personality (podman)"),
    "/linux/readonlyPaths": Origin("--security-opt unmask=, systempaths=", "securityContext.procMount"),
    "/linux/resources/blockIO": Origin("--blkio-weight, --device-read-bps and the like"),
    "/linux/resources/cpu": Origin(
        "--cpus, --cpu-shares, --cpu-quota, --cpuset-cpus", "resources.requests.cpu, resources.limits.cpu"
    ),
    "/linux/resources/devices": Origin("--device-cgroup-rule, --device", "device plugins"),
    "/linux/resources/hugepageLimits": Origin("", "resources.limits.hugepages-SIZE"),
    "/linux/resources/memory": Origin(
        "--memory, --memory-swap, --memory-reservation, --memory-swappiness", "resources.limits.memory"
    ),
    "/linux/resources/pids": Origin("--pids-limit", "podPidsLimit of the kubelet"),
    "/linux/resources/rdma": Origin(""),
    "/linux/resources/unified": Origin("--cgroup-conf (podman)", "memory QoS of the kubelet"),
    "/linux/rootfsPropagation": Origin("--volume …:shared, :rshared", "mountPropagation"),
    "/linux/seccomp": Origin("--security-opt seccomp=", "securityContext.seccompProfile"),
    "/linux/sysctl": Origin("--sysctl", "securityContext.sysctls"),
    "/linux/timeOffsets": Origin(""),
    "/linux/uidMappings": Origin("--uidmap, --userns", "hostUsers: false"),
    "/mounts": Origin("--volume, --mount, --tmpfs, --shm-size, --read-only", "volumes, volumeMounts"),
    "/process/apparmorProfile": Origin("--security-opt apparmor=", "securityContext.appArmorProfile"),
    "/process/args": Origin("the command after the image, --entrypoint, --init", "command, args"),
    "/process/capabilities": Origin("--cap-add, --cap-drop, --privileged", "securityContext.capabilities"),
    "/process/cwd": Origin("--workdir", "workingDir"),
    "/process/env": Origin("--env, --env-file", "env, envFrom"),
    "/process/ioPriority": Origin(""),
    "/process/noNewPrivileges": Origin(
        "--security-opt no-new-privileges", "securityContext.allowPrivilegeEscalation: false"
    ),
    "/process/oomScoreAdj": Origin("--oom-score-adj", "QoS class"),
    "/process/rlimits": Origin("--ulimit, default_ulimits of containers.conf, default-ulimits of daemon.json"),
    "/process/scheduler": Origin(""),
    "/process/selinuxLabel": Origin("--security-opt label=", "securityContext.seLinuxOptions"),
    "/process/terminal": Origin("--tty", "tty"),
    "/process/user": Origin("--user, --group-add", "securityContext.runAsUser, runAsGroup, supplementalGroups"),
    "/root/path": Origin("the image, --rootfs (podman)", "image"),
    "/root/readonly": Origin("--read-only", "securityContext.readOnlyRootFilesystem"),
}
# /linux/namespaces/N by its type.
_NAMESPACES = {
    "network": Origin("--network", "hostNetwork"),
    "pid": Origin("--pid", "hostPID, shareProcessNamespace"),
    "ipc": Origin("--ipc", "hostIPC"),
    "uts": Origin("--uts"),
    "user": Origin("--userns, --uidmap", "hostUsers: false"),
    "cgroup": Origin("--cgroupns"),
}
# /mounts/N by its type.
_MOUNTS = {
    "bind": Origin("--volume, --mount type=bind", "volumes, volumeMounts"),
    "none": Origin("--volume, --mount type=bind", "volumes, volumeMounts"),
    "overlay": Origin("--volume …:O (podman), --mount type=image"),
    "tmpfs": Origin("--tmpfs, --mount type=tmpfs, --shm-size, --read-only-tmpfs", "emptyDir.medium: Memory"),
    "proc": Origin("what the manager gives every container, --pid", ""),
    "sysfs": Origin("what the manager gives every container, --network, --privileged", ""),
    "cgroup": Origin("what the manager gives every container, --cgroupns, --privileged", ""),
    "mqueue": Origin("what the manager gives every container, --ipc", ""),
    "devpts": Origin("what the manager gives every container", ""),
}


def origin(pointer: str, value: Any) -> Origin | None:
    """Who writes what stands at the pointer, which is `value`; None: no manager does."""
    if pointer.startswith("/linux/namespaces/") and isinstance(value, dict) and value.get("type") in _NAMESPACES:
        return _NAMESPACES[value["type"]]
    if pointer.startswith("/mounts/") and isinstance(value, dict) and value.get("type") in _MOUNTS:
        return _MOUNTS[value["type"]]
    return longest(ORIGINS, pointer)


def longest(table: Mapping[str, _T], pointer: str) -> _T | None:
    """The row of the longest pointer that this one lies at or below."""
    fitting = [begin for begin in table if pointer == begin or pointer.startswith(f"{begin}/")]
    return table[max(fitting, key=len)] if fitting else None
