"""Cgroups of the running kernel, version 1 or 2: what is set is read back from the kernel's files."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import open_to_all

import pyrun
from pyrun.cgroups import directories
from pyrun.cgroups.cgroup import Cgroup
from pyrun.cgroups.controllers.devices import v2_device_program
from pyrun.cgroups.host import host
from pyrun.errors import CgroupError
from pyrun.spec.faults import Fault

pytestmark = [pytest.mark.guest, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
DENY_ALL = {"allow": False, "access": "rwm"}
MIB = 1 << 20


@pytest.fixture
def cgroup(request: pytest.FixtureRequest) -> Iterator[Cgroup]:
    """A cgroup that exists, with a name of the test's own; afterwards nothing of it is left."""
    name = f"pyrun-test-{os.getpid()}"
    c = Cgroup(host(), "id", f"/{name}/leaf")
    c.create()
    yield c
    if c.is_frozen():
        c.thaw()
    c.kill(9)
    c.destroy()
    assert not leftovers(name)


def leftovers(name: str) -> list[str]:
    return [f"{tree.mountpoint}/{name}" for tree in host().trees if os.path.exists(f"{tree.mountpoint}/{name}")]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def directory(c: Cgroup, controller: str) -> Path:
    """Skips the test where the kernel has no such controller."""
    for d in c.directories:
        if c.mode == "v2" and controller in Path(d.path, "cgroup.controllers").read_text().split():
            return Path(d.path)
        if controller in d.controllers:
            return Path(d.path)
    pytest.skip(f"no {controller} controller")


def has(c: Cgroup, file: str) -> Path:
    path = directory(c, file.partition(".")[0]) / file
    if not path.exists():
        pytest.skip(f"no {file}")
    return path


def apply(c: Cgroup, resources: dict[str, Any]) -> None:
    assert c.apply(c.writes(resources)) == []


# resources, version 1 file, its text, version 2 file, its text
VALUES: list[tuple[dict[str, Any], str, str, str, str]] = [
    ({"memory": {"limit": 16 * MIB}}, "memory.limit_in_bytes", "16777216", "memory.max", "16777216"),
    ({"memory": {"reservation": 8 * MIB}}, "memory.soft_limit_in_bytes", "8388608", "memory.low", "8388608"),
    ({"pids": {"limit": 7}}, "pids.max", "7", "pids.max", "7"),
    ({"pids": {"limit": 0}}, "pids.max", "1", "pids.max", "1"),
    ({"pids": {"limit": -1}}, "pids.max", "max", "pids.max", "max"),
    ({"cpu": {"shares": 2048}}, "cpu.shares", "2048", "cpu.weight", "174"),
    ({"cpu": {"quota": 50000, "period": 200000}}, "cpu.cfs_quota_us", "50000", "cpu.max", "50000 200000"),
    ({"cpu": {"quota": 50000, "burst": 20000}}, "cpu.cfs_burst_us", "20000", "cpu.max.burst", "20000"),
    ({"cpu": {"idle": 1}}, "cpu.idle", "1", "cpu.idle", "1"),
    ({"cpu": {"cpus": "0", "mems": "0"}}, "cpuset.cpus", "0", "cpuset.cpus", "0"),
]


@pytest.mark.parametrize(("resources", "v1_file", "v1_text", "v2_file", "v2_text"), VALUES)
def test_values(
    cgroup: Cgroup, resources: dict[str, Any], v1_file: str, v1_text: str, v2_file: str, v2_text: str
) -> None:
    file, text = (v2_file, v2_text) if cgroup.mode == "v2" else (v1_file, v1_text)
    path = has(cgroup, file)
    apply(cgroup, resources)
    assert path.read_text().strip() == text


