"""What must hold of every program, a row a rule."""

from __future__ import annotations

from typing import NamedTuple

from pyrun.kernel import constants as linux
from pyrun.plan.devices import PLACE
from pyrun.prove.state import HOST, IMAGE, OWN, Fd
from pyrun.prove.walk import is_procfs, resolution
from pyrun.record import Record
from pyrun.spec.capabilities import CAPABILITIES, mask
from pyrun.spec.checks.mounts import BELOW_PROC
from pyrun.spec.paths import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyrun.machine.launch import Layout
    from pyrun.prove.walk import Step
    from pyrun.spec.config import Config, Process

    # "" when it holds, else what is wrong.
    Check = Callable[[Step, "Asked"], str]


class Asked(Record):
    """What a config asks for, by which a program is judged. process: None for a program of the host's, which a
    createContainer hook is, or none at all. has_filter: there is a seccomp profile. others: they may live in the pid
    namespace that the process comes into. waits: descriptors, besides init's socket, that it keeps until execve."""

    config: Config
    process: Process | None
    layout: Layout
    has_filter: bool
    others: bool
    preserve: int = 0
    waits: int = 0


class Rule(NamedTuple):
    """name: one word or two. holds: the sentence. hole: what was possible where it did not. calls: the system calls
    that it is about. check: whether it holds."""

    name: str
    holds: str
    hole: str
    calls: tuple[str, ...]
    check: Check


def _filter(step: Step, asked: Asked) -> str:
    if asked.process is None or not asked.has_filter or step.state.knows("filter"):
        return ""
    return "the seccomp filter has not been loaded"


def _password(step: Step, asked: Asked) -> str:
    if not step.state.knows("filter") or step.has_password() or step.instruction.name == "execve":
        return ""
    # Without privilege its listener can't be taken from outside: the one call that is the profile's to allow.
    if step.instruction.name == "sendmsg" and step.instruction.pointer == "/linux/seccomp":
        return ""
    return "the filter would be asked whether this call is allowed"


def _capabilities(step: Step, asked: Asked) -> str:
    if asked.process is None:
        return ""
    sets: Mapping[str, list[str]] = asked.process.get("capabilities", {})  # type: ignore[assignment]
    if step.state.capset is None:
        return "the capability sets have not been set"
    for name, bits in zip(("effective", "permitted", "inheritable"), step.state.capset, strict=True):
        if more := bits & ~mask(sets.get(name, [])):
            return f"more {name} capabilities than the config has: {_names(more)}"
    bounding = mask(sets.get("bounding", []))
    kept = {number for number in CAPABILITIES.values() if not bounding >> number & 1} - step.state.dropped
    if kept:
        return f"in the bounding set, unasked: {_names(sum(1 << number for number in kept))}"
    if not step.state.knows("ambient set cleared"):
        return "the ambient set has not been cleared"
    return ""


def _ambient(step: Step, asked: Asked) -> str:
    option, action, number = step.values[:3]
    if option != linux.PR_CAP_AMBIENT or action != linux.PR_CAP_AMBIENT_RAISE or not isinstance(number, int):
        return ""
    wanted = (asked.process or {}).get("capabilities", {}).get("ambient", [])
    return "" if mask(wanted) >> number & 1 else f"raised unasked: {_names(1 << number)}"


def _names(bits: int) -> str:
    return ", ".join(sorted(name for name, number in CAPABILITIES.items() if bits >> number & 1))


def _user(step: Step, asked: Asked) -> str:
    if asked.process is None:
        return ""
    user = asked.process.get("user", {})
    wanted = {"uid": user.get("uid", 0), "gid": user.get("gid", 0)}
    return "" if dict(step.state.ids) == wanted else "the process is not yet the config's user and group"


def _privileges(step: Step, asked: Asked) -> str:
    if asked.process is None or not asked.process.get("noNewPrivileges") or step.state.knows("no new privileges"):
        return ""
    return "no_new_privs has not been set"


