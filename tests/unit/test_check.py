"""pyrun check: every fault at once, with its place and its rule, and no traceback whatever it is given."""

from __future__ import annotations

import json
import os
import platform
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from examples import many
from harness import PYRUN, enterable
from hypothesis import given
from hypothesis import strategies as st

from pyrun.caller import Caller
from pyrun.check import bundle, host, subids
from pyrun.container.bundle import CreateOptions
from pyrun.spec import config, strictjson
from pyrun.spec.audit import audit
from pyrun.spec.example import example
from pyrun.spec.faults import Invalid
from pyrun.spec.seccomp import denial_of_execve

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle with which nothing is wrong."""
    (tmp_path / "rootfs/bin").mkdir(parents=True)
    executable(tmp_path / "rootfs/bin/sh", elf())
    write(tmp_path)
    return tmp_path


def executable(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)


def elf(loader: bytes = b"", machine: int = {"x86_64": 62, "aarch64": 183}[platform.machine()]) -> bytes:
    """As much of an ELF executable as is looked at before it is loaded."""
    count = 1 if loader else 0
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, machine, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
    program = struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(loader), len(loader), 1) if loader else b""
    return header + program + loader


def write(folder: Path, *edits: Edit) -> dict[str, Any]:
    document: dict[str, Any] = strictjson.loads(strictjson.dumps(example()).encode())
    for edit in edits:
        edit(document)
    (folder / "config.json").write_text(json.dumps(document))
    return document


def check(folder: Path, *flags: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run([PYRUN, "check", "--json", *flags, folder], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def put(pointer: str, value: Any) -> Edit:
    """An edit that sets a value; `-` appends to a list."""
    *parents, last = pointer[1:].split("/")

    def edit(c: dict[str, Any]) -> None:
        node: Any = c
        for name in parents:
            node = node[int(name) if isinstance(node, list) else name]
        if last == "-":
            node.append(value)
        else:
            node[int(last) if isinstance(node, list) else last] = value

    return edit


def pointers(rows: list[dict[str, str]]) -> list[str]:
    return [row["pointer"] for row in rows]


def test_nothing_wrong(folder: Path) -> None:
    code, said = check(folder)
    assert (code, said) == (0, {"bundle": str(folder), "valid": True, "errors": [], "warnings": []})
    done = subprocess.run([PYRUN, "check"], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout == f"{folder}: nothing wrong\n"


def test_all_at_once(folder: Path) -> None:
    """Faults of shape, of rules, of files, of what is refused at compiling: none waits for another to be mended."""

    def break_it(c: dict[str, Any]) -> None:
        c["process"]["cwd"] = "relative"
        c["process"]["args"] = ["nope"]
        c["root"]["path"] = "nowhere"
        c["hooks"] = {"prestart": [{"path": "x", "timeout": 0}]}
        c["mounts"] += [
            {"destination": "/proc/1", "type": "tmpfs"},
            {"destination": "/x", "source": "nowhere", "options": ["bind"]},
        ]
        c["annotations"] = {"org.opencontainers.mine": "x"}

    write(folder, break_it)
    code, said = check(folder)
    assert code == 1
    assert set(pointers(said["errors"])) == {
        "/process/cwd",
        "/root/path",
        "/hooks/prestart/0/path",
        "/hooks/prestart/0/timeout",
        "/mounts/7/destination",
        "/mounts/8/source",
    }
    assert pointers(said["warnings"]) == ["/annotations/org.opencontainers.mine"]
    assert {row["pointer"]: row["rule"] for row in said["errors"]}["/process/cwd"] == "MUST 54"


def test_rules_are_told_beside_a_wrong_shape(folder: Path) -> None:
    def break_it(c: dict[str, Any]) -> None:
        c["process"]["terminal"] = "yes"
        c["process"]["cwd"] = "relative"
        c["linux"]["namespaces"].append({"type": "pid"})
        c["mounts"][0]["destination"] = 7

    write(folder, break_it)
    _, said = check(folder)
    found = pointers(said["errors"])
    assert {"/process/terminal", "/mounts/0/destination", "/process/cwd", "/linux/namespaces/5/type"} <= set(found)
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "a value is expected"),
        (b"{", "property name"),
        (b"\xff", "UTF-8"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a": NaN}', "NaN"),
        (b'{"ociVersion": "1.0.0", "ociVersion": "1.0.0"}', "ociVersion"),
        (b'{"root": {"path": "a\\u0000b"}, "ociVersion": "1.0.0"}', "NUL"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b"[" * 100000, "deep"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "deep"),
        (b"[1e999]", "1e999"),
        (b"[]", "object"),
        (b"null", "object"),
    ],
)
def test_what_is_no_config(folder: Path, raw: bytes, words: str) -> None:
    (folder / "config.json").write_bytes(raw)
    code, said = check(folder)
    assert code == 1
    assert not said["valid"]
    assert words in " ".join(row["pointer"] + row["problem"] + row["hint"] for row in said["errors"])


def test_no_bundle_at_all(tmp_path: Path) -> None:
    done = subprocess.run([PYRUN, "check", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "config.json not found" in done.stderr


@pytest.mark.parametrize(
    ("edit", "pointer"),
    [
        (lambda c: c["process"].update(args=["/bin/nope"]), "/process/args/0"),
        (lambda c: c["process"].update(args=["/bin"]), "/process/args/0"),
        (lambda c: c["process"].update(args=["/loop"]), "/process/args/0"),
        (lambda c: c["process"].update(args=["sh"], env=["PATH=/sbin"]), "/process/args/0"),
        (lambda c: c["process"].update(args=["bin/sh"], cwd="/etc"), "/process/args/0"),
        (lambda c: c.update(hooks={"startContainer": [{"path": "/hook"}]}), "/hooks/startContainer/0/path"),
        (lambda c: c["root"].update(path="config.json"), "/root/path"),
        (lambda c: c["mounts"].append({"destination": "/", "type": "tmpfs"}), "/mounts/7/destination"),
    ],
)
def test_what_the_bundle_lacks(folder: Path, edit: Edit, pointer: str) -> None:
    (folder / "rootfs/loop").symlink_to("loop")
    write(folder, edit)
    assert pointer in pointers(check(folder)[1]["errors"])


@pytest.mark.parametrize(
    "edit",
    [
        lambda c: c["process"].update(args=["/link/sh"]),
        lambda c: c["process"].update(args=["../bin/sh"], cwd="/etc"),
        lambda c: c["process"].update(args=["/dev/program"]),  # who knows what is mounted there
        lambda c: c["process"].update(args=["sh"], env=["PATH=/sbin:/absolute"]),
        lambda c: c.update(hooks={"startContainer": [{"path": "/bin/sh"}]}),
    ],
)
def test_what_is_found(folder: Path, edit: Edit) -> None:
    """Links lead where they would lead inside."""
    (folder / "rootfs/link").symlink_to("../../../../bin")
    (folder / "rootfs/absolute").symlink_to("/bin")
    write(folder, edit)
    assert check(folder)[1]["errors"] == []


def user(c: dict[str, Any]) -> None:
    c["linux"]["namespaces"].append({"type": "user"})
    for name in ("uidMappings", "gidMappings"):
        c["linux"][name] = [{"containerID": 0, "hostID": 1000, "size": 10}]


@pytest.mark.parametrize(
    ("edit", "pointer"),
    [
        (lambda c: c["process"].update(user={"uid": 10, "gid": 0}), "/process/user/uid"),
        (lambda c: c["process"].update(user={"uid": 0, "gid": 77}), "/process/user/gid"),
        (lambda c: c["process"]["user"].update(additionalGids=[3, 11]), "/process/user/additionalGids/1"),
        (
            lambda c: c["linux"].update(
                uidMappings=[*c["linux"]["uidMappings"], {"containerID": 9, "hostID": 1, "size": 1}]
            ),
            "/linux/uidMappings/1",
        ),
        (
            lambda c: c["linux"].update(
                gidMappings=[*c["linux"]["gidMappings"], {"containerID": 50, "hostID": 999, "size": 2}]
            ),
            "/linux/gidMappings/1",
        ),
    ],
)
def test_ids_that_do_not_fit(folder: Path, edit: Edit, pointer: str) -> None:
    write(folder, user, edit)
    assert pointers(check(folder)[1]["errors"]) == [pointer]


def host_pointers(folder: Path, *edits: Edit) -> tuple[list[str], list[str]]:
    document = write(folder, *edits)
    found = config.load(json.dumps(document).encode())
    this = host.Host(found, CreateOptions(bundle=str(folder)), Caller())
    return [f.pointer for f in host.errors(this)], [f.pointer for f in host.warnings(this)]


@pytest.mark.skipif(os.geteuid() != 0, reason="a user without root lacks more")
@pytest.mark.parametrize(
    ("edit", "pointer"),
    [
        (lambda c: c["linux"]["namespaces"][0].update(path="/nowhere"), "/linux/namespaces/0/path"),
        (lambda c: c["linux"]["namespaces"][0].update(path="/proc/self/ns/uts"), "/linux/namespaces/0/path"),
        (lambda c: c["linux"]["namespaces"][0].update(path="/etc/passwd"), "/linux/namespaces/0/path"),
        (lambda c: c["mounts"].append({"destination": "/x", "source": "/no", "options": ["bind"]}), "/mounts/7/source"),
        (lambda c: c.update(hooks={"poststop": [{"path": "/nowhere"}]}), "/hooks/poststop/0/path"),
        (lambda c: c["linux"].update(netDevices={"nonsense0": {}}), "/linux/netDevices/nonsense0"),
        (lambda c: c["linux"].update(sysctl={"net.ipv4.nonsense": "1"}), "/linux/sysctl/net.ipv4.nonsense"),
        (
            lambda c: c["linux"].update(
                seccomp={"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PARISC64"]}
            ),
            "/linux/seccomp/architectures/0",
        ),
        (
            lambda c: c["linux"].update(
                seccomp={
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "listenerPath": "/nowhere",
                    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
                }
            ),
            "/linux/seccomp/listenerPath",
        ),
        (lambda c: c["linux"].update(memoryPolicy={"mode": "MPOL_BIND", "nodes": "1000"}), "/linux/memoryPolicy/nodes"),
        (lambda c: c["process"].update(execCPUAffinity={"final": "8000"}), "/process/execCPUAffinity/final"),
        (
            lambda c: c["linux"].update(resources={"rdma": {"mlx5_1": {"hcaHandles": 3}}}),
            "/linux/resources/rdma/mlx5_1",
        ),
        (lambda c: c["linux"].update(intelRdt={"closID": "x"}), "/linux/intelRdt"),
        (lambda c: c["process"].update(selinuxLabel="a:b:c:d"), "/process/selinuxLabel"),
    ],
)
def test_what_this_host_lacks(folder: Path, edit: Edit, pointer: str) -> None:
    if "rdma" in pointer and "rdma" in Path("/proc/cgroups").read_text():
        pytest.skip("rdma is here")
    if "intelRdt" in pointer and os.path.exists("/sys/fs/resctrl/tasks"):
        pytest.skip("resctrl is here")
    assert host_pointers(folder, edit)[0] == [pointer]


@pytest.mark.parametrize("able", [True, False])
def test_a_device_that_the_host_lacks(folder: Path, monkeypatch: pytest.MonkeyPatch, able: bool) -> None:
    """In a user namespace it is made with the host's rights, by who has them."""
    monkeypatch.setattr(host.Host, "can_make_devices", able)
    device = {"path": "/dev/no-such", "type": "c", "major": 1, "minor": 3}
    found = host_pointers(folder, user, lambda c: c["linux"].update(devices=[device]))[0]
    assert found == ([] if able and os.geteuid() == 0 else ["/linux/devices/0/path"])


