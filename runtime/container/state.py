"""The form of state.json: what it has, of which types, and whether one that was read can be believed."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, TypedDict

    from pyrun.spec.config import Hooks, Process, Seccomp

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


# The version of the form: what has another one was written by another pyrun.
FORMAT = 2

# A type; [x]: a list of such; (x, y): a list of these; {name: x}: an object that has them, "name?": that may have it,
# "*": whatever its names.
_HOOK = {"path": str, "args?": [str], "env?": [str], "timeout?": int}
_CGROUP = {
    "driver": str,
    "mode": str,
    "rootless": bool,
    "directories": [([str], str, str, int, [int])],
    # systemd's
    "unit?": str,
    "container?": str,
    "mark?": str,
    "inode?": int,
    "invocation?": str,
}
_SHAPE = {
    "format": int,
    "ociVersion": str,
    "id": str,
    "bundle": str,
    "rootfs": str,
    "created": str,
    "owner": str,
    "annotations": {"*": object},  # which are shown only
    "pid": int,
    "started": int,
    "namespaces": int,
    "joined": int,
    "hooks": {"*": [_HOOK]},
    "executable": str,
    "creating?": bool,
    "cgroup?": _CGROUP,
    "freezer?": str,
    "resctrl?": {"top": str, "directory": str, "made": bool, "monitoring": str},
    "process?": {"*": object},
    "seccomp?": {"*": object},
    "mounted?": (str, int),
    "device_filter?": int,
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


def problem(state: dict[str, Any]) -> str:
    """What is wrong with a state, or ""."""
    if not state:
        return "it is not a JSON object"
    if state.get("format") != FORMAT:
        return f"it has format {state.get('format', 0)!r:.20}, and this pyrun reads {FORMAT}"
    if name := _misfit(state, _SHAPE):
        return f"{name} is missing, or of another type"
    if state["pid"] > 0 and not state["started"]:
        return "pid has no start time"
    return "" if _is_whole(state.get("cgroup")) else "cgroup is not whole"


def salvage(found: dict[str, Any], container: str) -> State | None:
    """What can be believed of a state that has a problem: enough to end and remove what is the container's by its
    identity. None when that is nothing."""
    state: Any = {"format": FORMAT, "ociVersion": "", "id": container, "bundle": "", "rootfs": "", "created": ""}
    state |= {"owner": "", "annotations": {}, "pid": 0, "started": 0, "namespaces": 0, "joined": 0, "hooks": {}}
    state["executable"] = ""
    for name in _BY_ITSELF:
        shape = _SHAPE.get(name) or _SHAPE[f"{name}?"]
        if name in found and _fits(found[name], shape) and (name != "cgroup" or _is_whole(found[name])):
            state[name] = found[name]
    # An init without the moment when it began could be anybody.
    if not (state["pid"] and state["started"]):
        state["pid"] = state["started"] = 0
        # Nor is it known that what lives in its cgroup ends with init.
        state["namespaces"] = 0
    return state if state["pid"] or "cgroup" in state or "mounted" in state or "resctrl" in state else None


def _is_whole(cgroup: dict[str, Any] | None) -> bool:
    if cgroup is None:
        return True
    # As many directories were made as the path has, at most.
    if any(made > path.count("/") for _, _, path, made, _ in cgroup["directories"]):
        return False
    return cgroup["driver"] != "systemd" or all(name.removesuffix("?") in cgroup for name in _CGROUP)


def _misfit(value: dict[str, Any], shape: dict[str, Any]) -> str:
    """The name of the first member that has not its shape, or ""."""
    for name, inner in shape.items():
        if name == "*":
            for key in value:
                if not _fits(value[key], inner):
                    return repr(key)[:100]
        elif name[-1] != "?":
            if name not in value or not _fits(value[name], inner):
                return name
        elif name[:-1] in value and not _fits(value[name[:-1]], inner):
            return name[:-1]
    return ""


def _fits(value: Any, shape: Any) -> bool:
    kind = type(shape)
    if kind is type:
        if shape is str:
            return type(value) is str and "\0" not in value
        if shape is int:  # no number of the kernel's that we keep is signed, or longer
            return type(value) is int and 0 <= value < 1 << 64
        return shape is object or type(value) is shape
    if kind is dict:
        return type(value) is dict and not _misfit(value, shape)
    if type(value) is not list:
        return False
    if kind is list:
        return all(_fits(item, shape[0]) for item in value)
    return len(value) == len(shape) and all(map(_fits, value, shape))
