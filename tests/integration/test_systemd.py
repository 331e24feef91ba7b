"""The systemd driver where systemd is process 1: what it is told, what it keeps, and what is left afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import PYRUN, Container, cgroups, message, open_to_all

from pyrun.cgroups.annotations import _CONDUCT, _LIMITS

MANAGER = "org.freedesktop.systemd1"
MIB = 1 << 20
pytestmark = [
    pytest.mark.systemd,
    pytest.mark.skipif(
        Path("/proc/1/comm").read_text() != "systemd\n" or not Path("/run/dbus/system_bus_socket").exists(),
        reason="systemd is not process 1",
    ),
]


@pytest.fixture
def scoped(container: Container) -> Container:
    """A container in a scope of a slice of its own."""
    container.runtime.wide = ("--systemd-cgroup",)  # type: ignore[misc]
    container.linux["cgroupsPath"] = f"pyruntest-inner.slice:some:{container.id}"
    container.args = ["/bin/sleep", "1000"]
    return container


def unit(container: Container) -> str:
    return f"some-{container.id}.scope"


def show(name: str, *properties: str) -> dict[str, str]:
    command = ["systemctl", "show", name, f"--property={','.join(properties)}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(line.split("=", 1) for line in text.splitlines())


def folder(container: Container) -> Path:
    return Path(f"/sys/fs/cgroup/pyruntest.slice/pyruntest-inner.slice/{unit(container)}")


def reload() -> None:
    subprocess.run(["systemctl", "daemon-reload"], check=True)


def gone(container: Container) -> bool:
    end = time.monotonic() + 10
    while show(unit(container), "ActiveState")["ActiveState"] != "inactive" and time.monotonic() < end:
        time.sleep(0.02)
    return show(unit(container), "LoadState")["LoadState"] == "not-found" and cgroups(container.id) == []


@contextlib.contextmanager
def other(container: Container) -> Iterator[subprocess.Popen[bytes]]:
    """A process of somebody else's in a scope that has the container's name."""
    command = ["systemd-run", "--quiet", "--collect", "--scope", f"--unit={unit(container)}"]
    with subprocess.Popen([*command, "--slice=pyruntest-inner.slice", "sleep", "1000"]) as process:
        try:
            end = time.monotonic() + 10
            while show(unit(container), "ActiveState")["ActiveState"] != "active":
                assert time.monotonic() < end
                time.sleep(0.02)
            yield process
        finally:
            subprocess.run(["systemctl", "stop", unit(container)], check=False)
            process.wait(10)
    assert gone(container)


def test_a_scope_in_a_slice(scoped: Container) -> None:
    scoped.unlike(crun="1.8 has a cgroup of its own below the scope")
    scoped.create()
    found = show(unit(scoped), "Slice", "Delegate", "ActiveState", "Transient", "CollectMode")
    assert found["Slice"] == "pyruntest-inner.slice"
    assert (found["Delegate"], found["ActiveState"], found["Transient"]) == ("yes", "active", "yes")
    assert (folder(scoped) / "cgroup.procs").read_text().split() == [str(scoped.pid)]
    scoped.delete()
    assert gone(scoped)


def test_a_cgroup_in_the_scope(scoped: Container) -> None:
    """crun's annotation: it is the container's own, and the root of its view."""
    scoped.unlike(runc="crun's own")
    scoped.namespace("cgroup")
    scoped.config["annotations"] = {"run.oci.systemd.subgroup": "box"}
    scoped.linux["resources"] |= {"memory": {"limit": 64 * MIB}, "devices": [{"allow": False, "access": "rwm"}]}
    scoped.create()
    assert (folder(scoped) / "box/cgroup.procs").read_text().split() == [str(scoped.pid)]
    assert (folder(scoped) / "memory.max").read_text() == f"{64 * MIB}\n"
    scoped.start()
    assert scoped.runtime.ok("exec", scoped.id, "/bin/cat", "/proc/self/cgroup") == "0::/\n"
    scoped.runtime.ok("pause", scoped.id)
    assert scoped.status == "paused"
    scoped.runtime.ok("resume", scoped.id)
    scoped.delete("--force")
    assert gone(scoped)


@pytest.mark.pyrun_only("its own name")
def test_a_scope_by_default(scoped: Container) -> None:
    del scoped.linux["cgroupsPath"]
    scoped.create()
    assert show(f"pyrun-{scoped.id}.scope", "Slice")["Slice"] == "system.slice"


def test_systemd_knows_the_limits(scoped: Container) -> None:
    scoped.unlike(runc="1.1 has an older formula for the weight", crun="1.8 too")
    scoped.linux["resources"] |= {
        "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB},
        "cpu": {"shares": 512, "quota": 20000, "period": 50000},
        "pids": {"limit": 33},
        "unified": {"memory.high": str(48 * MIB)},
    }
    scoped.create()
    found = show(
        unit(scoped),
        "MemoryMax",
        "MemorySwapMax",
        "MemoryLow",
        "MemoryHigh",
        "CPUWeight",
        "CPUQuotaPerSecUSec",
        "TasksMax",
    )
    assert found == {
        "MemoryMax": str(64 * MIB),
        "MemorySwapMax": str(32 * MIB),
        "MemoryLow": str(32 * MIB),
        "MemoryHigh": str(48 * MIB),
        "CPUWeight": "59",
        "CPUQuotaPerSecUSec": "400ms",
        "TasksMax": "33",
    }
    files = ("memory.max", "memory.swap.max", "memory.low", "memory.high", "cpu.weight", "cpu.max", "pids.max")
    before = [(folder(scoped) / file).read_text() for file in files]
    reload()
    assert [(folder(scoped) / file).read_text() for file in files] == before
    assert before[5] == "20000 50000\n"


@pytest.mark.pyrun_only("peers round it up")
def test_a_quota_is_exact(scoped: Container) -> None:
    scoped.linux["resources"]["cpu"] = {"quota": 12345, "period": 100000}
    scoped.create()
    assert (folder(scoped) / "cpu.max").read_text() == "12345 100000\n"
    scoped.runtime.ok("update", "--cpu-quota", "23456", scoped.id)
    assert (folder(scoped) / "cpu.max").read_text() == "23456 100000\n"


def test_devices_stay_as_they_are(scoped: Container) -> None:
    """systemd writes its own rules anew at a reload: those that it doesn't know of would be gone."""
    allowed = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}
    scoped.linux["devices"] = [
        {"path": f"/dev/{name}", "type": "c", "major": 1, "minor": minor} for name, minor in (("kmsg", 11), ("port", 4))
    ]
    scoped.linux["resources"]["devices"] = [{"allow": False, "access": "rwm"}, allowed]
    scoped.create()
    scoped.start()
    script = "for name in kmsg port null; do (: < /dev/$name) 2> /dev/null && echo $name; done; true"
    assert scoped.runtime.ok("exec", scoped.id, "sh", "-c", script).split() == ["kmsg", "null"]
    reload()
    assert scoped.runtime.ok("exec", scoped.id, "sh", "-c", script).split() == ["kmsg", "null"]


