"""The Cgroup class on an ordinary directory in the shape of cgroup v2: what can be seen without a kernel."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from pyrun.cgroups.cgroup import Cgroup
from pyrun.cgroups.controller import Write
from pyrun.cgroups.host import Hierarchies, Hierarchy
from pyrun.cgroups.statistics import statistics
from pyrun.errors import CgroupError

POINTER = "/linux/resources/memory/limit"
FILES = {
    "cgroup.controllers": "cpu memory\n",
    "cgroup.subtree_control": "cpu memory\n",
    "cgroup.procs": "",
    "cgroup.events": "populated 0\nfrozen 0\n",
    "memory.max": "",
    "memory.current": "8192\n",
    "memory.events": "low 0\noom 2\noom_kill 3\noom_group_kill 0\n",
}


def fill(directory: Path, **changes: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in (FILES | {k.replace("_", ".", 1): v for k, v in changes.items()}).items():
        (directory / name).write_text(text)
    return directory


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return fill(tmp_path / "cgroup")


def cgroup(top: Path, path: str = "/pods/c", *, rootless: bool = False) -> Cgroup:
    return Cgroup(Hierarchies("v2", [Hierarchy((), str(top), "/", "/")]), "id", path, rootless=rootless)


def test_takes_an_empty_cgroup_and_leaves_it(top: Path) -> None:
    leaf = fill(top / "pods/c")
    c = cgroup(top)
    c.create()
    assert c.path == str(leaf)
    c.destroy()
    assert leaf.is_dir()  # MUST 41


def test_refuses_processes(top: Path) -> None:
    fill(top / "pods/c", cgroup_procs="12\n34\n")
    with pytest.raises(CgroupError, match=r"^container's cgroup is not empty: 2 process\(es\) found ") as caught:
        cgroup(top).create()
    assert caught.value.pointer == "/linux/cgroupsPath"


def test_refuses_processes_below(top: Path) -> None:
    fill(top / "pods/c")
    fill(top / "pods/c/below", cgroup_procs="12\n")
    with pytest.raises(CgroupError, match="1 process"):
        cgroup(top).create()


def test_refuses_a_frozen_cgroup(top: Path) -> None:
    fill(top / "pods/c", cgroup_events="populated 0\nfrozen 1\n")
    with pytest.raises(CgroupError, match="unexpectedly frozen"):
        cgroup(top).create()


def test_enables_controllers_from_the_top(top: Path) -> None:
    fill(top, cgroup_subtree_control="cpu\n")
    fill(top / "pods", cgroup_subtree_control="\n")
    leaf = fill(top / "pods/c", cgroup_controllers="cpu\n", cgroup_subtree_control="\n")
    cgroup(top).create()
    assert (top / "cgroup.subtree_control").read_text().startswith("+memory")
    assert (top / "pods/cgroup.subtree_control").read_text().startswith("+cpu +memory")
    assert (leaf / "cgroup.subtree_control").read_text() == "\n"  # that is for the container


def test_a_failed_create_leaves_nothing(top: Path) -> None:
    with pytest.raises(CgroupError):  # new directories here have no cgroup.controllers
        cgroup(top).create()
    assert not (top / "pods").exists()


def test_apply_writes_values(top: Path) -> None:
    leaf = fill(top / "pods/c")
    cgroup(top).apply([Write(POINTER, "memory", "memory.max", "4096")])
    assert (leaf / "memory.max").read_text() == "4096"


def test_a_limit_below_the_usage(top: Path) -> None:
    leaf = fill(top / "pods/c")
    with pytest.raises(CgroupError, match="below what the cgroup uses") as caught:
        cgroup(top).apply([Write(POINTER, "memory", "memory.max", "4096", ceiling="memory.current")])
    assert (caught.value.pointer, caught.value.errno) == (POINTER, errno.EBUSY)
    assert (leaf / "memory.max").read_text() == ""
    cgroup(top).apply([Write(POINTER, "memory", "memory.max", "8192", ceiling="memory.current")])


def test_a_missing_controller_is_named(top: Path) -> None:
    fill(top / "pods/c")
    with pytest.raises(CgroupError, match="controller hugetlb is not available") as caught:
        cgroup(top).apply([Write("/linux/resources/unified/x", "hugetlb", "hugetlb.2MB.max", "0")])
    assert caught.value.hint.startswith("this kernel has none, or a hierarchy of version 1 has it")  # MUST 110


def test_a_controller_that_is_not_delegated(top: Path) -> None:
    """The line that would give it is that of the cgroup where it ends."""
    fill(top / "pods", cgroup_controllers="cpu memory\n")
    fill(top / "pods/c", cgroup_controllers="cpu\n")
    with pytest.raises(CgroupError, match=r"controller memory is not available in .*/pods/c") as caught:
        cgroup(top).apply([Write(POINTER, "memory", "memory.swap.max", "0")])
    assert caught.value.hint == f"as root: echo +memory > {top}/pods/cgroup.subtree_control"


def test_a_missing_file(top: Path) -> None:
    leaf = fill(top / "pods/c")
    writes = [Write(POINTER, "memory", "memory.no", "1")]
    with pytest.raises(CgroupError, match=r"memory\.no .*no such file"):
        cgroup(top).apply(writes)
    writes[0].otherwise = Write(POINTER, "memory", "memory.max", "2")
    cgroup(top).apply(writes)
    assert (leaf / "memory.max").read_text() == "2"
    writes = [Write(POINTER, "memory", "memory.no", value, optional=True) for value in ("1", "max", "-1", "0")]
    assert [(w.pointer, w.problem) for w in cgroup(top).apply(writes)] == [
        (POINTER, "has no effect: this kernel has no memory.no")
    ]


def test_destroy_removes_what_was_made_and_what_grew_below(tmp_path: Path) -> None:
    top = tmp_path
    c = cgroup(top, "/pods/c")
    outside = top / "outside"
    (outside / "keep").mkdir(parents=True)
    (top / "pods/c/a/b").mkdir(parents=True)
    c.directories[0].made = 2
    c.directories[0].identify()
    c = Cgroup.from_state(json.loads(json.dumps(c.to_state())))
    c.destroy()
    assert [p.name for p in top.iterdir()] == ["outside"]
    c.destroy()  # nothing more to do is no error


def test_destroy_leaves_parents_in_use(tmp_path: Path) -> None:
    c = cgroup(tmp_path, "/pods/c")
    (tmp_path / "pods/c").mkdir(parents=True)
    (tmp_path / "pods/other").mkdir()
    c.directories[0].made = 2
    c.directories[0].identify()
    c.destroy()
    assert [p.name for p in (tmp_path / "pods").iterdir()] == ["other"]


def test_destroy_does_not_follow_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrun.cgroups.cgroup.sleep", lambda seconds: None)
    outside = tmp_path / "outside/keep"
    outside.mkdir(parents=True)
    leaf = tmp_path / "cg/c"
    leaf.mkdir(parents=True)
    (leaf / "link").symlink_to(tmp_path / "outside")
    c = cgroup(tmp_path / "cg", "/c")
    c.directories[0].made = 1
    c.directories[0].identify()
    with pytest.raises(CgroupError):
        c.destroy()
    assert outside.is_dir()


def test_figures(top: Path) -> None:
    leaf = fill(top / "pods/c")
    c = cgroup(top)
    assert (c.oom_kills(), c.memory_limit(), c.memory_peak()) == (3, None, None)
    (leaf / "memory.max").write_text("max\n")
    assert c.memory_limit() is None
    (leaf / "memory.max").write_text("4096\n")
    assert c.memory_limit() == 4096


def test_a_host_without_cgroups() -> None:
    c = Cgroup(Hierarchies("none", []), "id", None)
    c.create()
    c.add(1)
    assert (c.path, c.processes(), c.is_frozen(), c.oom_kills()) == (None, [], False, 0)
    with pytest.raises(CgroupError, match="no cgroup hierarchy for memory") as caught:
        c.apply(c.writes({"memory": {"limit": 4096}}))
    assert caught.value.pointer == POINTER
    c.kill(9)
    c.destroy()


def test_pid_0_is_never_signalled(top: Path) -> None:
    fill(top / "pods/c", cgroup_procs="0\n0\n")
    assert cgroup(top).processes() == []


def test_apply_closes_its_files(top: Path) -> None:
    fill(top / "pods/c")
    c = cgroup(top)
    good = [Write(POINTER, "memory", file, "1") for file in ("memory.max", "memory.events", "memory.max")]
    before = os.listdir("/proc/self/fd")
    c.apply(good)
    with pytest.raises(CgroupError):
        c.apply([*good, Write(POINTER, "memory", "memory.no", "1")])
    assert os.listdir("/proc/self/fd") == before


def test_writes_of_one_file_are_one_line_each(top: Path) -> None:
    leaf = fill(top / "pods/c")
    cgroup(top).apply([Write(POINTER, "memory", "memory.max", value) for value in ("1", "22", "3")])
    assert (leaf / "memory.max").read_text() == "1223"  # a real file appends where the kernel takes each as a command


def test_a_cgroup_that_goes_while_it_is_killed(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd takes a scope away with its last process, between our open and write."""
    leaf = fill(top / "pods/c")
    c = cgroup(top)

    def write(path: str, value: str) -> None:
        for file in leaf.iterdir():
            file.unlink()
        leaf.rmdir()
        raise OSError(errno.ENODEV, "No such device", path)

    monkeypatch.setattr("pyrun.kernel.files.write", write)
    c.kill(9)


@pytest.mark.parametrize("prefix", ["cpuset.", ""])
def test_a_cpuset_that_is_mounted_noprefix(tmp_path: Path, prefix: str) -> None:
    """Its files have bare names."""
    top = tmp_path / "cpuset"
    for folder, text in ((top, "0-3\n"), (top / "c", "\n")):
        folder.mkdir()
        for name in ("cpus", "mems"):
            (folder / f"{prefix}{name}").write_text(text)
        (folder / "cgroup.procs").write_text("")
    c = Cgroup(Hierarchies("v1", [Hierarchy(("cpuset",), str(top), "/", "/")]), "id", "/c")
    c.create()
    assert (top / f"c/{prefix}mems").read_text() == "0-3\n"
    c.change(c.writes({"cpu": {"cpus": "1"}}))
    assert (top / f"c/{prefix}cpus").read_text().startswith("1")
    assert statistics(c, 0, {})["cpuset"]["mems"] == [0, 1, 2, 3]
