"""pause, resume, ps, events, update, exec --cgroup, and kill and delete of many: what they do to a real container."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import Container, message, own_cgroup

pytestmark = [pytest.mark.guest, pytest.mark.systemd]

V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
SPIN = "while :; do :; done"


@pytest.fixture
def running(container: Container) -> Container:
    """A container with two processes, both there."""
    container.sh("sleep 1000 & echo > /dev/shm/up; exec sleep 1000")
    container.create()
    container.start()
    while not (Path(f"/proc/{container.pid}/root/dev/shm/up")).exists():
        pass
    return container


def value(container: Container, controller: str, file: str) -> str:
    return (own_cgroup(container, controller) / file).read_text().strip()


# pause and resume


def test_pause_and_resume(running: Container) -> None:
    runtime = running.runtime
    runtime.ok("pause", running.id)
    assert running.status == "paused"
    assert json.loads(runtime.ok("list", "--format", "json"))[0]["status"] == "paused"
    runtime.ok("resume", running.id)
    assert running.status == "running"


def test_a_created_container_can_be_paused(container: Container) -> None:
    container.unlike(crun="1.8 starts it")
    container.create()
    container.runtime.ok("pause", container.id)
    assert container.status == "paused"
    assert container.runtime("start", container.id).code == 1
    container.runtime.ok("resume", container.id)
    assert container.status == "created"


@pytest.mark.pyrun_only("its own words")
@pytest.mark.parametrize(
    ("verbs", "words"),
    [
        (["resume"], "container not paused"),
        (["pause", "pause"], "container is paused already"),
    ],
)
def test_twice(running: Container, verbs: list[str], words: str) -> None:
    *before, last = verbs
    for verb in before:
        running.runtime.ok(verb, running.id)
    done = running.runtime(last, running.id)
    assert done.code == 1
    assert message(done.err.strip()).startswith(words)


@pytest.mark.pyrun_only("its own words")
@pytest.mark.parametrize("verb", ["pause", "events", "update"])
def test_a_stopped_container(container: Container, verb: str) -> None:
    container.args = ["true"]
    container.create()
    container.start_and_wait()
    done = container.runtime(verb, container.id)
    assert done.code == 1
    assert "container not running" in done.err


def test_sigkill_ends_a_paused_container(running: Container) -> None:
    running.unlike(crun="on cgroup v1 it waits for resume")
    pid = running.pid
    running.runtime.ok("pause", running.id)
    running.kill("KILL")
    assert running.wait(pid) == -9
    running.delete()


def test_delete_force_of_a_paused_container(running: Container) -> None:
    running.runtime.ok("pause", running.id)
    running.delete("--force")
    assert not running.exists()


# ps


def test_ps(running: Container) -> None:
    pids = json.loads(running.runtime.ok("ps", "--format", "json", running.id))
    assert running.pid in pids
    assert len(pids) == 2
    running.unlike(crun="prints only pids")
    if subprocess.run(["ps", "-ef"], capture_output=True, check=False).returncode:
        pytest.skip("the host's own ps fails")
    heading, *lines = running.runtime.ok("ps", running.id).splitlines()
    assert heading.split()[:2] == ["UID", "PID"]
    assert sorted(int(line.split()[1]) for line in lines) == sorted(pids)


def test_ps_with_arguments(running: Container) -> None:
    running.unlike(crun="prints only pids")
    heading, *lines = running.runtime.ok("ps", running.id, "-e", "-o", "pid,args").splitlines()
    assert heading.split() == ["PID", "COMMAND"]
    assert [line.split()[1] for line in lines] == ["sleep", "sleep"]


@pytest.mark.pyrun_only("its own words")
@pytest.mark.parametrize(
    ("arguments", "words"), [(["-o", "nonsense"], "ps -o nonsense"), (["-e", "-o", "args"], "no column PID")]
)
def test_ps_that_fails(running: Container, arguments: list[str], words: str) -> None:
    done = running.runtime("ps", running.id, *arguments)
    assert done.code == 1
    assert words in done.err
    assert len(done.err.splitlines()) == 1


# events


@pytest.mark.differs(crun="1.8 has no events")
def test_stats(container: Container) -> None:
    container.linux["resources"] |= {"memory": {"limit": 64 << 20}, "pids": {"limit": 50}}
    container.sh(f"sleep 1000 & {SPIN}")
    container.create()
    container.start()
    data: dict[str, Any] = {"pids": {}, "cpu": {"usage": {"total": 0}}}
    while data["pids"].get("current") != 2 or not data["cpu"]["usage"]["total"]:  # some kernels' clocks are coarse
        event = json.loads(container.runtime.ok("events", "--stats", container.id))
        assert (event["type"], event["id"]) == ("stats", container.id)
        data = event["data"]
    assert data["pids"] == {"current": 2, "limit": 50}
    assert data["memory"]["usage"]["limit"] == 64 << 20
    assert 0 < data["memory"]["usage"]["usage"] < 64 << 20
    assert data["memory"]["raw"]
    if container.runtime.name == "pyrun":  # the others leave out what is 0
        assert data["cpu"]["throttling"].keys() == {"periods", "throttledPeriods", "throttledTime"}
    assert all(name in data for name in ("blkio", "hugetlb", "cpuset"))


@pytest.mark.pyrun_only("crun 1.8 has no events, and runc's don't always end")
def test_events_until_the_end(running: Container) -> None:
    command = running.runtime.command("events", "--interval", "50ms", running.id)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout
        for _ in range(2):
            assert json.loads(events.stdout.readline())["type"] == "stats"
        pid = running.pid
        running.kill("KILL")
        running.wait(pid)
        assert events.wait(20) == 0


@pytest.mark.pyrun_only("old peers have none of it")
def test_the_network(container: Container) -> None:
    name = f"ps{os.getpid()}"
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True)
    container.linux["netDevices"] = {name: {"name": "net0"}}
    container.args = ["sleep", "1000"]
    container.create()
    data = json.loads(container.runtime.ok("events", "--stats", container.id))["data"]
    assert [row["Name"] for row in data["network_interfaces"]] == ["net0"]
    assert data["network_interfaces"][0].keys() >= {"RxBytes", "TxDropped"}
    container.delete("--force")


HOG = "x=a; while :; do x=$x$x; done"


@pytest.mark.pyrun_only("crun 1.8 has no events, and when runc watches can't be seen")
def test_oom_notices(container: Container) -> None:
    """A child of init is killed, init lives on; that the cgroup goes in the end is no notice."""
    container.linux["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    container.sh(f"read go; sh -c '{HOG}'; sleep 1000")
    read, write = os.pipe()
    container.write()
    command = container.runtime.command("create", "--bundle", container.path, container.id)
    subprocess.run(command, stdin=read, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    os.close(read)
    container.start()
    command = container.runtime.command("events", "--interval", "1h", container.id)
    events = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert events.stdout
    try:
        while events.poll() is None and not watches(events.pid):
            pass
        os.write(write, b"go\n")
        assert json.loads(events.stdout.readline()) == {"type": "oom", "id": container.id}
        pid = container.pid
        container.kill("KILL")
        container.wait(pid)
        assert events.stdout.read() == ""
        assert events.wait(20) == 0
    finally:
        events.kill()
        events.wait()
        events.stdout.close()
        os.close(write)
    container.delete()


def watches(pid: int) -> bool:
    for entry in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            name = os.readlink(f"/proc/{pid}/fd/{entry}")
            if "eventfd" in name or "memory.events" in name:
                return True
    return False


@pytest.mark.pyrun_only("its own words")
@pytest.mark.parametrize("interval", ["0s", "5", "x", "-1s", "1s2", "9999999h", ""])
def test_intervals_that_are_none(running: Container, interval: str) -> None:
    done = running.runtime("events", f"--interval={interval}", "--stats", running.id)
    assert done.code == (1 if interval else 0)


# update


def limits(container: Container) -> dict[str, str]:
    """By the kernel's files, in the terms of v1."""
    if V2:
        quota, period = value(container, "cpu", "cpu.max").split()
        return {
            "memory": value(container, "memory", "memory.max"),
            "pids": value(container, "pids", "pids.max"),
            "quota": "-1" if quota == "max" else quota,
            "period": period,
            "shares": {"39": "512", "40": "512", "59": "512"}.get(value(container, "cpu", "cpu.weight"), "?"),
        }
    return {
        "memory": value(container, "memory", "memory.limit_in_bytes"),
        "pids": value(container, "pids", "pids.max"),
        "quota": value(container, "cpu", "cpu.cfs_quota_us"),
        "period": value(container, "cpu", "cpu.cfs_period_us"),
        "shares": value(container, "cpu", "cpu.shares"),
    }


