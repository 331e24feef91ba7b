"""What is believed of a state.json: a value of another type, anywhere in it, is noticed before it is used."""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from pyrun.container import state as module
from pyrun.container import store
from pyrun.container.state import CONFIGS, FORMAT, newer, problem, salvage
from pyrun.plan import devices

CGROUP = {
    "driver": "systemd",
    "mode": "unified",
    "rootless": False,
    "directories": [[["cpu", "cpuacct"], "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu/a/b", 2, [70, 71]]],
    "unit": "a.scope",
    "container": "a",
    "mark": "0123",
    "inode": 71,
    "invocation": "0123",
}
STATE: dict[str, Any] = {
    "format": FORMAT,
    "ociVersion": "1.3.0",
    "id": "a",
    "bundle": "/b",
    "rootfs": "/b/rootfs",
    "created": "2026-01-01T00:00:00Z",
    "owner": "root",
    "annotations": {"a": "b\0"},
    "pid": 7,
    "started": 8,
    "namespaces": 0x2C020000,
    "joined": 0,
    "hooks": {"poststop": [{"path": "/bin/true", "args": ["true", "x"], "env": ["A=b"], "timeout": 5}]},
    "executable": "sh",
    "cgroup": CGROUP,
    "freezer": "/sys/fs/cgroup/a",
    "resctrl": {"top": "/sys/fs/resctrl", "directory": "/sys/fs/resctrl/a", "made": True, "monitoring": ""},
    "mounted": ["/b/rootfs", 99],
    "device_filter": 5,
}
STRANGE = (None, True, -1, 1 << 70, 0.5, "\0", [], [[]], {}, {"": 0})


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in it."""
    if at:
        yield at
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*at, key))


def changed(at: tuple[Any, ...], value: Any) -> dict[str, Any]:
    state = copy.deepcopy(STATE)
    inner: Any = state
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return state


def test_a_whole_state() -> None:
    assert problem(STATE) == ""


def test_formats() -> None:
    """Older ones are read, and stay what they are where only a part can be believed; newer ones are told apart."""
    assert sorted(CONFIGS) == list(range(1, FORMAT + 1))
    for written in CONFIGS:
        state = changed(("format",), written)
        assert (problem(state), newer(state)) == ("", 0)
        del state["created"]
        salvaged = salvage(state, "a")
        assert salvaged and salvaged["format"] == written
    for written in (0, True, 1.0, "1", FORMAT + 1):
        state = changed(("format",), written)
        assert problem(state) == f"it has format {written!r}, and this pyrun reads 1 to {FORMAT}"
        assert newer(state) == (written if written == FORMAT + 1 else 0)
        salvaged = salvage(state, "a")
        assert salvaged and salvaged["format"] == FORMAT


@pytest.mark.parametrize("at", list(places(STATE)), ids=lambda at: "/".join(map(str, at)))
def test_another_type(at: tuple[Any, ...]) -> None:
    old: Any = STATE
    for key in at:
        old = old[key]
    for value in STRANGE:
        if type(value) is type(old) and value not in (-1, 1 << 70, "\0"):
            continue  # of its type
        if at[0] == "annotations" and len(at) > 1:
            continue  # only shown
        state = changed(at, value)
        assert problem(state) != "", value
        salvaged: Any = salvage(state, "a")
        assert problem(salvaged) == "" and (at[0] not in salvaged or salvaged[at[0]] != state[at[0]])


def test_more_directories_than_the_path_has() -> None:
    assert problem(changed(("cgroup", "directories", 0, 3), 99)) == "cgroup is missing, or of another type"


def test_the_types_for_mypy_and_the_checks_name_the_same() -> None:
    """State exists for type checkers only, _MEMBERS for what is read."""
    tree = ast.parse(inspect.getsource(module))
    (declared,) = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == "State"]
    names = {
        node.target.id
        for node in declared.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert names == {name.removesuffix("?") for name in module._MEMBERS}


def test_names_of_devices_are_known_to_the_store() -> None:
    """Two rooms that may not import one another have the same word for what lies in a container's directory."""
    assert store.MADE == devices._MADE