def test_memory_and_swap_up_and_down(cgroup: Cgroup) -> None:
    """Version 1 wants limit ≤ swap at every moment, so the order depends on the values before."""
    swap = has(cgroup, "memory.swap.max" if cgroup.mode == "v2" else "memory.memsw.limit_in_bytes")
    for limit, both in ((16, 32), (64, 128), (8, 8), (256, 256)):
        apply(cgroup, {"memory": {"limit": limit * MIB, "swap": both * MIB}})
        assert int(swap.read_text()) == (both - limit if cgroup.mode == "v2" else both) * MIB
        assert cgroup.memory_limit() == limit * MIB


def test_quota_and_burst_up_and_down(cgroup: Cgroup) -> None:
    burst = has(cgroup, "cpu.max.burst" if cgroup.mode == "v2" else "cpu.cfs_burst_us")
    for quota in (20000, 90000, 10000):
        apply(cgroup, {"cpu": {"quota": quota, "burst": quota, "period": 100000}})
        assert int(burst.read_text()) == quota


def test_idle_with_shares(cgroup: Cgroup) -> None:
    idle = has(cgroup, "cpu.idle")
    for value in (1, 0):
        apply(cgroup, {"cpu": {"shares": 512, "idle": value}})
        assert idle.read_text() == f"{value}\n"


def test_a_value_that_the_kernel_refuses(cgroup: Cgroup) -> None:
    directory(cgroup, "cpuset")
    with pytest.raises(CgroupError) as caught:
        cgroup.apply(cgroup.writes({"cpu": {"cpus": "9999"}}))
    assert caught.value.pointer == "/linux/resources/cpu/cpus"
    assert caught.value.errno and caught.value.hint


def test_kernel_memory_is_a_warning(cgroup: Cgroup) -> None:
    directory(cgroup, "memory")
    warnings: list[Fault] = []
    warnings += cgroup.apply(cgroup.writes({"memory": {"kernel": 64 * MIB}}, warnings=warnings))
    assert {warning.pointer for warning in warnings} == {"/linux/resources/memory/kernel"}


def test_foresee_knows_what_create_makes() -> None:
    c = Cgroup(host(), "id", f"/pyrun-test-foresee-{os.getpid()}/leaf")
    c.foresee()
    foreseen = [d.made for d in c.directories]
    c.create()
    try:
        assert [d.made for d in c.directories] == foreseen == [2] * len(foreseen)
    finally:
        c.destroy()


def test_device_rules_of_version_1(cgroup: Cgroup) -> None:
    if cgroup.mode == "v2":
        pytest.skip("version 2 has no device files")
    listing = has(cgroup, "devices.list")
    apply(cgroup, {"devices": [DENY_ALL, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]})
    assert listing.read_text().split("\n")[0] == "c 10:229 rwm"
    assert "c 136:* rwm\n" in listing.read_text()
    assert "a *:*" not in listing.read_text()


def test_a_process_is_in_every_hierarchy(cgroup: Cgroup, sleeper: subprocess.Popen[bytes]) -> None:
    cgroup.add(sleeper.pid)
    # The kernel lists hierarchies that are mounted nowhere, too (hugetlb): they can't be reached.
    mounted = {"", *(name for d in cgroup.directories for name in d.controllers)}
    for line in Path(f"/proc/{sleeper.pid}/cgroup").read_text().splitlines():
        controllers = line.split(":", 2)[1]
        if (cgroup.mode == "v1" or not controllers) and mounted & set(controllers.split(",")):
            assert line.endswith("/leaf"), line
    assert cgroup.processes() == [sleeper.pid]


def test_add_an_ended_process(cgroup: Cgroup) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    with pytest.raises(CgroupError) as caught:
        cgroup.add(process.pid)
    assert caught.value.hint == "the process has ended"