WANTED = {"memory": str(48 << 20), "pids": "33", "quota": "20000", "period": "50000", "shares": "512"}


def test_update_by_options(running: Container) -> None:
    running.runtime.ok(
        "update", "--memory", "48m" if running.runtime.name == "pyrun" else str(48 << 20), "--pids-limit", "33",
        "--cpu-quota", "20000", "--cpu-period", "50000", "--cpu-share", "512", running.id,
    )  # fmt: skip
    assert limits(running) == WANTED


@pytest.mark.parametrize("form", ["--resources=FILE", "--resources -", "-r FILE"])
def test_update_by_a_document(running: Container, tmp_path: Path, form: str) -> None:
    document: dict[str, Any] = {
        "memory": {"limit": 48 << 20},
        "pids": {"limit": 33},
        "cpu": {"quota": 20000, "period": 50000, "shares": 512},
        "devices": [{"allow": False, "access": "rwm"}],
    }
    file = tmp_path / "resources"
    file.write_text(json.dumps(document))
    with file.open() as stdin:
        words = form.replace("FILE", str(file)).split()
        done = running.runtime("update", *words, running.id, stdin=stdin)
    assert done.code == 0, done
    assert limits(running) == WANTED
    # Device rules are left alone: the container may still open its null device.
    assert running.runtime("exec", running.id, "sh", "-c", "echo x > /dev/null").code == 0


