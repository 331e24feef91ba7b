"""Members that the specification does not know."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyrun.spec import example
from pyrun.spec.audit import audit


def warned(*changes: tuple[str, Any]) -> list[tuple[str, str]]:
    config: Any = example.example()
    for path, value in changes:
        *above, name = path.split("/")[1:]
        at = config
        for part in above:
            at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
        at[name] = value
    found = audit(json.dumps(config).encode())
    return [(fault.pointer, fault.hint or fault.problem) for fault in found.warnings]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("/linux/resources/memroy", {"limit": 1}, "did you mean memory?"),
        ("/linux/resources/memory/limits", 1, "did you mean limit?"),
        ("/process/Args", ["x"], "write args"),
        ("/process/user/username", "bob", "has no effect: it is for Windows"),
        ("/linux/intelRdt", {"enableCMT": True}, "enableMonitoring has taken its place"),
        ("/windows", {}, "has no effect: it is for Windows"),
        ("/mounts/0/option", ["ro"], "did you mean options?"),
        ("/qqqqqq", 1, "has no effect: it is unknown"),
        ("/linux/a~1b", 1, "has no effect: it is unknown"),
    ],
)
def test_one(path: str, value: Any, words: str) -> None:
    name = path.replace("~1", "~01") if "~" in path else path
    assert warned((path, value)) == [(f"{name}/enableCMT" if "intelRdt" in name else name, words)]


def test_names_that_are_free() -> None:
    """Of annotations, sysctls, files of cgroups and the like."""
    free = [
        ("/annotations", {"x": "y"}),
        ("/linux/sysctl", {"kernel.domainname": "x"}),
        ("/linux/resources/unified", {"a.b": "1"}),
    ]
    assert warned(*free) == []


def test_what_pyrun_writes_is_known() -> None:
    assert warned() == []