def test_sub_cgroups_belong_to_it(cgroup: Cgroup, sleeper: subprocess.Popen[bytes]) -> None:
    """The container made them: their processes count, kill reaches them, destroy (in the fixture) removes them."""
    for d in cgroup.directories:
        sub = Path(d.path, "a/b")
        sub.mkdir(parents=True)
        if "cpuset" in d.controllers:
            for file in ("cpuset.cpus", "cpuset.mems"):
                text = Path(d.path, file).read_text()
                (sub.parent / file).write_text(text)
                (sub / file).write_text(text)
        (sub / "cgroup.procs").write_text(f"{sleeper.pid}\n")
    assert cgroup.processes(recursive=False) == []
    assert cgroup.processes() == [sleeper.pid]
    cgroup.kill(signal.SIGKILL)
    assert sleeper.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize(("name", "levels"), [("x" * 240, 20), ("x", 1200)], ids=["long", "many"])
def test_cgroups_deeper_than_a_path(cgroup: Cgroup, sleeper: subprocess.Popen[bytes], name: str, levels: int) -> None:
    """What a container may make of its cgroup: its processes are found, and destroy (in the fixture) removes it."""
    path = directory(cgroup, "pids")
    above = os.open(path, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=above)
        below = os.open(name, os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = below
    procs = os.open("cgroup.procs", os.O_WRONLY, dir_fd=above)
    os.write(procs, str(sleeper.pid).encode())
    os.close(procs)
    os.close(above)
    assert directories.processes(str(path)) == [sleeper.pid]
    sleeper.kill()
    sleeper.wait()


def test_kill_with_another_signal(cgroup: Cgroup, sleeper: subprocess.Popen[bytes]) -> None:
    cgroup.add(sleeper.pid)
    cgroup.kill(signal.SIGTERM)
    assert sleeper.wait(10) == -signal.SIGTERM


def test_freeze_thaw_and_kill_while_frozen(cgroup: Cgroup, sleeper: subprocess.Popen[bytes]) -> None:
    cgroup.add(sleeper.pid)
    assert not cgroup.is_frozen()
    cgroup.freeze()
    assert Cgroup.from_state(json.loads(json.dumps(cgroup.to_state()))).is_frozen()
    cgroup.thaw()
    assert not cgroup.is_frozen()
    cgroup.freeze()
    cgroup.kill(signal.SIGKILL)
    assert sleeper.wait(10) == -signal.SIGKILL


def test_kill_a_fork_bomb(cgroup: Cgroup) -> None:
    apply(cgroup, {"pids": {"limit": 30}})
    script = "echo $$; read go; bomb() { bomb & bomb; }; bomb"
    with subprocess.Popen(
        ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        cgroup.add(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        while len(cgroup.processes()) < 10 and process.poll() is None:
            pass
        cgroup.kill(signal.SIGKILL)
        process.wait(10)
    wait_empty(cgroup)


def wait_empty(c: Cgroup) -> None:
    end = time.monotonic() + 10
    while c.processes():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_used_cgroup_is_refused(cgroup: Cgroup, sleeper: subprocess.Popen[bytes]) -> None:
    again = Cgroup(host(), "id", f"/pyrun-test-{os.getpid()}/leaf")
    again.create()  # empty: taken
    cgroup.add(sleeper.pid)
    with pytest.raises(CgroupError, match=r"container's cgroup is not empty: 1 process\(es\) found"):
        again.create()
    again.destroy()  # MUST 41: not made by it, so it stays
    assert cgroup.processes() == [sleeper.pid]


def test_destroy_with_a_process_says_so(cgroup: Cgroup, sleeper: subprocess.Popen[bytes]) -> None:
    cgroup.add(sleeper.pid)
    with pytest.raises(CgroupError, match=r"1 process\(es\) still in it"):
        cgroup.destroy()


def test_relative_path_is_created_and_removed() -> None:
    name = f"pyrun-test-relative-{os.getpid()}"
    c = Cgroup(host(), "id", name)
    c.create()
    try:
        assert all(os.path.isdir(d.path) and d.path.endswith("/" + name) for d in c.directories)
    finally:
        c.destroy()
    assert not any(os.path.exists(d.path) for d in c.directories)


def test_a_failed_create_leaves_nothing() -> None:
    name = f"pyrun-test-failed-{os.getpid()}"
    c = Cgroup(host(), "id", f"/{name}/cgroup.procs/x")
    with pytest.raises(CgroupError) as caught:
        c.create()
    assert caught.value.pointer == "/linux/cgroupsPath"
    assert not leftovers(name)


def test_out_of_memory_is_counted(cgroup: Cgroup) -> None:
    directory(cgroup, "memory")
    apply(
        cgroup, {"memory": {"limit": 8 * MIB, "swap": 8 * MIB}} if has_swap(cgroup) else {"memory": {"limit": 8 * MIB}}
    )
    code = "import sys; sys.stdin.read(); bytearray(range(256)) * (1 << 18)"  # 64 MiB
    with subprocess.Popen([sys.executable, "-IS", "-c", code], stdin=subprocess.PIPE) as process:
        cgroup.add(process.pid)
        assert process.stdin
        process.stdin.close()
        assert process.wait(60) == -signal.SIGKILL
    assert cgroup.oom_kills() == 1
    assert cgroup.memory_limit() == 8 * MIB
    assert (cgroup.memory_peak() or 8 * MIB) > 7 * MIB


def has_swap(c: Cgroup) -> bool:
    file = "memory.swap.max" if c.mode == "v2" else "memory.memsw.limit_in_bytes"
    return (directory(c, "memory") / file).exists()


def test_a_busy_parent_is_named() -> None:
    """Version 2: a parent with processes can't give controllers; only a limit makes that an error."""
    if host().mode != "v2":
        pytest.skip("version 1 has no such rule")
    name = f"pyrun-test-busy-{os.getpid()}"
    parent = Cgroup(host(), "id", f"/{name}/parent")
    parent.create()
    try:
        with subprocess.Popen(["sleep", "1000"]) as process:
            parent.add(process.pid)
            child = Cgroup(host(), "id", f"/{name}/parent/child")
            child.create()
            try:
                with pytest.raises(CgroupError, match="controller memory is not enabled in") as caught:
                    child.apply(child.writes({"memory": {"limit": 16 * MIB}}))
                assert "move them to a cgroup below it, then echo +memory > /sys/fs/cgroup/" in caught.value.hint
            finally:
                child.destroy()
                process.kill()
    finally:
        parent.kill(9)
        parent.destroy()
    assert not leftovers(name)


def test_delegate(cgroup: Cgroup) -> None:
    cgroup.delegate(1234)
    owner = os.stat(cgroup.directories[0].path).st_uid
    assert owner == (1234 if cgroup.mode == "v2" else 0)
    if cgroup.path:
        assert os.stat(f"{cgroup.path}/cgroup.procs").st_uid == 1234
        assert os.stat(f"{cgroup.path}/memory.max").st_uid == 0


ROOTLESS = """
import sys
from pyrun.cgroups import directories
from pyrun.cgroups.cgroup import Cgroup
from pyrun.errors import CgroupError
from pyrun.cgroups.host import host

cgroup = Cgroup(host(), "id", "/pyrun-test-rootless", rootless=sys.argv[1] == "True")
try:
    cgroup.create()
    cgroup.add(1)
    cgroup.apply(cgroup.writes({"devices": [{"allow": False}]}))
    print("tolerated")
    cgroup.apply(cgroup.writes({"pids": {"limit": 5}}))
except CgroupError as error:
    print(error.pointer, "|", error.what, "|", error.errno, "|", error.hint)
cgroup.destroy()
"""


@pytest.mark.parametrize("rootless", [True, False])
def test_without_the_right_to_make_one(rootless: bool) -> None:
    open_to_all()
    command = [sys.executable, "-c", ROOTLESS, str(rootless)]
    environment = {"PYTHONPATH": str(Path(pyrun.__file__).parents[1])}
    done = subprocess.run(
        command, user=65534, group=65534, extra_groups=[], env=environment, capture_output=True, text=True, check=False
    )
    *before, last = done.stdout.splitlines()
    assert before == (["tolerated"] if rootless else [])
    pointer, message, number, hint = last.split(" | ")
    assert pointer == ("/linux/resources/pids/limit" if rootless else "/linux/cgroupsPath")
    assert message.startswith("mkdir /sys/fs/cgroup/") and int(number) == errno.EACCES
    assert "delegated" in hint


# The eBPF program, loaded and attached as the executor does it --------------------------------------------------------

BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
BPF_PROG_LOAD, BPF_PROG_ATTACH, BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE = 5, 8, 15, 6
libc = ctypes.CDLL(None, use_errno=True)


class LoadAttr(ctypes.Structure):
    _fields_ = [
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("rest", ctypes.c_uint8 * 80),
    ]


class AttachAttr(ctypes.Structure):
    _fields_ = [
        ("target_fd", ctypes.c_uint32),
        ("attach_bpf_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 112),
    ]


def load(program: bytes) -> int:
    code, log = ctypes.create_string_buffer(program, len(program)), ctypes.create_string_buffer(65536)
    gpl = ctypes.create_string_buffer(b"GPL")
    attr = LoadAttr(
        BPF_PROG_TYPE_CGROUP_DEVICE, len(program) // 8, ctypes.addressof(code), ctypes.addressof(gpl), 1, len(log),
        ctypes.addressof(log),
    )  # fmt: skip
    fd: int = libc.syscall(BPF, BPF_PROG_LOAD, ctypes.byref(attr), ctypes.sizeof(attr))
    if fd < 0 and not log.value:
        pytest.skip(f"no bpf(2) here: {os.strerror(ctypes.get_errno())}")
    assert fd >= 0, log.value.decode()
    return fd


@pytest.mark.parametrize(
    "rules",
    [
        [DENY_ALL],
        [{"allow": True}],
        [{"allow": True, "type": "c", "access": "r"}, {"allow": False, "type": "b", "major": 8, "access": "wm"}],
        [DENY_ALL, {"allow": True, "type": "a", "major": 0xFFFFFFFF, "minor": 1, "access": "rm"}],
    ],
)
def test_the_verifier_takes_the_program(rules: list[dict[str, Any]]) -> None:
    os.close(load(v2_device_program(rules)))


def test_the_program_decides(cgroup: Cgroup) -> None:
    paths = [d.path for d in cgroup.directories if not d.controllers]
    if not paths:
        pytest.skip("no cgroup2 here")
    fd = load(v2_device_program([DENY_ALL, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}]))
    target = os.open(paths[0], os.O_RDONLY | os.O_DIRECTORY)
    attr = AttachAttr(target, fd, BPF_CGROUP_DEVICE, 0)
    try:
        if libc.syscall(BPF, BPF_PROG_ATTACH, ctypes.byref(attr), ctypes.sizeof(attr)) < 0:
            pytest.skip(f"no cgroup device programs: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(target)
        os.close(fd)
    opens = (": <$d/kmsg", ": >$d/kmsg", ": <$d/port", ": >/dev/null")
    script = "read go; " + "; ".join(f"({o}) 2>/dev/null && echo yes || echo no" for o in opens)
    nodes = Path(f"/tmp/pyrun-test-nodes-{os.getpid()}")
    nodes.mkdir()
    try:
        os.mknod(nodes / "kmsg", 0o600 | 0o020000, os.makedev(1, 11))
        os.mknod(nodes / "port", 0o600 | 0o020000, os.makedev(1, 4))
        with subprocess.Popen(
            ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"d": str(nodes)}
        ) as process:
            cgroup.add(process.pid)
            out, _ = process.communicate("\n", timeout=10)
    finally:
        for node in nodes.iterdir():
            node.unlink()
        nodes.rmdir()
    assert out.split() == ["yes", "no", "no", "yes"]