def _inside(step: Step, asked: Asked) -> str:
    if asked.process is None:
        return ""
    if not step.state.knows("root inside"):
        return "its root is not the container's"
    return "" if step.state.knows("cwd inside") else "its working directory may be outside of the root"


def _descriptors(step: Step, asked: Asked) -> str:
    first = asked.layout.init
    mine = {*range(3 + asked.preserve)}
    if step.state.open:
        return "a descriptor that the runtime has opened is open"
    if not step.state.knows(f"from {first} on closed by execve"):
        return "what it waits at would stay open"
    if left := {n for n in step.state.numbers if n < first} - mine:
        return f"descriptor {min(left)} is open"
    return ""


def _visible(step: Step, asked: Asked) -> str:
    """At the clone of who comes into a pid namespace in which others live."""
    if not step.state.knows("children visible") or not asked.others:
        return ""
    first = asked.layout.init
    waits = {*range(first, first + 1 + asked.waits)}
    if step.state.open:
        return "a descriptor that the runtime has opened is open"
    if left := step.state.numbers - waits - {*range(3 + asked.preserve)}:
        return f"descriptor {min(left)} is open"
    for check in (_inside, _user, _filter, _capabilities):
        if problem := check(step, asked):
            return problem
    return "" if step.state.knows("not dumpable") else "it can be traced: it is dumpable"


def _undumpable(step: Step, asked: Asked) -> str:
    return "" if step.state.knows("not dumpable") else "the new process would be dumpable"


def _resolved(step: Step, asked: Asked) -> str:
    """openat, openat2, open_tree by a path."""
    directory, path = step.values[:2]
    if path in ("", "."):
        return ""
    about = step.state.about(directory)
    if directory == linux.AT_FDCWD or IMAGE not in about:
        return ""
    resolve = resolution(step) if step.instruction.name == "openat2" else 0
    if resolve & linux.RESOLVE_IN_ROOT and resolve & linux.RESOLVE_NO_MAGICLINKS and "root" in about:
        return ""
    if resolve & linux.RESOLVE_BENEATH and resolve & linux.RESOLVE_NO_SYMLINKS:
        return ""
    flags = step.values[2]
    if isinstance(path, str) and "/" not in path and isinstance(flags, int) and flags & linux.O_NOFOLLOW:
        return "" if flags & linux.O_PATH else "it is opened for use by a name, whatever it is"
    return "a path of the image's is not resolved inside the root"


def _by_descriptor(step: Step, asked: Asked) -> str:
    """mkdirat, mknodat, symlinkat …: what is made, by one name in a directory that is held."""
    at = 1 if step.instruction.name == "symlinkat" else 0
    directory, name = step.values[at], step.values[at + 1]
    if directory == asked.layout.numbers.get(PLACE):
        return ""  # of the store, which only root can write
    if not isinstance(directory, Fd):
        return "its directory is a path, or a descriptor that nothing is known of"
    about = step.state.about(directory)
    if isinstance(name, str) and "/" in name:
        return "its name is a path"
    if OWN in about or about & {"inside", "root"}:
        return ""
    return "its directory is not one that was resolved inside the root"


def _mount_point(step: Step, asked: Asked) -> str:
    target = step.values[2]
    pointer = step.instruction.pointer
    if pointer.startswith(("/root", "/linux/rootfsPropagation")):
        return ""  # the root itself, where it lies on the host
    about = step.state.about(target)
    if OWN in about:
        return ""
    if IMAGE not in about:
        return "the mount point is not the container's"
    if not about & {"inside", "root"}:
        return "the mount point was not resolved inside the root"
    if not pointer.startswith("/mounts/") or "one step" in about or "no symlink" in about:
        return ""
    if "not the root" not in about:
        return "the mount point may be the root itself"
    if f"not magic {linux.PROC_SUPER_MAGIC:#x}" in about:
        return ""
    entry = asked.config["mounts"][int(pointer.split("/")[2])]
    return "" if clean(entry["destination"]) in BELOW_PROC else "the mount point may lie in a procfs"