def test_what_this_host_only_warns_of(folder: Path) -> None:
    edit: Edit = lambda c: c["mounts"].append({"destination": "/x", "type": "nonsensefs"})  # noqa: E731
    assert [pointer for pointer in host_pointers(folder, edit)[1] if pointer][-1] == "/mounts/7/type"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (elf(), ""),
        (elf(b"/lib/ld.so\0"), "needs the loader"),
        (elf(machine=22), "is built for s390x"),
        (elf()[:20], "no whole ELF header"),
        (b"", "is empty"),
        (b"text\n", "neither an ELF executable nor a script"),
        (b"#!/bin/there\n", ""),
        (b"#!/bin/there -e\n", ""),
        (b"#!/bin/absent\n", 'whose interpreter "/bin/absent" is not there'),
        (b"#!/bin/sh\r\n", "ends with a carriage return"),
        (b"#!\n", "names no interpreter"),
        (b"#!/bin/sh\n", "too many one behind the other"),
        (b"#!/dev/shell\n", ""),  # in what is mounted there
    ],
)
def test_what_the_kernel_would_not_execute(
    folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, words: str
) -> None:
    monkeypatch.setattr("pyrun.check.executable._emulated", lambda: False)
    executable(folder / "rootfs/bin/there", elf())
    executable(folder / "rootfs/bin/sh", content)
    found = config.load(json.dumps(write(folder)).encode())
    faults = bundle.errors(found, CreateOptions(bundle=str(folder)))
    assert [fault.pointer for fault in faults] == (["/process/args/0"] if words else [])
    assert not words or words in faults[0].problem


