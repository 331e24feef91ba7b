"""When which hook runs, where, and what its failure means (runtime.md "Lifecycle", config.md "Hooks")."""

from __future__ import annotations

import time

from pyrun.container.spawn import Inside, Outside
from pyrun.errors import Error
from pyrun.hooks.run import HookError, run
from pyrun.kernel.files import read_bytes
from pyrun.spec import peers, strictjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from pyrun.container.container import Container
    from pyrun.container.state import State
    from pyrun.spec.config import Hook

    Kind = Literal["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]

# These run in the container's namespaces (MUST 66).
INSIDE = ("createContainer", "startContainer")


def run_hooks(kind: Kind, container: Container, status: str) -> None:
    """Run all hooks of a kind, in order (MUST 67), with the state on stdin (MUST 68). Raises Error at the first that
    fails."""
    hooks: list[Hook] = container.state["hooks"].get(kind, [])
    shown = _shown(kind, container.state, status) if hooks else b""
    for i, hook in enumerate(hooks):
        _run(kind, i, hook, container, shown)


def run_poststop(container: Container) -> None:
    """A failing poststop hook is a warning, and the others still run (MUST 18)."""
    hooks: list[Hook] = container.state["hooks"].get("poststop", [])
    shown = _shown("poststop", container.state, "stopped")
    for i, hook in enumerate(hooks):
        try:
            _run("poststop", i, hook, container, shown)
        except Error as e:
            container.caller.log.warning(str(e))


def _shown(kind: Kind, state: State, status: str) -> bytes:
    """The state, as hooks are given it."""
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
    return strictjson.dumps(shown).encode()


def _run(kind: Kind, index: int, hook: Hook, container: Container, shown: bytes) -> None:
    pointer = f"/hooks/{kind}/{index}"
    log = container.caller.log
    log.debug(f"hook {hook['path']} ({pointer}) begins")
    began, outcome, output = time.time_ns(), "", ""
    try:
        if kind in INSIDE:
            process = container.state.get("process", {}) if kind == "startContainer" else None
            spawn = Inside(container, pointer, process).spawn
        else:
            spawn = Outside(container, pointer).spawn
        said = container.state["annotations"]
        files = said.get(peers.HOOKS_STDOUT, ""), said.get(peers.HOOKS_STDERR, "")
        output = run(hook, shown, spawn, container.caller.wait, files)
        log.debug(f"hook {hook['path']} ({pointer}) has ended")
    except HookError as e:
        outcome = e.detail or e.call
        raise Error(f"hook {e.path}", pointer=pointer, call=e.call, errno=e.errno, detail=e.detail) from None
    finally:
        if log.trace:
            argv = hook.get("args") or [hook["path"]]
            log.trace.hooks.append((began, time.time_ns(), pointer, argv, outcome, output))


def _pid_inside(pid: int) -> int:
    """init's pid as it sees it itself (MUST 5; proc(5), status: NSpid)."""
    for line in read_bytes(f"/proc/{pid}/status").split(b"\n"):
        if line.startswith(b"NSpid:"):
            return int(line.split()[-1])
    return pid