def test_what_is_not_named_stays(running: Container) -> None:
    runtime = running.runtime
    runtime.ok("update", "--cpu-quota", "20000", "--cpu-period", "50000", "--pids-limit", "33", running.id)
    runtime.ok("update", "--cpu-quota", "30000", running.id)
    found = limits(running)
    assert (found["quota"], found["period"], found["pids"]) == ("30000", "50000", "33")
    runtime.ok("update", "--cpu-period", "100000", running.id)
    found = limits(running)
    if runtime.name == "pyrun":
        assert (found["quota"], found["period"]) == ("30000", "100000")


def test_no_limit_again(running: Container) -> None:
    running.runtime.ok("update", "--memory", str(48 << 20), "--memory-swap", str(48 << 20), running.id)
    running.unlike(crun="1.8 refuses -1 for swap")
    running.runtime.ok("update", "--memory", "-1", "--memory-swap", "-1", running.id)
    assert limits(running)["memory"] == "max" if V2 else int(limits(running)["memory"]) > 1 << 60


def test_no_limit_takes_swap_along(running: Container) -> None:
    running.runtime.ok("update", "--memory", str(48 << 20), "--memory-swap", str(48 << 20), running.id)
    running.unlike(crun="1.8 does not")
    running.runtime.ok("update", "--memory=-1", running.id)
    assert limits(running)["memory"] == "max" if V2 else int(limits(running)["memory"]) > 1 << 60


def test_a_form_that_is_not_filled_in(running: Container, tmp_path: Path) -> None:
    """runc's users send the whole form: 0 and "" leave things as they are."""
    running.unlike(crun="1.8 takes 0 at its word")
    running.runtime.ok("update", "--memory", str(48 << 20), "--memory-swap", str(64 << 20), running.id)
    before = limits(running)
    form = tmp_path / "form.json"
    cpu = dict.fromkeys(("shares", "quota", "period", "realtimeRuntime", "realtimePeriod"), 0) | {
        "cpus": "",
        "mems": "",
    }
    memory = {"limit": 0, "reservation": 0, "swap": 0}
    form.write_text(json.dumps({"memory": memory, "cpu": cpu, "blockIO": {"weight": 0}}))
    running.runtime.ok("update", "--resources", form, running.id)
    assert limits(running) == before
    running.runtime.ok("update", "--memory-swap", str(80 << 20), running.id)  # the limit is still known
    assert limits(running)["memory"] == before["memory"]


@pytest.mark.parametrize(("first", "then"), [(32, 64), (64, 32)])
def test_memory_and_swap_go_in_the_order_that_the_kernel_takes(running: Container, first: int, then: int) -> None:
    for size in (first, then):
        running.runtime.ok("update", "--memory", str(size << 20), "--memory-swap", str(size << 20), running.id)
        assert limits(running)["memory"] == str(size << 20)


@pytest.mark.pyrun_only("the peers leave what was written before")
def test_all_or_nothing(running: Container, tmp_path: Path) -> None:
    before = limits(running)
    absent = [{"major": 4095, "minor": 0, "rate": 1}]  # no such device: the kernel says so when others are written
    wanted = {"memory": {"limit": 48 << 20}, "pids": {"limit": 33}, "blockIO": {"throttleReadBpsDevice": absent}}
    (tmp_path / "wanted").write_text(json.dumps(wanted))
    done = running.runtime("update", "--resources", str(tmp_path / "wanted"), running.id)
    assert done.code == 1
    assert "/linux/resources/blockIO" in done.err
    assert limits(running) == before


