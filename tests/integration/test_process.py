"""process: what the program finds itself to be (config.md "Process")."""

from __future__ import annotations

import os
import signal

import pytest
from harness import Container, process_status

ALL_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
KEYS = dict(zip(ALL_SETS, ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"), strict=True))
KILL, CHOWN = 1 << 5, 1 << 0


# args, env ------------------------------------------------------------------------------------------------------------


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


# rlimits, oomScoreAdj -------------------------------------------------------------------------------------------------


def test_a_small_rlimit_does_not_hit_the_set_up(container: Container) -> None:
    container.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 3, "hard": 3},
        {"type": "RLIMIT_FSIZE", "soft": 0, "hard": 0},
    ]
    container.args = ["/bin/true"]
    container.unlike(crun="1.8 runs out of descriptors", runc="1.1 runs out of descriptors")
    assert container.run().code == 0


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
        seen = process_status(container)
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


def test_an_empty_home_is_none(container: Container) -> None:
    container.unlike(crun="1.8 keeps it empty")
    container.process["env"] += ["HOME=/x", "HOME="]
    assert container.sees("echo $HOME; env | grep -c HOME") == "/root\n1"


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_all_cpus_of_the_cpuset_whatever_the_caller_has(container: Container, verb: str) -> None:
    container.unlike(runc="1.1 keeps the caller's", crun="1.8 keeps the caller's")
    looks, mine = "grep Cpus_allowed: /proc/self/status | cut -f2", os.sched_getaffinity(0)
    if len(mine) < 2:
        pytest.skip("one CPU")
    if verb == "exec":
        container.up()
    os.sched_setaffinity(0, {min(mine)})
    try:
        seen = container.sees(looks) if verb == "run" else container.runtime.ok("exec", container.id, "sh", "-c", looks)
    finally:
        os.sched_setaffinity(0, mine)
    assert int(seen.replace(",", ""), 16).bit_count() >= len(mine)
