"""When which hook runs, where, and what its failure means (runtime.md "Lifecycle", config.md "Hooks")."""

from __future__ import annotations

from pyrun.errors import Error
from pyrun.hooks.run import HookError, run, spawn
from pyrun.spec import strictjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from pyrun.container.store import State
    from pyrun.log import Log
    from pyrun.spec.config import Hook

    Kind = Literal["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]

# These run in the container's namespaces (MUST 66).
INSIDE = ("createContainer", "startContainer")


def run_hooks(kind: Kind, state: State, status: str) -> None:
    """Run all hooks of a kind, in order (MUST 67), with the state on stdin (MUST 68). Raises Error at the first that
    fails."""
    hooks = state["hooks"].get(kind, [])
    if not hooks:
        return
    pid = 0 if kind == "poststop" else _pid_inside(state["pid"]) if kind in INSIDE else state["pid"]
    shown = {
        "ociVersion": state["ociVersion"],
        "id": state["id"],
        "status": status,
        "pid": pid,
        "bundle": state["bundle"],
        "annotations": state["annotations"],
    }
    if not pid:
        del shown["pid"]
    content = strictjson.dumps(shown).encode()
    for i, hook in enumerate(hooks):
        pointer = f"/hooks/{kind}/{i}"
        try:
            if kind in INSIDE:
                from pyrun.container.inside import Inside

                process = state.get("process", {}) if kind == "startContainer" else None
                run(hook, content, Inside(state, pointer, process).spawn)
            else:
                run(hook, content, spawn)
        except HookError as e:
            call, detail = (e.words, "") if e.error else ("", e.words)
            raise Error(f"hook {e.path}", pointer=pointer, call=call, errno=e.error, detail=detail) from None


def run_poststop(state: State, log: Log) -> None:
    """A failing poststop hook is a warning, and the others still run (MUST 18)."""
    hooks: list[Hook] = state["hooks"].get("poststop", [])
    for hook in hooks:
        try:
            run_hooks("poststop", {**state, "hooks": {"poststop": [hook]}}, "stopped")
        except Error as e:
            log.warning(str(e))


def _pid_inside(pid: int) -> int:
    """init's pid as it sees it itself (MUST 5; proc(5), status: NSpid)."""
    from pyrun.container.store import read_path

    for line in read_path(f"/proc/{pid}/status").split(b"\n"):
        if line.startswith(b"NSpid:"):
            return int(line.split()[-1])
    return pid
