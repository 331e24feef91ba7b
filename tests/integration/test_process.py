"""process: what the program finds itself to be (config.md "Process")."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from harness import Container

ALL_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
KEYS = dict(zip(ALL_SETS, ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"), strict=True))
KILL, CHOWN = 1 << 5, 1 << 0


def status(container: Container) -> dict[str, str]:
    """/proc/self/status of the program itself, without a shell between."""
    container.args = ["/bin/cat", "/proc/self/status"]
    return dict(line.split(":\t", 1) for line in container.sees("").splitlines() if ":\t" in line)


# args, env ------------------------------------------------------------------------------------------------------------


def test_arguments_arrive_as_they_are(container: Container) -> None:
    arguments = ["/bin/printenv", "a b", "", "*", "é", "\n"]
    container.args = ["/bin/sh", "-c", 'for a; do printf "<%s>" "$a"; done', *arguments]
    assert container.run().out == "".join(f"<{a}>" for a in arguments[1:])


def test_the_environment_is_the_configs(container: Container) -> None:
    container.process["env"] = ["PATH=/bin", "A=1", "HOME=/somewhere", "A=2", "EMPTY="]
    container.args = ["/bin/env"]
    environment = {**os.environ, "LEAK": "1", "LC_ALL": "C", "PYTHONPATH": "/leak"}
    assert sorted(container.sees("", env=environment).split("\n")) == ["A=2", "EMPTY=", "HOME=/somewhere", "PATH=/bin"]


@pytest.mark.parametrize(("uid", "home"), [(0, "/root"), (1000, "/home/user"), (4711, "/")])
def test_home_comes_from_the_images_passwd(container: Container, uid: int, home: str) -> None:
    container.process["user"] = {"uid": uid, "gid": 0}
    assert container.sees("echo $HOME") == home


@pytest.mark.parametrize("passwd", [None, "", ":::\n::::::::\nroot", "\0\xff:x:0:0::/x:\n", "x" * 100000])
def test_home_without_a_good_passwd(container: Container, passwd: str | None) -> None:
    file = container.rootfs / "etc/passwd"
    file.unlink()
    if passwd is not None:
        file.write_bytes(passwd.encode("latin-1"))
    assert container.sees("echo $HOME") in ("/", "/x")


def test_the_program_is_looked_up_in_its_own_path(container: Container) -> None:
    container.script("/opt/program", "#!/bin/sh\necho mine $0\n")
    container.process["env"] = ["PATH=/none:/opt:/bin"]
    container.args = ["program"]
    assert container.sees("", env={"PATH": "/usr/bin"}) == "mine /opt/program"


def test_a_relative_program_is_of_the_working_directory(container: Container) -> None:
    container.script("/opt/program", "#!/bin/sh\necho mine\n")
    container.process["cwd"] = "/opt"
    container.args = ["./program"]
    assert container.sees("") == "mine"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("nonsense", "executable file not found in $PATH"),
        ("/no/such", "no such file or directory"),
        ("/etc", "permission denied"),
        ("/etc/passwd", "permission denied"),
        ("/bin/busybox/x", "not a directory"),
        ("", ""),
    ],
)
def test_a_program_that_cannot_run_is_an_error_of_create(container: Container, program: str, words: str) -> None:
    container.args = [program]
    error = container.refused(words, "/process/args/0")
    if container.runtime.name != "crun":
        assert words in error


def test_a_folder_of_path_is_no_program(container: Container) -> None:
    (container.rootfs / "opt/program").mkdir(parents=True)
    container.script("/bin/program", "#!/bin/sh\necho found\n")
    container.process["env"] = ["PATH=/opt:/bin"]
    container.args = ["program"]
    container.unlike(crun="1.8 takes the folder")
    assert container.sees("") == "found"


# cwd ------------------------------------------------------------------------------------------------------------------


def test_the_working_directory(container: Container) -> None:
    container.process["cwd"] = "/tmp"
    assert container.sees("pwd -P") == "/tmp"


def test_a_missing_working_directory_is_made(container: Container) -> None:
    container.process["cwd"] = "/not/there"
    container.unlike(crun="1.8 can't on a read-only root")
    assert container.sees("pwd -P; stat -c %a .").split() == ["/not/there", "755"]


def test_a_working_directory_that_is_a_link_stays_inside(container: Container) -> None:
    (container.rootfs / "link").symlink_to("/tmp")
    (container.rootfs / "out").symlink_to("../../../../../../../tmp")
    for name in ("link", "out"):
        container.process["cwd"] = f"/{name}"
        assert container.sees("pwd -P") == "/tmp"


def test_a_working_directory_of_the_user_only(container: Container) -> None:
    """Root without DAC_OVERRIDE can't enter it, its owner can."""
    folder = container.rootfs / "own"
    folder.mkdir(mode=0o700)
    os.chown(folder, 1000, 1000)
    container.process.update(cwd="/own", user={"uid": 1000, "gid": 1000})
    assert container.sees("pwd") == "/own"


