"""process: what the program finds itself to be (config.md "Process")."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from conformance.harness import Container, process_status

ALL_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")

KEYS = dict(zip(ALL_SETS, ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"), strict=True))

APPARMOR = Path("/sys/kernel/security/apparmor").exists()

KILL, CHOWN = 1 << 5, 1 << 0


@pytest.mark.must(29, 33)
def test_arguments_arrive_as_they_are(container: Container) -> None:
    arguments = ["/bin/printenv", "a b", "", "*", "é", "\n"]
    container.args = ["/bin/sh", "-c", 'for a; do printf "<%s>" "$a"; done', *arguments]
    assert container.run().out == "".join(f"<{a}>" for a in arguments[1:])


@pytest.mark.must(33)
def test_the_environment_is_the_configs(container: Container) -> None:
    container.process["env"] = ["PATH=/bin", "A=1", "HOME=/somewhere", "A=2", "EMPTY="]
    container.args = ["/bin/env"]
    environment = {**os.environ, "LEAK": "1", "LC_ALL": "C", "PYTHONPATH": "/leak"}
    assert sorted(container.sees("", env=environment).split("\n")) == ["A=2", "EMPTY=", "HOME=/somewhere", "PATH=/bin"]


@pytest.mark.must(33)
def test_the_program_is_looked_up_in_its_own_path(container: Container) -> None:
    container.script("/opt/program", "#!/bin/sh\necho mine $0\n")
    container.process["env"] = ["PATH=/none:/opt:/bin"]
    container.args = ["program"]
    assert container.sees("", env={"PATH": "/usr/bin"}) == "mine /opt/program"


@pytest.mark.must(33)
def test_the_working_directory(container: Container) -> None:
    container.process["cwd"] = "/tmp"
    assert container.sees("pwd -P") == "/tmp"


@pytest.mark.must(33)
def test_user_and_groups(container: Container) -> None:
    container.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 20, 4000000000]}
    seen = process_status(container)
    assert seen["Uid"].split() == ["1000"] * 4
    assert seen["Gid"].split() == ["1001"] * 4
    assert seen["Groups"].split() == ["5", "20", "4000000000"]


@pytest.mark.must(33)
def test_groups_of_the_caller_are_dropped(container: Container) -> None:
    before = os.getgroups()
    os.setgroups([4711])
    try:
        assert process_status(container)["Groups"].split() == []
    finally:
        os.setgroups(before)


@pytest.mark.must(33)
@pytest.mark.parametrize(("umask", "expected"), [(0, "0000"), (0o77, "0077"), (0o777, "0777")])
def test_umask(container: Container, umask: int, expected: str) -> None:
    container.process["user"]["umask"] = umask
    before = os.umask(0o125)
    try:
        assert process_status(container)["Umask"] == expected
    finally:
        os.umask(before)


@pytest.mark.must(33)
def test_no_umask(container: Container) -> None:
    """The caller's."""
    before = os.umask(0o125)
    try:
        assert process_status(container)["Umask"] == "0125"
    finally:
        os.umask(before)


@pytest.mark.must(33)
@pytest.mark.parametrize("kind", ["bounding", "bounding+effective+permitted", "bounding+inheritable+permitted", "all"])
@pytest.mark.parametrize("uid", [0, 1000])
def test_capability_sets(container: Container, kind: str, uid: int) -> None:
    """As capabilities(7) transforms them at execve: P'(permitted) = P(inheritable) & F, or P(ambient)."""
    sets = ALL_SETS if kind == "all" else tuple(kind.split("+"))
    container.capabilities("CAP_KILL", "CAP_CHOWN", sets=sets)
    container.process["noNewPrivileges"] = False
    container.process["user"]["uid"] = uid
    seen = {name: int(status_[key], 16) for status_ in [process_status(container)] for name, key in KEYS.items()}
    wanted = KILL | CHOWN
    assert seen["bounding"] == wanted
    assert seen["inheritable"] == (wanted if "inheritable" in sets else 0)
    assert seen["ambient"] == (wanted if kind == "all" else 0)
    gained = seen["inheritable"] | seen["bounding"] if uid == 0 else seen["ambient"]
    assert seen["permitted"] == seen["effective"] == gained


@pytest.mark.must(20, 59)
def test_unknown_and_unavailable_capabilities_are_warnings(container: Container) -> None:
    container.capabilities("CAP_NONSENSE", "CAP_KILL")
    done = container.run("grep CapBnd /proc/self/status")
    assert done.code == 0
    assert int(done.out.split()[1], 16) == KILL
    assert "CAP_NONSENSE" in done.err


