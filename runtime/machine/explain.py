"""From a failed instruction to an Error; only loaded when there is one."""

from __future__ import annotations

import posix
from errno import EINVAL, ENOENT, ENOEXEC, ENOSYS, EPERM

from pyrun.errors import Error, ExecutableError
from pyrun.machine.launch import ProgramError
from pyrun.machine.program import AWAIT, FAIL, Instruction, Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cgroups.cgroup import Cgroup
    from pyrun.spec.config import Config

# The oldest with all that a program may use: mount_setattr came last, and can change propagation since then.
OLDEST_KERNEL = "5.14"

# (system call, errno) -> what it mostly means
HINTS = {
    ("openat2", 40): "a symlink is in the way",
    ("clone3", EINVAL): "the kernel lacks one of these namespaces",
    ("clone3", EPERM): "making namespaces needs root, or a user namespace, as `pyrun spec --rootless` has",
    ("clone3", 28): "too many namespaces: see /proc/sys/user/max_*_namespaces",
    ("unshare", 28): "too many namespaces: see /proc/sys/user/max_*_namespaces",
    ("fsopen", 19): "the kernel has no such file system",
    ("sethostname", EINVAL): "a host name has at most 64 bytes",
    ("execve", ENOEXEC): "not an executable, or built for another architecture; a script needs a first line with #!",
    ("execve", ENOENT): "the file, or the interpreter that its first line or its ELF header names, is missing",
    ("move_mount", EINVAL): "a directory is mounted on a directory, a file on a file",
    ("setns", EINVAL): "already in this user namespace, or not of this type",
}


def explain(program: Program, fault: ProgramError, config: Config) -> Error:
    """What went wrong, in the terms of the config."""
    error = _explain(program, fault, config)
    error.step = program, fault.index, fault.caller
    return error


def _explain(program: Program, fault: ProgramError, config: Config) -> Error:
    instruction = program.resolve(fault.index, fault.caller)
    pointer = instruction.pointer
    what = subject(config, pointer)
    note = instruction.note
    kind = ExecutableError if pointer == "/process/args/0" else Error
    if instruction.op == FAIL:
        return kind(what, pointer=pointer, errno=fault.errno, hint=note)
    hint = note or HINTS.get((str(instruction.name), fault.errno), "")
    if pointer.startswith("/process/rlimits/") and fault.errno == EPERM:
        hint = _hard_limit(config["process"]["rlimits"][int(pointer.split("/")[3])]["type"])
    if fault.errno == ENOSYS:
        hint = f"pyrun needs Linux {OLDEST_KERNEL}, not {posix.uname().release}, and no seccomp profile that hides it"
    return kind(what, pointer=pointer, call=attempt(instruction), errno=fault.errno, detail=fault.detail, hint=hint)


def _hard_limit(kind: str) -> str:
    import resource  # lazy: an error

    hard = resource.getrlimit(getattr(resource, kind))[1]
    return f"the hard limit here is {hard}, and raising it takes CAP_SYS_RESOURCE" if hard >= 0 else ""


def subject(config: Config, pointer: str) -> str:
    """What a part of the config is about, for the head of an error."""
    parts = pointer[1:].split("/")
    if parts[0] == "mounts" and len(parts) > 1:
        return f"mount {config['mounts'][int(parts[1])]['destination']}"
    if parts[:2] == ["process", "args"]:
        return f'exec "{config["process"]["args"][0]}"'
    if parts[0] == "linux" and len(parts) > 2 and parts[2].isdigit():
        linux: dict[str, Any] = dict(config["linux"])
        entry = linux[parts[1]][int(parts[2])]
        if isinstance(entry, dict):
            entry = entry.get("path") or entry.get("type", "")
        return f"{parts[1]} {entry}"
    if parts[:2] == ["process", "rlimits"] and len(parts) > 2:
        limit = config["process"]["rlimits"][int(parts[2])]
        values = dict.fromkeys(str(limit[side]) for side in ("soft", "hard"))
        return f"set {limit['type']} to {':'.join(values)}"
    return _SUBJECTS.get("/".join(parts[:2])) or _SUBJECTS.get(parts[0], "set up the container")


# By the first two names of a pointer, or the first one.
_SUBJECTS = {
    "process/cwd": "enter the working directory",
    "process/user": "become the user",
    "process/capabilities": "set the capabilities",
    "process/terminal": "set up the terminal",
    "process/env": "find HOME, hand over the environment",
    "process/noNewPrivileges": "give up privileges to come",
    "process/rlimits": "set the limits",
    "process/scheduler": "set the scheduler",
    "process/ioPriority": "set the I/O priority",
    "process/execCPUAffinity": "choose the CPUs",
    "process": "set up the process",
    "root": "set up the root file system",
    "hostname": "set the host name",
    "domainname": "set the domain name",
    "linux/cgroupsPath": "enter the cgroups",
    "linux/resources": "set the limits of the cgroup",
    "linux/namespaces": "make the namespaces",
    "linux/seccomp": "load the seccomp profile",
    "linux/rootfsPropagation": "set the propagation of mounts",
    "linux/sysctl": "set the kernel's parameters",
    "linux/personality": "set the personality",
    "linux/memoryPolicy": "set the memory policy",
    "linux/devices": "make the devices",
    "linux/maskedPaths": "mask paths",
    "linux/readonlyPaths": "make paths read-only",
    "hooks": "run the hooks",
}


def attempt(instruction: Instruction) -> str:
    """The system call with the operands that can be read: its strings, and key=value for fsconfig."""
    strings = [o for o in instruction.operands if isinstance(o, str) and o]
    if instruction.op == AWAIT:
        return "read from the runtime"
    if instruction.name == "fsconfig":
        return f"fsconfig {'='.join(strings)}" if strings else "fsconfig create"
    return " ".join([str(instruction.name), *strings])


def died(status: int | None, cgroup: Cgroup, config: Config) -> Error:
    """init ended in silence: by what, and why."""
    code = -9 if status is None else posix.waitstatus_to_exitcode(status)
    if code == -9:
        limit = config.get("linux", {}).get("resources", {}).get("memory", {}).get("limit", 0)
        words = cgroup.out_of_memory()
        if not words and status is not None and limit > 0 and not cgroup.exists():
            # systemd has taken the scope away, and the counters with it.
            words = f"it was killed under a limit of {limit} bytes"
        if words:
            what = "container init was OOM-killed (memory limit too low?)"
            return Error(what, pointer="/linux/resources/memory", detail=words)
    if status is None:
        return Error("the container's init ended before it was ready")
    how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
    return Error(f"the container's init {how} before it was ready")