@pytest.mark.parametrize(("cwd", "words"), [("/etc/passwd", "not a directory"), ("tmp", "absolute"), ("", "")])
def test_a_working_directory_that_is_none(container: Container, cwd: str, words: str) -> None:
    container.process["cwd"] = cwd
    container.unlike(crun="1.8 takes some")
    container.refused("/process/cwd", words)


# user -----------------------------------------------------------------------------------------------------------------


def test_user_and_groups(container: Container) -> None:
    container.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 20, 4000000000]}
    seen = status(container)
    assert seen["Uid"].split() == ["1000"] * 4
    assert seen["Gid"].split() == ["1001"] * 4
    assert seen["Groups"].split() == ["5", "20", "4000000000"]


def test_groups_of_the_caller_are_dropped(container: Container) -> None:
    before = os.getgroups()
    os.setgroups([4711])
    try:
        assert status(container)["Groups"].split() == []
    finally:
        os.setgroups(before)


@pytest.mark.parametrize(("umask", "expected"), [(None, "0022"), (0, "0000"), (0o77, "0077"), (0o777, "0777")])
def test_umask(container: Container, umask: int | None, expected: str) -> None:
    if umask is not None:
        container.process["user"]["umask"] = umask
    before = os.umask(0o125)
    try:
        assert status(container)["Umask"] == expected
    finally:
        os.umask(before)


def test_stdio_belongs_to_the_user(container: Container) -> None:
    container.process["user"] = {"uid": 1000, "gid": 1000}
    container.unlike(crun="1.8 leaves files alone")
    assert container.sees("stat -L -c %u /proc/self/fd/1") == "1000"


def test_the_hosts_null_device_keeps_its_owner(container: Container) -> None:
    container.unlike(crun="1.8 changes it")
    container.process["user"] = {"uid": 1000, "gid": 1000}
    with open("/dev/null", "r+b") as null:
        assert container.run("true", stdin=null, stdout=null, stderr=null).code == 0
    assert os.stat("/dev/null").st_uid == 0


# capabilities ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bounding", "bounding+effective+permitted", "bounding+inheritable+permitted", "all"])
@pytest.mark.parametrize("uid", [0, 1000])
def test_capability_sets(container: Container, kind: str, uid: int) -> None:
    """As capabilities(7) transforms them at execve: P'(permitted) = P(inheritable) & F, or P(ambient)."""
    sets = ALL_SETS if kind == "all" else tuple(kind.split("+"))
    container.capabilities("CAP_KILL", "CAP_CHOWN", sets=sets)
    container.process["noNewPrivileges"] = False
    container.process["user"]["uid"] = uid
    seen = {name: int(status_[key], 16) for status_ in [status(container)] for name, key in KEYS.items()}
    wanted = KILL | CHOWN
    assert seen["bounding"] == wanted
    assert seen["inheritable"] == (wanted if "inheritable" in sets else 0)
    assert seen["ambient"] == (wanted if kind == "all" else 0)
    gained = seen["inheritable"] | seen["bounding"] if uid == 0 else seen["ambient"]
    assert seen["permitted"] == seen["effective"] == gained


@pytest.mark.differs(crun="1.8 refuses it", runc="1.1 keeps inheritable only with a warning")
def test_unknown_and_unavailable_capabilities_are_warnings(container: Container) -> None:
    """MUST 59."""
    container.capabilities("CAP_NONSENSE", "CAP_KILL")
    done = container.run("grep CapBnd /proc/self/status")
    assert done.code == 0
    assert int(done.out.split()[1], 16) == KILL
    assert "CAP_NONSENSE" in done.err
    assert "level=warning" in done.err


def test_without_capabilities(container: Container) -> None:
    del container.process["capabilities"]
    seen = status(container)
    assert {int(seen[key], 16) for key in KEYS.values()} == {0}


def test_ambient_capabilities_work(container: Container) -> None:
    container.capabilities("CAP_CHOWN", sets=ALL_SETS)
    container.process["user"]["uid"] = 1000
    container.config["root"]["readonly"] = False
    assert container.sees("chown 7 /tmp && stat -c %u /tmp") == "7"


