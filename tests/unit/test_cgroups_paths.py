"""cgroupsPath."""

from __future__ import annotations

import pytest

from pyrun.cgroups.host import Hierarchies, Hierarchy
from pyrun.cgroups.paths import locate
from pyrun.spec.faults import Invalid
from pyrun.spec.paths import cgroup_path

V1 = Hierarchies(
    "v1", [Hierarchy(("memory",), "/cg/memory", "/", "/a/b"), Hierarchy(("cpu",), "/cg/cpu", "/docker/x", "/docker/x")]
)
V2 = Hierarchies("v2", [Hierarchy((), "/cg", "/", "/user.slice/me.scope")])


@pytest.mark.parametrize(
    ("hierarchies", "path", "expected"),
    [
        (V1, "/pods/c", ["/cg/memory/pods/c", "/cg/cpu/pods/c"]),
        (V1, "pods/c", ["/cg/memory/a/b/pods/c", "/cg/cpu/pods/c"]),
        (V1, None, ["/cg/memory/a/b/id", "/cg/cpu/id"]),
        (V1, "", ["/cg/memory/a/b/id", "/cg/cpu/id"]),
        (V2, "/pods/c", ["/cg/pods/c"]),
        (V2, "pods/c", ["/cg/user.slice/pods/c"]),
        (V2, None, ["/cg/user.slice/id"]),
        (Hierarchies("v2", [Hierarchy((), "/cg", "/", "/")]), None, ["/cg/id"]),
        (Hierarchies("none", []), "/c", []),
    ],
)
def test_directories(hierarchies: Hierarchies, path: str | None, expected: list[str]) -> None:
    assert [directory for _, directory in locate(hierarchies, "id", path)] == expected


@pytest.mark.parametrize(("path", "cleaned"), [("//a///b/./c/", "/a/b/c"), ("./a", "a"), ("/a..b/...", "/a..b/...")])
def test_clean(path: str, cleaned: str) -> None:
    assert cgroup_path(path) == cleaned


@pytest.mark.parametrize("path", ["..", "/..", "/a/../b", "a/..", "/", "//", ".", "/./", "/a\0b", "/a\nb", "/\ud800"])
def test_refused(path: str) -> None:
    with pytest.raises(Invalid) as caught:
        locate(V1, "id", path)
    assert [fault.pointer for fault in caught.value.faults] == ["/linux/cgroupsPath"]