def test_version_1_is_told_of_once(folder: Path) -> None:
    """Where it is the host's."""
    expected = 0 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1
    assert host_pointers(folder)[1].count("") == expected


def test_a_source_that_an_earlier_mount_makes(folder: Path) -> None:
    """It need not be there."""
    source = str(folder / "rootfs/run/later")
    bind = {"destination": "/x", "source": source, "options": ["bind"]}
    assert host_pointers(folder, lambda c: c["mounts"].append(bind))[0] == ["/mounts/7/source"]
    tmpfs = {"destination": "/run", "type": "tmpfs"}
    assert host_pointers(folder, lambda c: c["mounts"].extend([tmpfs, bind]))[0] == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 1 << 33) | st.text(max_size=5) | st.sampled_from(["/", "..", "1.0.0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
@given(data=st.data())
@many(300)
def test_random_damage(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever stands in the config: no traceback, and whoever load() refuses, check does too."""
    document: Any = json.loads(json.dumps(example()))
    for _ in range(data.draw(st.integers(1, 3))):
        node, path = document, []
        while (isinstance(node, dict | list) and node and data.draw(st.booleans())) or not path:
            key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
            path.append((node, key))
            node = node[key]
        parent, key = path[-1]
        parent[key] = data.draw(VALUES)
    raw = json.dumps(document).encode()
    found = audit(raw)
    try:
        config.load(raw)
    except Invalid as e:
        assert {f.pointer for f in e.faults} <= {f.pointer for f in found.errors}
    else:
        assert found.config is not None
        folder = tmp_path_factory.getbasetemp()
        options = CreateOptions(bundle=str(folder))
        for fault in (
            *bundle.errors(found.config, options, sound=not found.errors),
            *bundle.warnings(found.config, options),
        ):
            assert str(fault)
        this = host.Host(found.config, options, Caller())
        for fault in (*host.errors(this), *host.warnings(this)):
            assert str(fault)


@pytest.mark.parametrize(
    ("profile", "pointer"),
    [
        ({"defaultAction": "SCMP_ACT_ALLOW"}, ""),
        ({"defaultAction": "SCMP_ACT_ERRNO"}, "/linux/seccomp/defaultAction"),
        ({"defaultAction": "SCMP_ACT_LOG"}, ""),
        (
            {"defaultAction": "SCMP_ACT_KILL", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]},
            "/linux/seccomp/defaultAction",
        ),
        ({"defaultAction": "SCMP_ACT_KILL", "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}]}, ""),
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a", "execve"], "action": "SCMP_ACT_TRAP"}]},
            "/linux/seccomp/syscalls/0/names/1",
        ),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {
                        "names": ["execve"],
                        "action": "SCMP_ACT_ERRNO",
                        "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}],
                    }
                ],
            },
            "",
        ),
    ],
)
def test_a_profile_that_denies_execve(profile: Any, pointer: str) -> None:
    assert denial_of_execve(profile) == pointer


@pytest.mark.parametrize(
    ("mounts", "pointers"),
    [
        ([("/opt", ["noexec"])], ["/mounts/0/options/0"]),
        ([("/opt", ["noexec", "exec"])], []),
        ([("/opt", ["noexec"]), ("/opt/bin", [])], []),
        ([("/opt/bin", ["ro", "noexec"]), ("/opt", [])], ["/mounts/0/options/1"]),
        ([("/opt", ["noexec"]), ("/opt", [])], []),
        ([("/else", ["noexec"])], []),
    ],
)
def test_a_program_on_a_mount_with_noexec(mounts: list[tuple[str, list[str]]], pointers: list[str]) -> None:
    document: Any = example()
    document["process"]["args"] = ["/opt/bin/tool"]
    document["mounts"] = [{"destination": to, "type": "tmpfs", "options": given} for to, given in mounts]
    assert [fault.pointer for fault in bundle.noexec(document, CreateOptions(bundle="/none"))] == pointers


def test_the_directories_of_an_overlay(tmp_path: Path) -> None:
    def found(*options: str) -> list[str]:
        document: Any = example()
        document["mounts"] = [{"destination": "/x", "type": "overlay", "source": "overlay", "options": [*options]}]
        this = host.Host(document, CreateOptions(bundle=str(tmp_path)), Caller())
        return [str(fault) for fault in host.overlays(this)]

    for name in ("low", "up", "work"):
        (tmp_path / name).mkdir()
    up, work = f"upperdir={tmp_path}/up", f"workdir={tmp_path}/work"
    assert found(f"lowerdir={tmp_path}/low", up, work) == found(f"lowerdir={tmp_path}/low") == []
    assert found(f"lowerdir={tmp_path}/low:/nowhere") == ['/mounts/0/options/0: "/nowhere" does not exist on this host']
    [said] = found("lowerdir=/", up, "workdir=/proc")
    assert said.startswith("/mounts/0/options/2: workdir is on another file system than upperdir")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(
    ("edits", "modes", "words"),
    [
        ([], {"opt": 0o700}, '"/opt" (mode 0700, of 0:0) may not be searched by uid 1000'),
        ([], {"opt/tool": 0o700}, '"/opt/tool" (mode 0700, of 0:0) may not be executed by uid 1000'),
        ([], {"opt/tool": 0o755}, ""),
        ([], {"opt": 0o711, "opt/tool": 0o111}, ""),
        ([put("/process/user/additionalGids", [0])], {"opt/tool": 0o710}, ""),
        ([put("/process/capabilities/effective", ["CAP_DAC_OVERRIDE"])], {"opt": 0o700, "opt/tool": 0o700}, ""),
        ([put("/process/capabilities/effective", ["CAP_DAC_READ_SEARCH"])], {"opt": 0o700}, ""),
        (
            [put("/process/capabilities/effective", ["CAP_DAC_READ_SEARCH"])],
            {"opt/tool": 0o700},
            '"/opt/tool" (mode 0700, of 0:0) may not be executed by uid 1000',
        ),
        # 0 of the host is 1000 inside
        ([put("/linux/uidMappings", [{"containerID": 1000, "hostID": 0, "size": 1}])], {"opt/tool": 0o700}, ""),
        (
            [put("/linux/uidMappings", [{"containerID": 1000, "hostID": 5, "size": 1}])],
            {"opt/tool": 0o700},
            '"/opt/tool" (mode 0700, of an unmapped id:0) may not be executed by uid 1000',
        ),
    ],
)
def test_who_may_execute_it(folder: Path, edits: list[Edit], modes: dict[str, int], words: str) -> None:
    executable(folder / "rootfs/opt/tool", elf())
    for name, mode in modes.items():
        (folder / "rootfs" / name).chmod(mode)
    document: Any = write(folder, put("/process/user/uid", 1000), put("/process/user/gid", 1000), *edits)
    for name in ("/opt/tool", "tool"):
        document["process"] |= {"args": [name], "env": ["PATH=/none:/opt"]}
        found = [str(fault) for fault in bundle.executables(document, CreateOptions(bundle=str(folder)))]
        assert [words in fault for fault in found] == ([True] if words else []), found


@pytest.mark.parametrize(
    ("edit", "pointer"),
    [
        (put("/process/rlimits", [{"type": "RLIMIT_AS", "soft": 65536, "hard": 65536}]), "/process/rlimits/0/soft"),
        (put("/linux/resources", {"memory": {"limit": 4096}}), "/linux/resources/memory/limit"),
    ],
)
def test_a_limit_with_which_nothing_starts(folder: Path, edit: Edit, pointer: str) -> None:
    write(folder, edit)
    code, said = check(folder)
    assert (code, [row["pointer"] for row in said["errors"]]) == (1, [pointer])


@pytest.mark.parametrize("rule", ["54", "MUST 54", "must 54"])
def test_what_a_rule_says(rule: str) -> None:
    done = subprocess.run([PYRUN, "check", "--explain", rule], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("MUST 54: process.cwd is absolute\nhttps://")
    done = subprocess.run([PYRUN, "check", "--explain", "MUST 0"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no rule MUST 0" in done.stderr


def test_names_of_no_system_call(folder: Path) -> None:
    rule = {"names": ["mkdri", "read", "nonsense"], "action": "SCMP_ACT_ERRNO"}
    write(folder, put("/linux/seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    said = {row["pointer"]: row for row in check(folder, "--host")[1]["warnings"]}
    assert said["/linux/seccomp/syscalls/0/names/0"]["hint"] == "did you mean mkdir?"
    assert "/linux/seccomp/syscalls/0/names/1" not in said
    assert 'knows no "nonsense"' in said["/linux/seccomp/syscalls/0/names/2"]["problem"]


SUBIDS = "root:1:1\n\nnonsense\n1000:200000:10\nnobody:100000:65536\n65534:300000:1\n1000:400000:x\n"


@pytest.mark.parametrize(
    ("uid", "found"), [(65534, [(100000, 65536), (300000, 1)]), (1000, [(200000, 10)]), (1001, [])]
)
def test_ranges_of_subordinate_ids(tmp_path: Path, uid: int, found: list[tuple[int, int]]) -> None:
    (tmp_path / "subuid").write_text(SUBIDS)
    assert subids.ranges(str(tmp_path / "subuid"), uid) == found
    assert subids.ranges(str(tmp_path / "none"), uid) == []


@pytest.mark.parametrize(
    ("rows", "pointers"),
    [
        ([(0, 1000, 1)], []),
        ([(0, 1000, 1), (1, 200000, 10)], []),
        ([(0, 1000, 1), (1, 200000, 11)], ["/linux/uidMappings/1"]),
        ([(0, 200005, 5)], []),
        ([(0, 0, 1)], ["/linux/uidMappings/0"]),
        ([(0, 1000, 2)], ["/linux/uidMappings/0"]),
    ],
)
def test_ids_that_are_the_callers(
    monkeypatch: pytest.MonkeyPatch, rows: list[tuple[int, int, int]], pointers: list[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    monkeypatch.setattr(subids, "ranges", lambda path, uid: [subids.Range(200000, 10)])
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    mappings: Any = [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in rows]
    own: Any = [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert [fault.pointer for fault in subids.faults({"uidMappings": mappings, "gidMappings": own})] == pointers
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    helped = rows != [(0, 1000, 1)]
    faults = list(subids.faults({"uidMappings": mappings, "gidMappings": own}))
    assert [fault.problem for fault in faults] == ["newuidmap is not installed"] * helped


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_what_is_delegated(tmp_path: Path) -> None:
    """As a user: of a tree as cgroup v2 would have it, from `user` on his own."""
    enterable(tmp_path)
    for name, controllers in (("", "cpu memory pids"), ("slice", "memory pids"), ("slice/user", "pids")):
        (tmp_path / name).mkdir(exist_ok=True)
        for file, text in (("cgroup.controllers", controllers), ("cgroup.subtree_control", ""), ("cgroup.procs", "")):
            (tmp_path / name / file).write_text(text)
            (tmp_path / name / file).chmod(0o644)
        (tmp_path / name).chmod(0o755)
    for path in (tmp_path / "slice/user", *(tmp_path / "slice/user").iterdir()):
        os.chown(path, 1000, 1000)
    limits: Any = {"resources": {"pids": {"limit": 5}, "memory": {"limit": 1 << 30}}}
    script = (
        "import os, sys; from pyrun.check import cgroups; from pyrun.cgroups.host import Hierarchies, Hierarchy\n"
        f"here = Hierarchies('v2', [Hierarchy((), {str(tmp_path)!r}, '/', '/')])\n"
        "cgroups.hierarchies_of_host = lambda: here\n"
        "os.setgroups([]); os.setgid(1000); os.setuid(1000)\n"
        f"for path in ('/slice/user/x', '/slice/x'):\n"
        f"    print(*cgroups.faults({limits!r} | {{'cgroupsPath': path}}, False), sep='; ')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    delegated, denied = done.stdout.splitlines()
    assert delegated.startswith("/linux/resources/memory/limit: the controller memory is not delegated to this caller")
    assert "pids" not in delegated.split("only pids")[0]
    assert denied.count("slice is not to be written by this caller") == 2