@pytest.mark.must(33)
def test_without_capabilities(container: Container) -> None:
    del container.process["capabilities"]
    seen = process_status(container)
    assert {int(seen[key], 16) for key in KEYS.values()} == {0}


@pytest.mark.must(33)
def test_ambient_capabilities_work(container: Container) -> None:
    container.capabilities("CAP_CHOWN", sets=ALL_SETS)
    container.process["user"]["uid"] = 1000
    container.config["root"]["readonly"] = False
    assert container.sees("chown 7 /tmp && stat -c %u /tmp") == "7"


@pytest.mark.must(33)
@pytest.mark.parametrize("wanted", [True, False, None])
def test_no_new_privileges(container: Container, wanted: bool | None) -> None:
    del container.process["noNewPrivileges"]
    if wanted is not None:
        container.process["noNewPrivileges"] = wanted
    assert process_status(container)["NoNewPrivs"] == ("1" if wanted else "0")


# setrlimit(2)'s names, and those of /proc/self/limits
RLIMITS = {
    "RLIMIT_AS": "Max address space",
    "RLIMIT_CORE": "Max core file size",
    "RLIMIT_CPU": "Max cpu time",
    "RLIMIT_DATA": "Max data size",
    "RLIMIT_FSIZE": "Max file size",
    "RLIMIT_LOCKS": "Max file locks",
    "RLIMIT_MEMLOCK": "Max locked memory",
    "RLIMIT_MSGQUEUE": "Max msgqueue size",
    "RLIMIT_NICE": "Max nice priority",
    "RLIMIT_NOFILE": "Max open files",
    "RLIMIT_NPROC": "Max processes",
    "RLIMIT_RSS": "Max resident set",
    "RLIMIT_RTPRIO": "Max realtime priority",
    "RLIMIT_RTTIME": "Max realtime timeout",
    "RLIMIT_SIGPENDING": "Max pending signals",
    "RLIMIT_STACK": "Max stack size",
}


def limit_here(name: str) -> int:
    """The tests' own hard limit: nobody is asked to raise one, which takes CAP_SYS_RESOURCE."""
    for line in Path("/proc/self/limits").read_text().splitlines():
        if line.startswith(RLIMITS[name]):
            hard = line.removeprefix(RLIMITS[name]).split()[1]
            return 1 << 40 if hard == "unlimited" else int(hard)
    raise AssertionError(name)


@pytest.mark.must(57)
@pytest.mark.parametrize("name", RLIMITS)
def test_rlimits(container: Container, name: str) -> None:
    hard = limit_here(name)
    soft = hard - hard // 4
    container.process["rlimits"] = [{"type": name, "soft": soft, "hard": hard}]
    container.args = ["/bin/cat", "/proc/self/limits"]
    line = next(line for line in container.sees("").splitlines() if line.startswith(RLIMITS[name]))
    assert line.removeprefix(RLIMITS[name]).split()[:2] == [str(soft), str(hard)]


@pytest.mark.must(57)
def test_an_infinite_rlimit(container: Container) -> None:
    unlimited = (1 << 64) - 1
    container.process["rlimits"] = [{"type": "RLIMIT_CPU", "soft": unlimited, "hard": unlimited}]
    assert "Max cpu time              unlimited            unlimited" in container.sees("cat /proc/self/limits")


@pytest.mark.must(57)
def test_rlimits_in_a_user_namespace(container: Container) -> None:
    container.user_namespace()
    container.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    assert container.sees("ulimit -n") == "100"


@pytest.mark.parametrize(
    "rlimits",
    [
        pytest.param([{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}], marks=pytest.mark.must(56), id="unknown"),
        pytest.param([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}] * 2, marks=pytest.mark.must(58), id="twice"),
        pytest.param([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}], marks=pytest.mark.must(80), id="soft above hard"),
    ],
)
def test_wrong_rlimits(container: Container, rlimits: list[dict[str, Any]]) -> None:
    container.process["rlimits"] = rlimits
    container.refused()


