"""The form of state.json: what it has, of which types, and whether one that was read can be believed."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal, TypedDict

    from pyrun.spec.config import Hooks, Process, Seccomp

    Fits = Callable[[Any], bool]
    Status = Literal["creating", "created", "running", "paused", "stopped"]

    class State(TypedDict, total=False):
        """What is in state.json. `format`: FORMAT of who wrote it. `pid` is 0 until there is an init; `started` is its
        start time (proc(5), field 22). `process` and `seccomp`, as in the config, are there for startContainer hooks
        only. `namespaces`: CLONE_NEW* flags of those that are not the host's, `joined`: of those among them that were
        there before. `device_filter`: the id of the eBPF program on a cgroup that stays. `mounted`: (path, unique id)
        of the mount that is the root of a container without a mount namespace."""

        format: int
        ociVersion: str
        id: str
        bundle: str
        rootfs: str
        created: str
        owner: str
        annotations: dict[str, str]
        creating: bool
        pid: int
        started: int
        cgroup: dict[str, Any]
        freezer: str
        resctrl: dict[str, Any]
        hooks: Hooks
        process: Process
        seccomp: Seccomp
        mounted: tuple[str, int]
        device_filter: int
        executable: str
        namespaces: int
        joined: int


# The version of the form. What older releases have written is read; a newer one may mean something else by it.
FORMAT = 2
# Format -> the name of the config's copy beside state.json; all else is the same. 1: 0.1.0's.
CONFIGS = {1: "config.json", 2: "pyrun-config.json"}


def _text(value: Any) -> bool:
    return type(value) is str and "\0" not in value


def _number(value: Any) -> bool:
    """None of the kernel's that we keep is signed, or longer."""
    return type(value) is int and 0 <= value < 1 << 64


def _flag(value: Any) -> bool:
    return type(value) is bool


def _anything(value: Any) -> bool:
    return True


def _list_of(fits: Fits) -> Fits:
    return lambda value: type(value) is list and all(map(fits, value))


def _object(members: dict[str, Fits]) -> Fits:
    return lambda value: type(value) is dict and not _misfit(value, members)


def _mapping(fits: Fits) -> Fits:
    return lambda value: type(value) is dict and all(map(fits, value.values()))


def _mount(value: Any) -> bool:
    return type(value) is list and len(value) == 2 and _text(value[0]) and _number(value[1])


def _directories(value: Any) -> bool:
    """Rows of (controllers, top, path, made, inodes), by their columns: every command waits for this."""
    if type(value) is not list or {*map(type, value)} - {list} or {*map(len, value)} - {5}:
        return False
    if not value:
        return True
    controllers, tops, paths, made, inodes = zip(*value, strict=True)
    if {*map(type, controllers), *map(type, inodes)} != {list}:
        return False
    texts = [*tops, *paths, *(name for names in controllers for name in names)]
    numbers = [*made, *(inode for found in inodes for inode in found)]
    return (
        {*map(type, texts)} == {str}
        and "\0" not in "".join(texts)
        and {*map(type, numbers)} == {int}
        and min(numbers) >= 0
        and max(numbers) < 1 << 64
        # As many directories were made as the path has, at most.
        and all(count <= path.count("/") for count, path in zip(made, paths, strict=True))
    )


def _misfit(value: dict[str, Any], members: dict[str, Fits]) -> str:
    """The name of the first member that does not fit, or "". "name?": a member that need not be there."""
    for name, fits in members.items():
        if name[-1] == "?":
            name = name[:-1]
            if name not in value:
                continue
        if name not in value or not fits(value[name]):
            return name
    return ""


_HOOK: dict[str, Fits] = {"path": _text, "args?": _list_of(_text), "env?": _list_of(_text), "timeout?": _number}
_CGROUP: dict[str, Fits] = {
    "driver": _text,
    "mode": _text,
    "rootless": _flag,
    "directories": _directories,
    # systemd's
    "unit?": _text,
    "container?": _text,
    "mark?": _text,
    "inode?": _number,
    "invocation?": _text,
}
_MEMBERS: dict[str, Fits] = {
    "format": _number,
    "ociVersion": _text,
    "id": _text,
    "bundle": _text,
    "rootfs": _text,
    "created": _text,
    "owner": _text,
    "annotations": _mapping(_anything),  # which are shown only
    "pid": _number,
    "started": _number,
    "namespaces": _number,
    "joined": _number,
    "hooks": _mapping(_list_of(_object(_HOOK))),
    "executable": _text,
    "creating?": _flag,
    "cgroup?": _object(_CGROUP),
    "freezer?": _text,
    "resctrl?": _object({"top": _text, "directory": _text, "made": _flag, "monitoring": _text}),
    "process?": _mapping(_anything),
    "seccomp?": _mapping(_anything),
    "mounted?": _mount,
    "device_filter?": _number,
}
# What of a broken state may be believed by itself: nothing that is run, nor told to anybody.
_BY_ITSELF = (
    "pid",
    "started",
    "namespaces",
    "joined",
    "cgroup",
    "resctrl",
    "mounted",
    "device_filter",
    "freezer",
    "creating",
)


def newer(state: dict[str, Any]) -> int:
    """The format of a newer pyrun that has written it, or 0."""
    found = state.get("format", 0)
    return found if type(found) is int and found > FORMAT else 0


def problem(state: dict[str, Any]) -> str:
    """What is wrong with a state, or ""."""
    if not state:
        return "it is not a JSON object"
    if not _known(state):
        return f"it has format {state.get('format', 0)!r:.20}, and this pyrun reads 1 to {FORMAT}"
    if name := _misfit(state, _MEMBERS):
        return f"{name} is missing, or of another type"
    if state["pid"] > 0 and not state["started"]:
        return "pid has no start time"
    return "" if _is_whole(state.get("cgroup")) else "cgroup is not whole"


def salvage(found: dict[str, Any], container: str) -> State | None:
    """What can be believed of a state that has a problem: enough to end and remove what is the container's by its
    identity. None when that is nothing."""
    written = found["format"] if _known(found) else FORMAT
    state: Any = {"format": written, "ociVersion": "", "id": container, "bundle": "", "rootfs": "", "created": ""}
    state |= {"owner": "", "annotations": {}, "pid": 0, "started": 0, "namespaces": 0, "joined": 0, "hooks": {}}
    state["executable"] = ""
    for name in _BY_ITSELF:
        fits = _MEMBERS.get(name) or _MEMBERS[f"{name}?"]
        if name in found and fits(found[name]) and (name != "cgroup" or _is_whole(found[name])):
            state[name] = found[name]
    # An init without the moment when it began could be anybody.
    if not (state["pid"] and state["started"]):
        state["pid"] = state["started"] = 0
        # Nor is it known that what lives in its cgroup ends with init.
        state["namespaces"] = 0
    return state if state["pid"] or "cgroup" in state or "mounted" in state or "resctrl" in state else None


def _known(state: dict[str, Any]) -> bool:
    return type(state.get("format")) is int and state["format"] in CONFIGS


def _is_whole(cgroup: dict[str, Any] | None) -> bool:
    if cgroup is None:
        return True
    return cgroup["driver"] != "systemd" or all(name.removesuffix("?") in cgroup for name in _CGROUP)