def test_update_goes_through_systemd(scoped: Container) -> None:
    scoped.unlike(crun="1.8 has a cgroup of its own below the scope")
    scoped.linux["resources"]["pids"] = {"limit": 33}
    scoped.create()
    scoped.runtime.ok("update", "--pids-limit", "44", "--memory", str(80 * MIB), scoped.id)
    assert show(unit(scoped), "TasksMax", "MemoryMax") == {"TasksMax": "44", "MemoryMax": str(80 * MIB)}
    reload()
    assert (folder(scoped) / "pids.max").read_text() == "44\n"
    assert (folder(scoped) / "memory.max").read_text() == f"{80 * MIB}\n"


@pytest.mark.pyrun_only("peers leave half of it")
def test_update_of_all_or_nothing(scoped: Container, tmp_path: Path) -> None:
    scoped.linux["resources"]["pids"] = {"limit": 33}
    scoped.create()
    wanted = tmp_path / "wanted.json"
    wanted.write_text(json.dumps({"pids": {"limit": 44}, "unified": {"memory.high": "much"}}))
    done = scoped.runtime("update", "--resources", wanted, scoped.id)
    assert done.code == 1
    assert "memory.high" in done.err
    assert show(unit(scoped), "TasksMax") == {"TasksMax": "33"}
    assert (folder(scoped) / "pids.max").read_text() == "33\n"


def test_exec_is_in_the_scope(scoped: Container) -> None:
    scoped.unlike(crun="1.8 has a cgroup of its own below the scope")
    scoped.create()
    scoped.start()
    file = scoped.path / "pid"
    scoped.runtime.ok("exec", "--detach", "--pid-file", file, scoped.id, "sleep", "1000")
    assert file.read_text() in (folder(scoped) / "cgroup.procs").read_text().split()
    os.kill(int(file.read_text()), 9)
    os.waitpid(int(file.read_text()), 0)  # ours now, and init ends only after it
    scoped.delete("--force")
    assert gone(scoped)