def _written(step: Step, asked: Asked) -> str:
    value = step.values[0]
    if not isinstance(value, Fd):
        return "it is not known what is written to"
    about = step.state.about(value)
    if "in a procfs" in about:
        return ""
    if IMAGE in about:
        return "a file of the image's is written"
    if "by a path of /proc" in about or is_procfs(about):
        return "a file in /proc is written that something else could stand for"
    return "" if HOST in about else "it is not known whose file is written"


_CHARACTER_DEVICE = f"type {linux.S_IFCHR:#o}"


def _device(step: Step, asked: Asked) -> str:
    """What covers a masked path, and what stands for stdio."""
    source = step.values[0]
    about = step.state.about(source)
    if not isinstance(source, Fd) or IMAGE not in about:
        return ""
    masks = step.instruction.name == "open_tree" and step.instruction.pointer.startswith("/linux/maskedPaths")
    stdio = step.instruction.name == "dup3" and step.instruction.pointer.startswith("/process/user")
    if (masks or stdio) and not about >= {"rdev 1:3", _CHARACTER_DEVICE}:
        return "what is taken for the null device was not looked at"
    return ""


def _terminal(step: Step, asked: Asked) -> str:
    if step.values[1] != linux.TIOCGPTPEER:
        return ""
    about = step.state.about(step.values[0])
    if about >= {f"magic {linux.DEVPTS_SUPER_MAGIC:#x}", "rdev 5:2", _CHARACTER_DEVICE}:
        return ""
    return "what is taken for the terminal's multiplexer was not looked at"


RULES = (
    Rule("filter", "no program runs without the seccomp filter of its profile", "", ("execve",), _filter),
    Rule(
        "password", "what the runtime does after the filter is not the profile's to forbid", "a program that never ran",
        ("*",), _password,
    ),
    Rule(
        "capabilities", "no program has a capability that the config does not give it",
        "CVE-2022-29162, CVE-2019-5736", ("execve",), _capabilities,
    ),
    Rule(
        "ambient", "no capability is raised into the ambient set that the config does not name there",
        "CVE-2022-29162", ("prctl",), _ambient,
    ),
    Rule("user", "no program runs as another user or group than the config's", "CVE-2016-3697", ("execve",), _user),
    Rule("privileges", "no_new_privs is set where the config says so", "", ("execve",), _privileges),
    Rule(
        "root", "a program's root and working directory are the container's", "CVE-2024-21626", ("execve",), _inside
    ),
    Rule(
        "descriptors", "a program has stdio, what it was promised, and no descriptor else",
        "CVE-2024-21626, CVE-2016-9962", ("execve",), _descriptors,
    ),
    Rule(
        "visible", "a process is seen by others in a pid namespace only when it is harmless",
        "CVE-2016-9962; exec into a container with CAP_SYS_PTRACE", ("clone", "clone3"), _visible,
    ),
    Rule(
        "dumpable", "no process that the runtime makes is dumpable", "CVE-2016-9962", ("clone", "clone3"), _undumpable,
    ),
    Rule(
        "resolution", "a path of the image's is resolved inside the root, or is one name in a directory that is held",
        "CVE-2021-30465, CVE-2019-19921, CVE-2023-27561, CVE-2026-41579", ("openat", "openat2", "open_tree"), _resolved,
    ),
    Rule(
        "made", "what is made in the image is made by one name in a directory that is held",
        "CVE-2024-45310", ("mkdirat", "mknodat", "symlinkat", "unlinkat", "fchownat"), _by_descriptor,
    ),
    Rule(
        "mount point", "a mount goes to a place that was resolved inside the root, and not into a procfs",
        "CVE-2019-16884, CVE-2021-30465", ("move_mount",), _mount_point,
    ),
    Rule(
        "written", "nothing of the image's is written, and in /proc only what is known to be a procfs's",
        "CVE-2025-52881, CVE-2019-16884", ("write",), _written,
    ),
    Rule("null", "what is taken for the null device is one", "CVE-2025-31133", ("open_tree", "dup3"), _device),
    Rule("terminal", "what is taken for a terminal is one of a devpts", "CVE-2025-52565", ("ioctl",), _terminal),
)  # fmt: skip
