"""Limits take effect: seen from inside the container, in the kernel's files, and by what becomes of who breaks them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness import Container, cgroups, hear, message, own_cgroup

pytestmark = [pytest.mark.guest, pytest.mark.systemd]

V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
MIB = 1 << 20
OUT_OF_MEMORY = "org.pyrun.out-of-memory"


def limit_memory(container: Container, limit: int) -> None:
    container.linux["resources"]["memory"] = {"limit": limit}
    if V2 or Path("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists():
        container.linux["resources"]["memory"]["swap"] = limit


def hog(container: Container, size: int = 40) -> None:
    """The program of the container writes to memory until it is killed."""
    container.mount("/tmp", "tmpfs", "tmpfs")
    container.args = ["/bin/dd", "if=/dev/zero", "of=/tmp/x", "bs=1M", f"count={size}"]


def figures(path: Path) -> dict[str, int]:
    """A file of "key number" lines."""
    return {key: int(number) for key, number in (line.split() for line in path.read_text().splitlines())}


INSIDE = [
    ({"memory": {"limit": 48 * MIB}}, "memory/memory.limit_in_bytes", "memory.max", "50331648", "50331648"),
    ({"memory": {"reservation": 24 * MIB}}, "memory/memory.soft_limit_in_bytes", "memory.low", "25165824", "25165824"),
    ({"pids": {"limit": 21}}, "pids/pids.max", "pids.max", "21", "21"),
    ({"cpu": {"shares": 512}}, "cpu/cpu.shares", "cpu.weight", "512", "59"),
    ({"cpu": {"quota": 20000, "period": 50000}}, "cpu/cpu.cfs_quota_us", "cpu.max", "20000", "20000 50000"),
    ({"cpu": {"cpus": "0"}}, "cpuset/cpuset.cpus", "cpuset.cpus", "0", "0"),
]


@pytest.mark.parametrize(("resources", "v1", "v2", "v1_text", "v2_text"), INSIDE)
def test_seen_from_inside(
    container: Container, resources: dict[str, Any], v1: str, v2: str, v1_text: str, v2_text: str
) -> None:
    container.linux["resources"] |= resources
    if V2:
        if "shares" in str(resources):
            container.unlike(runc="1.1 has an older formula", crun="1.8 has an older formula")
        controller = v2.partition(".")[0]
        if controller not in Path("/sys/fs/cgroup/cgroup.controllers").read_text().split():
            pytest.skip(f"no {controller} controller")
        container.namespace("cgroup")
    seen = container.sees(f"cat /sys/fs/cgroup/{v2 if V2 else v1}")
    assert seen == (v2_text if V2 else v1_text)


def test_cpus_are_those_that_a_process_may_use(container: Container) -> None:
    container.linux["resources"]["cpu"] = {"cpus": "1"}
    if os.cpu_count() == 1 or (V2 and "cpuset" not in Path("/sys/fs/cgroup/cgroup.controllers").read_text()):
        pytest.skip("one CPU, or no cpuset controller")
    assert container.sees("grep Cpus_allowed_list /proc/self/status; nproc").split() == ["Cpus_allowed_list:", "1", "1"]


def test_a_fork_bomb(container: Container) -> None:
    """It stays within its limit, and can be ended."""
    container.linux["resources"]["pids"] = {"limit": 16}
    # A shell that can't fork gives up, so the first one does nothing more.
    container.sh("bomb() { bomb & bomb; }; while :; do bomb; done 2> /dev/null & echo up; exec sleep 1000")
    read, write = os.pipe()
    container.create(stdout=write)
    os.close(write)
    at = own_cgroup(container, "pids")
    pid = container.pid
    container.start()
    assert hear(read) == b"up\n"
    end = time.monotonic() + 20
    while int((at / "pids.events").read_text().split()[1]) < 5:
        assert time.monotonic() < end, "the limit is never met"
        assert int((at / "pids.current").read_text()) <= 16
        time.sleep(0.01)
    container.kill("KILL")
    assert container.wait(pid) == -9
    assert hear(read) == b""  # nobody is left
    os.close(read)


def test_a_memory_hog(container: Container) -> None:
    """It is killed, and the kernel has counted it."""
    limit_memory(container, 8 * MIB)
    container.sh("dd if=/dev/zero of=/tmp/x bs=1M count=40 2> /dev/null; echo $?; read end")
    container.mount("/tmp", "tmpfs", "tmpfs")
    read, write = os.pipe()
    stdin, hold = os.pipe()
    container.create(stdin=stdin, stdout=write)
    os.close(write)
    os.close(stdin)
    at = own_cgroup(container, "memory")
    container.start()
    assert hear(read) == b"137\n"
    if V2:
        assert figures(at / "memory.events")["oom_kill"] == 1
        assert figures(at / "memory.events")["max"] > 0
    else:
        assert figures(at / "memory.oom_control")["oom_kill"] == 1
        assert int((at / "memory.max_usage_in_bytes").read_text()) <= 8 * MIB
    os.close(hold)
    os.close(read)


def test_a_busy_loop_under_a_quota(container: Container) -> None:
    """A tenth of a CPU: it is throttled again and again, and gets no more than that."""
    container.linux["resources"]["cpu"] = {"quota": 5000, "period": 50000}
    container.sh("while :; do :; done")
    container.create()
    at = own_cgroup(container, "cpu")
    container.start()
    end = time.monotonic() + 20
    while (now := figures(at / "cpu.stat"))["nr_throttled"] < 6:
        assert time.monotonic() < end, now
        time.sleep(0.02)
    # Of each period in which it ran it got the quota, and the tick that it takes to notice.
    used = now["usage_usec"] if V2 else int((own_cgroup(container, "cpuacct") / "cpuacct.usage").read_text()) // 1000
    assert used < now["nr_periods"] * 25000 + 100000
    container.delete("--force")


def test_a_write_below_a_throttle(container: Container) -> None:
    """The kernel has the rate for a real disk; that it takes effect can't be seen without one of our own."""
    container.linux["resources"]["blockIO"] = {"throttleWriteBpsDevice": [{"major": 7, "minor": 0, "rate": 1 << 20}]}
    if not Path("/sys/dev/block/7:0").exists():
        pytest.skip("no loop device")
    container.create()
    file = own_cgroup(container, "io" if V2 else "blkio") / ("io.max" if V2 else "blkio.throttle.write_bps_device")
    assert "1048576" in file.read_text()