def test_pause_and_resume(scoped: Container) -> None:
    scoped.unlike(crun="1.8 does not say so of a created one")
    scoped.create()
    scoped.runtime.ok("pause", scoped.id)
    assert scoped.status == "paused"
    scoped.runtime.ok("resume", scoped.id)
    scoped.delete("--force")
    assert gone(scoped)


def test_what_lingers_is_ended(scoped: Container) -> None:
    scoped.unlike(crun="1.8 has a cgroup of its own below the scope")
    scoped.without_namespace("pid")
    scoped.sh("sleep 1000 & sleep 1000 & exit 0")
    scoped.create()
    assert scoped.start_and_wait() == 0
    assert len((folder(scoped) / "cgroup.procs").read_text().split()) == 2
    scoped.delete("--force")
    assert gone(scoped)


def test_the_same_again_and_again(scoped: Container) -> None:
    """A name is free as soon as delete returns."""
    for _ in range(3):
        scoped.create()
        scoped.delete("--force")


def test_after_an_end_that_nobody_saw(scoped: Container) -> None:
    scoped.sh("exit 1")
    scoped.create()
    assert scoped.start_and_wait() == 1
    assert gone(scoped)  # systemd has taken it away
    assert scoped.status == "stopped"
    scoped.delete()


def test_an_annotation(scoped: Container) -> None:
    scoped.config["annotations"] = {
        "org.systemd.property.TimeoutStopUSec": "uint64 123000000",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.DefaultDependencies": "true",
        "org.systemd.property.After": "['crio.service']",
        "org.systemd.property.MemoryHigh": f"uint64 {64 * MIB}",
    }
    scoped.create()
    found = show(unit(scoped), "TimeoutStopUSec", "CollectMode", "DefaultDependencies", "After", "MemoryHigh")
    assert "crio.service" in found.pop("After").split()
    assert found == {
        "TimeoutStopUSec": "2min 3s",
        "CollectMode": "inactive-or-failed",
        "DefaultDependencies": "yes",
        "MemoryHigh": str(64 * MIB),
    }


@pytest.mark.pyrun_only("about its words")
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PIDs", "[uint32 1]", "can't be set by an annotation"),
        ("RequiresOverridable", "['emergency.target']", "can't be set by an annotation"),
        ("KillMode", "'none'", "KillMode must be 'control-group'"),
        ("TimeoutStopUSec", "'soon'", "TimeoutStopUSec must be a uint64"),
        ("TasksMax", "uint64 0xffffffffffffffff", "TasksMax is above systemd's DefaultTasksMax"),
        ("KillSignal", "999", "KillSignal"),
        ("IODeviceWeight", "[('/dev/../x', uint64 1)]", "IODeviceWeight"),
    ],
)
def test_an_annotation_that_is_refused(scoped: Container, name: str, value: str, words: str) -> None:
    """By pyrun, which knows what must not be; or by systemd, which knows what there is."""
    scoped.config["annotations"] = {f"org.systemd.property.{name}": value}
    scoped.refused(f"/annotations/org.systemd.property.{name}", words)
    assert gone(scoped)


@pytest.mark.pyrun_only("about its list")
def test_annotations_have_the_types_of_systemd(scoped: Container) -> None:
    scoped.create()
    path = subprocess.run(
        ["busctl", "call", MANAGER, "/org/freedesktop/systemd1", f"{MANAGER}.Manager", "GetUnit", "s", unit(scoped)],
        check=True, capture_output=True, text=True,
    ).stdout.split('"')[1]  # fmt: skip
    command = ["busctl", "introspect", "--no-legend", "--no-pager", MANAGER, path]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    types = {name[1:]: type_ for name, kind, type_, *_ in map(str.split, lines) if kind == "property"}
    allowed = {name: type_ for name, type_, *_ in _LIMITS} | _CONDUCT
    assert {"MemoryMax", "TimeoutStopUSec", "After"} <= set(types)
    assert {name: type_ for name, type_ in allowed.items() if types.get(name, type_) != type_} == {}
    scoped.delete()


@pytest.mark.pyrun_only("about its words")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/a/b", 'format "slice:prefix:name" for systemd cgroups'),
        ("a.slice:b:c.slice", "must name a scope"),
        ("nothing:b:c", "is no slice"),
    ],
)
def test_a_path_that_is_refused(scoped: Container, path: str, words: str) -> None:
    scoped.linux["cgroupsPath"] = path
    scoped.refused("/linux/cgroupsPath", words)