@pytest.mark.pyrun_only("its own words")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--memory", "many"], "--memory takes a number"),
        (["--memory", "1.e999"], "--memory takes a number"),
        (["--memory", "48m", "--memory-swap", "1m"], "/memory/swap"),
        (["--cpu-idle", "2"], "/cpu/idle"),
        (["--resources", "/nowhere"], "open /nowhere"),
        (["--resources", "/etc/passwd"], "invalid resources"),
        (["--l3-cache-schema", "L3:0=f"], "no resctrl group"),
        (["--blkio-weight", "5"], "/blockIO/weight"),
    ],
)
def test_what_update_refuses(running: Container, options: list[str], words: str) -> None:
    done = running.runtime("update", *options, running.id)
    assert done.code == 1
    assert words in message(done.err.strip())


# exec --cgroup


@pytest.mark.pyrun_only("runc 1.1 has it, crun too, with other paths")
def test_exec_in_a_cgroup_below(running: Container) -> None:
    below = own_cgroup(running, "pids") / "below"
    below.mkdir()
    try:
        option = "below" if V2 else "pids:/below"
        seen = running.runtime.ok("exec", "--cgroup", option, running.id, "cat", "/proc/self/cgroup")
        lines = [line for line in seen.splitlines() if V2 or ":pids:" in line]
        assert lines[0].endswith("/below")
    finally:
        below.rmdir()


@pytest.mark.pyrun_only("its own words")
@pytest.mark.parametrize("path", ["../..", "x/../..", "nowhere", "nonsense:/"])
def test_exec_in_no_cgroup(running: Container, path: str) -> None:
    done = running.runtime("exec", "--cgroup", path, running.id, "true")
    assert done.code == 255
    assert "--cgroup" in done.err


@pytest.mark.skipif(not V2, reason="about cgroup v2")
@pytest.mark.pyrun_only("old")
def test_exec_where_init_has_moved_away(running: Container) -> None:
    """What runs inside has made cgroups and given them controllers: their parent takes no process any more."""
    top = own_cgroup(running, "")
    inner = top / "inner"
    inner.mkdir()
    for pid in (top / "cgroup.procs").read_text().split():
        (inner / "cgroup.procs").write_text(pid)
    (top / "cgroup.subtree_control").write_text("+pids")
    seen = running.runtime.ok("exec", running.id, "cat", "/proc/self/cgroup")
    assert seen.strip().endswith("/inner") or seen.strip() == "0::/inner"
    running.delete("--force")


# kill and delete of many


@pytest.mark.pyrun_only("crun's")
def test_regex(container: Container, new_container: Any) -> None:
    others = [new_container(), new_container()]
    for each in (container, *others):
        each.args = ["sleep", "1000"]
        each.create()
        each.start()
    pids = [each.pid for each in others]
    runtime = container.runtime
    pattern = f"^({'|'.join(each.id for each in others)})$"
    runtime.ok("kill", "--regex", pattern, "KILL")
    for each, pid in zip(others, pids, strict=True):
        assert each.wait(pid) == -9
    assert container.status == "running"
    runtime.ok("delete", "--regex", pattern)
    assert runtime.ids() == [container.id]
    assert runtime("delete", "--regex", container.id).code == 1
    runtime.ok("delete", "--force", "--regex", ".")
    assert runtime.ids() == []
    assert runtime("kill", "--regex", "(", "KILL").code == 1


@pytest.mark.pyrun_only("its own words")
def test_what_update_does_not_know(running: Container, tmp_path: Path) -> None:
    """A limit with a wrong name is no limit: that is said, and the rest is done."""
    (tmp_path / "wanted").write_text('{"pids": {"limit": 40, "limt": 50}}')
    done = running.runtime("update", "-r", str(tmp_path / "wanted"), running.id)
    assert done.code == 0
    assert "/pids/limt: has no effect: it is unknown (did you mean limit?)" in done.err


@pytest.mark.pyrun_only("the peers need ps(1)")
def test_ps_without_ps(running: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a host without procps: in a process of the test's own, which has no ps in its directories."""
    code = (
        "import sys; from pyrun.cli import ps; ps._DIRECTORIES = ('/nowhere',)\n"
        "from pyrun.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )

    def ps(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, "--root", str(running.runtime.root), "ps", running.id, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    for arguments in (("-eo", "pid,comm,rss"), ("-o", "pid"), ("-o", "pid,comm,rss")):
        heading, *lines = ps(*arguments).stdout.splitlines()
        assert heading.split()[0] == "PID"
        assert str(running.pid) in [line.split()[0] for line in lines]
    assert ps("-ef").stdout == running.runtime.ok("ps", running.id)
    refused = ps("-o", "pid,wchan")
    assert refused.returncode == 1
    assert "without it there are -f, and -o with" in refused.stderr