# Why it died ----------------------------------------------------------------------------------------------------------


@pytest.mark.pyrun_only("its own words")
def test_run_says_why(container: Container) -> None:
    limit_memory(container, 8 * MIB)
    hog(container)
    done = container.run()
    assert done.code == 137
    if container.runtime.wide:
        pytest.skip("systemd has taken the counters away")
    words = message(done.err.strip())
    assert words.startswith(f"container {container.id} was killed: OOM killer: 1 process killed")
    assert "(memory limit 8388608 bytes, peak 8" in words


@pytest.mark.pyrun_only("its own annotation")
def test_state_says_why(container: Container) -> None:
    limit_memory(container, 8 * MIB)
    hog(container)
    container.config["annotations"] = {"org.example": "kept"}
    container.create()
    assert OUT_OF_MEMORY not in container.state()["annotations"]
    assert container.start_and_wait() == -9
    found = container.state()["annotations"]
    assert found.pop("org.example") == "kept"
    if not container.runtime.wide:
        assert "memory limit 8388608 bytes" in found[OUT_OF_MEMORY]


@pytest.mark.pyrun_only("its own annotation")
def test_state_says_nothing_of_another_end(container: Container) -> None:
    container.args = ["true"]
    container.create()
    container.start_and_wait()
    assert "annotations" not in container.state()


@pytest.mark.pyrun_only("its own words")
@pytest.mark.parametrize("limit", [4096, 128 << 10])
def test_create_says_why(container: Container, limit: int) -> None:
    """Too little for what is needed before the program runs."""
    container.linux["resources"]["memory"] = {"limit": limit}
    container.write()
    done = container.runtime("create", "--bundle", container.path, container.id)
    if done.code == 0:
        assert limit > 4096  # enough, here
        return
    assert "/linux/resources/memory" in done.err
    assert not container.exists()


# Many -----------------------------------------------------------------------------------------------------------------

MANY = 60 if V2 else 200


def test_many_at_once_leave_nothing(container: Container) -> None:
    """Created, started, ended and deleted side by side, each in a cgroup with a parent of its own."""
    container.unlike(runc="1.1 leaves the parent", crun="1.8 leaves the parent")
    container.args = ["/bin/true"]
    container.config["root"]["path"] = str(container.rootfs)
    container.linux["resources"]["pids"] = {"limit": 20}
    commands = []
    for i in range(MANY):
        name = f"{container.id}-{i}"
        if not container.runtime.wide:
            container.linux["cgroupsPath"] = f"/{name}/inner"
        bundle = container.path / name
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(container.config))
        commands.append(container.runtime.command("run", "--bundle", bundle, name))

    def run(command: list[str]) -> tuple[int, bytes]:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        return done.returncode, done.stderr

    with ThreadPoolExecutor(8) as workers:
        assert set(workers.map(run, commands)) == {(0, b"")}
    assert container.runtime.ids() == []
    assert cgroups(container.id) == []