def test_a_name_that_is_in_use(scoped: Container) -> None:
    """It belongs to somebody else, and is left alone."""
    scoped.unlike(runc="1.1 moves into it")
    with other(scoped) as process:
        scoped.refused(unit(scoped), "already")
        assert process.poll() is None
        assert show(unit(scoped), "ActiveState")["ActiveState"] == "active"


@pytest.mark.pyrun_only("peers take it for theirs")
def test_a_name_that_another_has_now(scoped: Container) -> None:
    """The scope has ended with its last process; who has its name since is not to suffer for that."""
    scoped.args = ["/bin/true"]
    scoped.create()
    assert scoped.start_and_wait() == 0
    assert gone(scoped)
    with other(scoped) as process:
        assert scoped.status == "stopped"
        scoped.runtime("kill", "--all", scoped.id, "KILL")
        scoped.delete("--force")
        assert process.poll() is None


@pytest.mark.pyrun_only("peers leave the unit")
def test_killed_in_the_middle(scoped: Container) -> None:
    """What delete --force finds in the state is enough."""
    scoped.hook("createRuntime", "kill -9 $PPID")
    scoped.write()
    assert scoped.runtime("create", "--bundle", scoped.path, scoped.id).code == -9
    scoped.delete("--force")
    assert gone(scoped)


@pytest.mark.pyrun_only("its own state")
def test_half_made_with_the_id_of_another(scoped: Container) -> None:
    """Of a create that was killed before it came to its scope there is a name, which is the other's too."""
    scoped.create()
    scoped.start()
    root = scoped.path / "other"
    shutil.copytree(scoped.runtime.root / scoped.id, root / scoped.id, ignore=shutil.ignore_patterns("exec.*"))
    file = root / scoped.id / "state.json"
    state = json.loads(file.read_text())
    state["cgroup"] |= {"inode": 0, "invocation": "", "mark": "0" * 16}
    file.write_text(json.dumps({**state, "creating": True, "pid": 0, "started": 0}))
    command = [scoped.runtime.binary, "--root", root, "delete", "--force", scoped.id]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (root / scoped.id).exists()
    assert scoped.status == "running"
    assert show(unit(scoped), "ActiveState")["ActiveState"] == "active"
    scoped.delete("--force")
    assert gone(scoped)


@pytest.mark.pyrun_only("peers say nothing")
def test_systemd_is_busy_when_it_ends(scoped: Container) -> None:
    """The container is kept, so that it can be deleted when systemd answers again."""
    scoped.create()
    generator = Path("/run/systemd/system-generators") / scoped.id
    generator.parent.mkdir(exist_ok=True)
    started = scoped.path / "started"
    generator.write_text(f"#!/bin/sh\ntouch {started}\nsleep 40\n")
    generator.chmod(0o755)
    try:
        with subprocess.Popen(["systemctl", "daemon-reload"]) as reloading:
            end = time.monotonic() + 10
            while not started.exists():
                assert time.monotonic() < end
                time.sleep(0.02)
            done = scoped.runtime("delete", "--force", scoped.id, timeout=60)
            assert done.code == 1
            assert "has not answered within 30 s" in message(done.err)
            assert "delete it again" in done.err
            assert scoped.exists()
            assert reloading.wait(60) == 0
    finally:
        generator.unlink()
    scoped.delete("--force")
    assert gone(scoped)


@pytest.mark.pyrun_only("peers call it done")
def test_a_scope_that_is_not_made(scoped: Container) -> None:
    """A condition that fails is no failure to systemd: the job is done."""
    folder = Path(f"/run/systemd/system/{unit(scoped)}.d")
    folder.mkdir(parents=True)
    (folder / "never.conf").write_text("[Unit]\nConditionPathExists=/nowhere\n")
    reload()
    try:
        scoped.refused("/linux/cgroupsPath", f"start {unit(scoped)}: systemd says 'done', but there is no scope")
    finally:
        shutil.rmtree(folder)
        reload()
    assert gone(scoped)
    scoped.create()


