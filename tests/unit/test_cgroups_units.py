"""cgroupsPath under systemd: names of scopes and slices."""

from __future__ import annotations

import pytest

from pyrun.cgroups.units import slice_directory, unit_of
from pyrun.spec.faults import Invalid


@pytest.mark.parametrize(
    ("path", "slice_", "scope"),
    [
        (None, "system.slice", "pyrun-box.scope"),
        ("", "system.slice", "pyrun-box.scope"),
        ("machine.slice:libpod:abc", "machine.slice", "libpod-abc.scope"),
        (":cri:abc", "system.slice", "cri-abc.scope"),
        ("user-1000.slice::abc", "user-1000.slice", "abc.scope"),
        ("-:pyrun:abc", "-", "pyrun-abc.scope"),
    ],
)
def test_a_scope(path: str | None, slice_: str, scope: str) -> None:
    assert unit_of("box", path) == (slice_, scope)


def test_an_id_that_is_no_name() -> None:
    assert unit_of("a+b", None) == ("system.slice", "pyrun-a\\x2bb.scope")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/a/b", 'of format "slice:prefix:name" for systemd cgroups, got "/a/b" instead'),
        ("a:b:c:d", "of format"),
        ("a.slice:b:", "must name the container"),
        ("a.slice:b:c.slice", "must name a scope"),
        ("a/b.slice:c:d", "is no name of a unit"),
        ("a.slice:c:../d", "is no name of a unit"),
        (f"a.slice:c:{'d' * 300}", "is no name of a unit"),
    ],
)
def test_what_is_refused(path: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as caught:
        unit_of("box", path)
    assert caught.value.faults[0].pointer == "/linux/cgroupsPath"


@pytest.mark.parametrize(
    ("slice_", "path"),
    [
        ("system.slice", "/system.slice"),
        ("user-1000.slice", "/user.slice/user-1000.slice"),
        ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
        ("-", ""),
        ("-.slice", ""),
    ],
)
def test_a_slice_is_below_others(slice_: str, path: str) -> None:
    assert slice_directory(slice_) == path


@pytest.mark.parametrize("slice_", ["system", "a--b.slice", "-a.slice", "a-.slice", ".slice", "a.scope"])
def test_what_is_no_slice(slice_: str) -> None:
    with pytest.raises(Invalid, match="is no slice"):
        slice_directory(slice_)