@pytest.mark.must(62)
@pytest.mark.parametrize("policy", ["SCHED_OTHER", "SCHED_BATCH"])
def test_no_nice_value_is_zero(container: Container, policy: str) -> None:
    """Not that of the caller, who is nicer."""
    container.process["scheduler"] = {"policy": policy}
    container.write()
    command = container.runtime.command("run", "--bundle", container.path, container.id)
    container.args = ["/bin/cat", "/proc/self/stat"]
    container.write()
    done = subprocess.run(["nice", "-n", "5", *command], capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    fields = done.stdout.rpartition(")")[2].split()
    assert fields[16] == "0"
    assert fields[38] == {"SCHED_OTHER": "0", "SCHED_BATCH": "3"}[policy]


@pytest.mark.must(62)
def test_no_priority_is_zero(container: Container) -> None:
    """Which a real-time policy does not take."""
    container.process["scheduler"] = {"policy": "SCHED_FIFO"}
    container.refused()


@pytest.mark.must(60)
@pytest.mark.parametrize("score", [100, 1000])
def test_oom_score(container: Container, score: int) -> None:
    container.process["oomScoreAdj"] = score
    assert container.sees("cat /proc/self/oom_score_adj") == str(score)


@pytest.mark.must(61)
def test_no_oom_score(container: Container) -> None:
    ours = Path("/proc/self/oom_score_adj").read_text().strip()
    assert container.sees("cat /proc/self/oom_score_adj") == ours


@pytest.mark.must(20, 59)
def test_an_unknown_capability_changes_nothing_else(container: Container) -> None:
    container.capabilities("CAP_NONSENSE", "CAP_KILL")
    done = container.run("grep CapBnd /proc/self/status")
    assert (done.code, int(done.out.split()[1], 16)) == (0, KILL)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        pytest.param("cwd", "tmp", marks=pytest.mark.must(54), id="relative cwd"),
        pytest.param("cwd", "", marks=pytest.mark.must(54), id="empty cwd"),
        pytest.param("args", [], marks=pytest.mark.must(55), id="no args"),
    ],
)
def test_a_process_that_is_none(container: Container, change: str, value: Any) -> None:
    """Said by create, or by start at the latest."""
    container.process[change] = value
    container.write()
    done = container.runtime("create", "--bundle", container.path, container.id)
    if done.code == 0:
        done = container.runtime("start", container.id)
    assert done.code != 0


@pytest.mark.must(30, 80)
@pytest.mark.parametrize("score", [1001, -1001])
def test_an_oom_score_out_of_range(container: Container, score: int) -> None:
    container.process["oomScoreAdj"] = score
    container.refused()


@pytest.mark.must(30)
@pytest.mark.skipif(APPARMOR, reason="AppArmor is there")
def test_a_profile_without_apparmor(container: Container) -> None:
    container.process["apparmorProfile"] = "some-profile"
    container.refused()


@pytest.mark.must(33)
@pytest.mark.skipif(not APPARMOR, reason="no AppArmor here")
def test_an_apparmor_profile(container: Container) -> None:
    name = f"conformance-{os.getpid()}"
    text = f"profile {name} flags=(attach_disconnected) {{ file, capability, mount, signal, unix, ptrace, }}"
    subprocess.run(["apparmor_parser", "--replace"], input=text, text=True, check=True)
    try:
        container.process["apparmorProfile"] = name
        assert container.sees("cat /proc/self/attr/current").split()[0] == name
    finally:
        subprocess.run(["apparmor_parser", "--remove"], input=text, text=True, check=True)


@pytest.mark.must(53)
def test_the_console_size_without_a_terminal(container: Container) -> None:
    container.process["consoleSize"] = {"height": 33, "width": 77}
    assert container.sees("[ -t 1 ] || echo none") == "none"


def test_only_stdio_reaches_the_program(container: Container) -> None:
    """runtime-linux.md: by default, descriptors 0 to 2 and no others."""
    read, write = os.pipe()
    os.set_inheritable(write, True)
    container.args = ["/bin/ls", "/proc/self/fd"]
    try:
        assert container.sees("", close_fds=False).split() == ["0", "1", "2", "3"]
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "user namespace"])
def test_the_callers_null_device_keeps_its_owner(container: Container, mapped: bool) -> None:
    """Not the host's: a node of the same number, so that a runtime which changes it does no harm."""
    container.process["user"] = {"uid": 1000, "gid": 1000}
    if mapped:
        container.user_namespace()
    node = container.path / "null"
    os.mknod(node, 0o20666, os.makedev(1, 3))
    if not os.access(node, os.R_OK) or os.statvfs(node).f_flag & os.ST_NODEV:
        pytest.skip("no devices in the temporary folder")
    with open(node, "r+b") as null:
        assert container.run("true", stdin=null, stdout=null, stderr=null).code == 0
    assert node.stat().st_uid == 0