def test_delete_without_systemd(scoped: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody answers any more, the directories can still be taken away."""
    scoped.unlike(runc="it needs the bus", crun="it needs the bus")
    scoped.create()
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere")
    scoped.delete("--force")
    assert gone(scoped)


@pytest.mark.pyrun_only("crun's option")
def test_no_cgroup_at_all(container: Container) -> None:
    container.runtime.wide = ("--cgroup-manager=disabled",)  # type: ignore[misc]
    own = Path("/proc/self/cgroup").read_text()
    container.sh("read end")
    container.create()
    assert Path(f"/proc/{container.pid}/cgroup").read_text() == own
    container.delete()
    container.linux["resources"]["pids"] = {"limit": 5}
    container.refused("/linux/resources/pids/limit", "the container has no cgroup")


# A user's own manager -------------------------------------------------------------------------------------------------

USER = 65534


@pytest.fixture
def manager(container: Container) -> Iterator[Path]:
    """systemd for a user, as a login would have it: XDG_RUNTIME_DIR."""
    if not Path("/usr/lib/systemd/user/dbus.socket").exists():
        pytest.skip("no D-Bus for users")
    folder = Path(f"/run/{container.id}")
    folder.mkdir(mode=0o700)
    os.chown(folder, USER, USER)
    name = f"{container.id}-manager"
    command = [
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit={name}",
        f"--uid={USER}",
        f"--gid={USER}",
        "-pDelegate=yes",
    ]
    command += ["-pType=notify", f"-EXDG_RUNTIME_DIR={folder}", f"-EDBUS_SESSION_BUS_ADDRESS=unix:path={folder}/bus"]
    subprocess.run([*command, "-EHOME=/tmp", "/lib/systemd/systemd", "--user", "--unit=dbus.socket"], check=True)
    end = time.monotonic() + 20
    while not (folder / "bus").exists():
        assert time.monotonic() < end, "the user's bus does not come up"
        time.sleep(0.05)
    yield folder
    subprocess.run(["systemctl", "stop", name], check=True)
    shutil.rmtree(folder)


def for_user(container: Container) -> None:
    """Its bundle, and one id for it."""
    open_to_all()
    container.namespace("user")
    container.without_namespace("network")
    container.without_mount("/sys")
    for key in ("uidMappings", "gidMappings"):
        container.linux[key] = [{"containerID": 0, "hostID": USER, "size": 1}]
    for mount in container.config["mounts"]:
        mount["options"] = [o for o in mount.get("options", []) if not o.startswith(("gid=", "uid="))]
    container.write()
    for path, names, others in os.walk(container.path):
        for name in (".", *names, *others):
            if name != "busybox":
                os.chown(os.path.join(path, name), USER, USER, follow_symlinks=False)


def by_user(container: Container, runtime_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [PYRUN, "--root", container.path / "state", "--systemd-cgroup", *arguments]
    with open(container.path.parent / "said", "w+") as said, open(container.path.parent / "complained", "w+") as err:
        done = subprocess.run(
            command,
            user=USER, group=USER, extra_groups=[], env={"XDG_RUNTIME_DIR": str(runtime_dir)},
            stdin=subprocess.DEVNULL, stdout=said, stderr=err, timeout=60, check=False,
        )  # fmt: skip
        said.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, done.returncode, said.read(), err.read())


@pytest.mark.pyrun_only("its own way of asking")
def test_without_root(container: Container, manager: Path) -> None:
    """A scope of the user's own manager; limits are set, and nothing is left."""
    container.linux["resources"] |= {"pids": {"limit": 17}, "memory": {"limit": 64 * MIB}}
    container.sh("cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max")
    for_user(container)
    done = by_user(container, manager, "run", "--bundle", str(container.path), container.id)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["17", str(64 * MIB)], "")
    assert [path for path in cgroups(container.id) if path.endswith(".scope")] == []


@pytest.mark.pyrun_only("its own way of asking")
def test_exec_and_update_without_root(container: Container, manager: Path) -> None:
    """From outside of the user's session, where only systemd may move a process into the scope."""
    container.args = ["/bin/sleep", "1000"]
    for_user(container)

    def ok(*arguments: str) -> str:
        done = by_user(container, manager, *arguments)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    ok("run", "--detach", "--bundle", str(container.path), container.id)
    pid = int(json.loads(ok("state", container.id))["pid"])
    try:
        assert ok("exec", container.id, "cat", "/proc/self/cgroup") == "0::/\n"  # as seen from the container's own
        ok("update", "--pids-limit", "23", container.id)
        assert ok("exec", container.id, "cat", "/sys/fs/cgroup/pids.max") == "23\n"
        assert ok("ps", "--format", "json", container.id).strip() == f"[{pid}]"
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        ok("delete", container.id)
    assert [path for path in cgroups(container.id) if path.endswith(".scope")] == []


@pytest.mark.pyrun_only("its own words")
def test_without_root_and_without_a_manager(container: Container, tmp_path: Path) -> None:
    for_user(container)
    done = by_user(container, tmp_path, "run", "--bundle", str(container.path), container.id)
    assert done.returncode == 1
    assert "reach systemd on the user bus" in done.stderr
    assert "DBUS_SESSION_BUS_ADDRESS or XDG_RUNTIME_DIR" in done.stderr
