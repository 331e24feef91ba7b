"""A plan in a screenful: what each part of the config becomes, by the stages of a start. Cold."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pyrun.machine.explain import subject
from pyrun.machine.program import CALL, RETURN, SYSCALL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.machine.program import Instruction, Program
    from pyrun.spec.config import Config


class Line(NamedTuple):
    """stage: of the start; pointer: of the part of the config; becomes: what that is, in words; calls: the system calls
    that it takes, each name once, in order."""

    stage: str
    pointer: str
    becomes: str
    calls: list[str]


class Stage(NamedTuple):
    """why: what it is for, in its place; section: of the runtime spec. pointers: of what belongs to it, as they
    begin; what has none is of the process itself."""

    name: str
    why: str
    section: str
    pointers: tuple[str, ...]


STAGES = (
    Stage(
        "cgroup",
        "made first, so that nothing ever runs without its limits",
        'config-linux.md "Control groups"',
        ("/linux/cgroupsPath", "/linux/resources", "/linux/intelRdt"),
    ),
    Stage(
        "namespaces",
        "what is to be joined is opened with the host's rights, the rest is made by the clone of init",
        'config-linux.md "Namespaces"',
        ("/linux/namespaces", "/linux/uidMappings", "/linux/gidMappings", "/linux/timeOffsets", "/linux/netDevices"),
    ),
    Stage(
        "root",
        "opened on the host; once all is mounted it becomes / and the old one is gone",
        'config.md "Root"',
        ("/root", "/linux/rootfsPropagation"),
    ),
    Stage(
        "mounts",
        "in the order of the list, each below the root and through no symlink",
        'config.md "Mounts"',
        ("/mounts",),
    ),
    Stage("devices", "the default ones and those of the list", 'config-linux.md "Devices"', ("/linux/devices",)),
    Stage(
        "hooks",
        "when the namespaces are there, before the root changes",
        'config.md "POSIX-platform Hooks"',
        ("/hooks",),
    ),
    Stage(
        "kernel",
        "names and parameters of the new namespaces",
        'config.md "Hostname", config-linux.md "Sysctl"',
        ("/hostname", "/domainname", "/linux/sysctl"),
    ),
    Stage(
        "masks",
        "what of /proc and /sys would tell of the host, or change it",
        'config-linux.md "Masked Paths"',
        ("/linux/readonlyPaths", "/linux/maskedPaths"),
    ),
    Stage(
        "process",
        "session, terminal, descriptors, working directory",
        'config.md "Process"',
        ("/process/cwd", "/process/terminal", "/process/consoleSize", ""),
    ),
    Stage(
        "limits",
        "what the program may use, set while there still is the right to",
        'config.md "POSIX process"',
        ("/process/rlimits", "/process/scheduler", "/process/ioPriority", "/linux/personality", "/linux/memoryPolicy"),
    ),
    Stage(
        "identity",
        "user and capabilities: after all that takes more of them",
        'config.md "User", "Linux Process"',
        (
            "/process/user",
            "/process/capabilities",
            "/process/noNewPrivileges",
            "/process/apparmorProfile",
            "/process/selinuxLabel",
        ),
    ),
    Stage(
        "seccomp",
        "the filter comes last, since it may forbid what came before",
        'config-linux.md "Seccomp"',
        ("/linux/seccomp",),
    ),
    Stage(
        "exec",
        "init waits for start, and becomes the program",
        'runtime.md "Lifecycle"',
        ("/process/args", "/process/env"),
    ),
)
# What only prepares another call, or looks.
_QUIET = {"close", "close_range", "statx", "fstatfs", "openat", "openat2", "readlinkat", "faccessat2", "umask", "prctl"}


def summary(program: Program, config: Config) -> list[Line]:
    """By stages, and in each by the first time that a part is come to."""
    program.link()
    calls: dict[str, dict[str, None]] = {}
    for instruction in _instructions(program):
        names = calls.setdefault(part(instruction.pointer), {})
        if instruction.op == SYSCALL and instruction.name not in _QUIET:
            names[str(instruction.name)] = None
    lines = [Line(_stage(of), of, becomes(config, of), [*names]) for of, names in calls.items()]
    order = [stage.name for stage in STAGES]
    lines.sort(key=lambda line: (order.index(line.stage), _number(line.pointer)))
    return [line for line in lines if line.calls or line.pointer]


def becomes(config: Config, of: str) -> str:
    """What a part of the config is about, `of` being its pointer."""
    names = of.split("/")[1:]
    if not names:
        return "session, signals, descriptors"
    if names[0] == "mounts" and len(names) > 1:
        mount = config["mounts"][int(names[1])]
        kind = mount.get("type") or "bind"
        given = ",".join(mount.get("options", []))
        return f"{mount['destination']}: {kind} {mount.get('source', '')}{f' ({given})' if given else ''}"
    if of == "/linux/namespaces":
        rows = config.get("linux", {}).get("namespaces", [])
        return ", ".join(f"{row['type']} of {row['path']}" if row.get("path") else row["type"] for row in rows)
    if of == "/process/args":
        return " ".join(config.get("process", {}).get("args", []))
    if of in ("/hostname", "/domainname"):
        return str(config.get(names[0], ""))
    value: object = config
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    counted = f" ({len(value)})" if isinstance(value, list) else ""
    return f"{subject(config, of)}{counted}"


def _instructions(program: Program) -> Iterator[Instruction]:
    """As they are executed: a routine's in place of each call of it."""
    for index, instruction in enumerate(program.instructions[: program.main]):
        yield instruction
        if instruction.op == CALL:
            assert instruction.rules
            step = instruction.rules[1].index
            while program.instructions[step].op != RETURN:
                yield program.resolve(step, index)
                step += 1


def part(pointer: str) -> str:
    """The pointer of the part that a pointer leads into: of a mount, a property of the process, a hook."""
    names = pointer.split("/")[1:]
    if not names:
        return ""
    depth = {"mounts": 2, "linux": 2, "process": 2, "hooks": 3}.get(names[0], 1)
    return "/" + "/".join(names[:depth])


def _stage(of: str) -> str:
    for stage in STAGES:
        if any(of == begin or (begin and of.startswith(f"{begin}/")) for begin in stage.pointers):
            return stage.name
    return "process"


def _number(pointer: str) -> int:
    last = pointer.rpartition("/")[2]
    return int(last) if last.isdigit() else -1