@pytest.mark.parametrize("wanted", [True, False, None])
def test_no_new_privileges(container: Container, wanted: bool | None) -> None:
    del container.process["noNewPrivileges"]
    if wanted is not None:
        container.process["noNewPrivileges"] = wanted
    assert status(container)["NoNewPrivs"] == ("1" if wanted else "0")


# rlimits, oomScoreAdj -------------------------------------------------------------------------------------------------


def test_rlimits(container: Container) -> None:
    """MUST 57. Lowering only: the tests may lack CAP_SYS_RESOURCE."""
    limits = [
        ("RLIMIT_NOFILE", 100, 200, "Max open files"),
        ("RLIMIT_CORE", 0, 0, "Max core file size"),
        ("RLIMIT_NPROC", 50, 60, "Max processes"),
        ("RLIMIT_FSIZE", 1 << 40, (1 << 63) - 1, "Max file size"),
        ("RLIMIT_STACK", 1 << 23, 1 << 24, "Max stack size"),
    ]
    container.process["rlimits"] = [{"type": t, "soft": s, "hard": h} for t, s, h, _ in limits]
    lines = container.sees("cat /proc/self/limits").splitlines()
    for _, soft, hard, name in limits:
        line = next(line for line in lines if line.startswith(name))
        assert line.removeprefix(name).split()[:2] == [str(soft), str(hard)]


def test_an_infinite_rlimit(container: Container) -> None:
    unlimited = (1 << 64) - 1
    container.process["rlimits"] = [{"type": "RLIMIT_CPU", "soft": unlimited, "hard": unlimited}]
    assert "Max cpu time              unlimited            unlimited" in container.sees("cat /proc/self/limits")


def test_a_small_rlimit_does_not_hit_the_set_up(container: Container) -> None:
    container.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 3, "hard": 3},
        {"type": "RLIMIT_FSIZE", "soft": 0, "hard": 0},
    ]
    container.args = ["/bin/true"]
    container.unlike(crun="1.8 runs out of descriptors", runc="1.1 runs out of descriptors")
    assert container.run().code == 0


def test_rlimits_in_a_user_namespace(container: Container) -> None:
    container.user_namespace()
    container.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    assert container.sees("ulimit -n") == "100"


@pytest.mark.parametrize(
    ("rlimits", "pointer"),
    [
        ([{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}], "/process/rlimits/0/type"),
        ([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}] * 2, "/process/rlimits/1"),
        ([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}], "/process/rlimits/0"),
    ],
)
def test_wrong_rlimits(container: Container, rlimits: list[dict[str, Any]], pointer: str) -> None:
    """MUST 56, 58."""
    container.unlike(crun="1.8 takes some", runc="1.1 takes some")
    container.process["rlimits"] = rlimits
    container.refused(pointer)


@pytest.mark.parametrize("score", [100, 1000])
def test_oom_score(container: Container, score: int) -> None:
    """MUST 60."""
    container.process["oomScoreAdj"] = score
    assert container.sees("cat /proc/self/oom_score_adj") == str(score)


def test_no_oom_score(container: Container) -> None:
    """MUST 61."""
    ours = Path("/proc/self/oom_score_adj").read_text().strip()
    container.unlike(runc="1.1 inherits, but from itself")
    assert container.sees("cat /proc/self/oom_score_adj") == ours


def test_oom_score_in_a_user_namespace(container: Container) -> None:
    container.user_namespace()
    container.process["oomScoreAdj"] = 300
    assert container.sees("cat /proc/self/oom_score_adj") == "300"


# what the kernel keeps across execve ----------------------------------------------------------------------------------


def test_signals_are_as_after_boot(container: Container) -> None:
    """Whatever the caller ignores or blocks; Python itself ignores SIGPIPE and SIGXFSZ."""
    ignored = [signal.SIGUSR1, signal.SIGPIPE, signal.SIGHUP]
    before = [signal.signal(number, signal.SIG_IGN) for number in ignored]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM])
    try:
        seen = status(container)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in zip(ignored, before, strict=True):
            signal.signal(number, handler)
    assert int(seen["SigBlk"], 16) == 0
    if container.runtime.name == "pyrun":
        assert int(seen["SigIgn"], 16) == 0


def test_it_leads_a_session(container: Container) -> None:
    assert container.sees("cut -d' ' -f5,6 /proc/self/stat; echo $$").split()[1:] == ["1", "1"]


def test_a_session_keyring_of_its_own(container: Container) -> None:
    container.linux["maskedPaths"].remove("/proc/keys")
    done = container.run("cat /proc/keys")
    if done.code:
        pytest.skip("no keyrings in this kernel")
    if container.runtime.name == "pyrun" and done.out:
        assert f"_ses.{container.id}" in done.out
