"""linux.seccomp, as the program feels it."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import docker_profile
import pytest
from errors import says
from harness import Container

STATUS = "grep -E '^(Seccomp|CapPrm|CapEff)' /proc/self/status"


def profile(container: Container, default: str, *rules: dict[str, Any], **more: Any) -> None:
    container.linux["seccomp"] = {"defaultAction": default, "syscalls": list(rules), **more}


def denied(*names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ERRNO", **more}


def allowed(*names: str) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW"}


def test_a_denied_call(container: Container) -> None:
    profile(container, "SCMP_ACT_ALLOW", denied("mkdir", "mkdirat", errnoRet=13))
    assert "Permission denied" in container.sees("mkdir /dev/shm/x 2>&1; true")


def test_a_condition(container: Container) -> None:
    condition = {"index": 1, "value": 15, "op": "SCMP_CMP_EQ"}
    profile(container, "SCMP_ACT_ALLOW", denied("kill", args=[condition]))
    assert container.sees("kill -15 $$ 2>/dev/null || kill -0 $$ && echo alive") == "alive"


@pytest.mark.pyrun_only("older peers load the filter before they drop privileges, and need more")
@pytest.mark.parametrize("no_new_privileges", [False, True])
@pytest.mark.parametrize("uid", [0, 1000])
def test_execve_is_all_that_a_profile_must_allow(container: Container, uid: int, no_new_privileges: bool) -> None:
    """The runtime does nothing behind the filter but execve. The program itself then dies of its first call."""
    profile(container, "SCMP_ACT_KILL_PROCESS", allowed("execve"))
    container.process["user"] = {"uid": uid, "gid": uid}
    container.process["noNewPrivileges"] = no_new_privileges
    container.process["args"] = ["/bin/true"]
    assert container.run().code == 128 + 31


@pytest.mark.parametrize("no_new_privileges", [False, True])
@pytest.mark.parametrize("uid", [0, 1000])
def test_the_filter_leaves_no_capability_behind(container: Container, uid: int, no_new_privileges: bool) -> None:
    """To load it without noNewPrivileges takes CAP_SYS_ADMIN; the program has just what the config says."""
    container.process["user"] = {"uid": uid, "gid": uid}
    container.process["noNewPrivileges"] = no_new_privileges
    without = container.sees("grep -E '^Cap(Prm|Eff)' /proc/self/status")
    profile(container, "SCMP_ACT_ALLOW", denied("mkdir"))
    seen = container.sees(STATUS)
    assert "Seccomp:\t2" in seen
    assert [line for line in seen.splitlines() if line.startswith("Cap")] == without.splitlines()


@pytest.mark.parametrize("flag", ["LOG", "SPEC_ALLOW", "TSYNC"])
def test_flags(container: Container, flag: str) -> None:
    container.unlike(crun="1.8 knows no flags without a filter of its own making")
    profile(container, "SCMP_ACT_ALLOW", denied("mkdir"), flags=[f"SECCOMP_FILTER_FLAG_{flag}"])
    assert "Seccomp:\t2" in container.sees(STATUS)


def test_in_a_user_namespace(container: Container) -> None:
    container.namespace("user")
    container.linux["uidMappings"] = container.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 10}]
    profile(container, "SCMP_ACT_ALLOW", denied("mkdir", "mkdirat"))
    container.process["noNewPrivileges"] = False
    assert "not permitted" in container.sees("mkdir /dev/shm/x 2>&1; true")


@pytest.mark.pyrun_only("words of pyrun's")
def test_an_unknown_architecture(container: Container) -> None:
    profile(container, "SCMP_ACT_ALLOW", architectures=["SCMP_ARCH_S390Y"])
    container.refused("/linux/seccomp/architectures/0")


def test_dockers_default_profile(container: Container) -> None:
    """It loads, a shell and its programs run, and what it holds back is refused even to who has the capability."""
    container.linux["seccomp"] = docker_profile.profile()
    container.capabilities("CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_CHROOT")
    for script in (
        "mount -t tmpfs none /tmp",
        "unshare -m true",
        "unshare -U true",
        "umount /dev/shm",
        "nsenter -t 1 -m true",
        "swapoff /nowhere",
        "reboot -f",
    ):
        done = container.run(f"{script} 2>&1 && echo done")
        assert "not permitted" in done.out or "permission denied" in done.out, (script, done)
        container.id += "x"
    seen = container.sees("linux32 uname -m; echo a | cat; sleep 0.01 & wait; (exit 3) || echo $?; chroot / echo in")
    assert seen.split()[1:] == ["a", "3", "in"]


@pytest.mark.parametrize("verb", ["start", "exec"])
@pytest.mark.parametrize("privileges", [True, False])
def test_a_profile_that_forbids_everything(container: Container, verb: str, privileges: bool) -> None:
    """Not even execve: then that is told, though the profile forbids write(2) and exit_group(2) too."""
    container.unlike(runc="1.1 dies without a word", crun="1.8 dies without a word")
    container.process["noNewPrivileges"] = not privileges
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 28}
    if verb == "start":
        container.linux["seccomp"] = profile
    container.args = ["sleep", "1000"]
    container.create()
    if verb == "exec":
        container.start()
        state = json.loads((container.runtime.root / container.id / "pyrun-config.json").read_text())
        state["linux"]["seccomp"] = profile
        (container.runtime.root / container.id / "pyrun-config.json").write_text(json.dumps(state))
    done = container.runtime(verb, container.id, *(["true"] if verb == "exec" else []))
    assert done.code == (1 if verb == "start" else 255), done
    assert "/process/args/0" in done.err
    assert "ENOSPC" in done.err
    assert "the seccomp profile denies execve: /linux/seccomp/defaultAction" in done.err
    container.delete("--force")


@pytest.mark.pyrun_only("the peers only exit with 159")
@pytest.mark.parametrize("verb", ["run", "exec"])
@pytest.mark.parametrize("action", ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"])
def test_a_program_that_its_profile_kills(container: Container, verb: str, action: str) -> None:
    """The call is named where the kernel's log has it: it logs what kills, not what is trapped."""
    rule = {"names": ["chmod", "mkdir", "mkdirat"], "action": action}
    container.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    container.args = ["mkdir", "/x"] if verb == "run" else ["sleep", "1000"]
    container.write()
    if verb == "run":
        done = container.runtime("run", "--bundle", container.path, container.id)
    else:
        container.create()
        container.start()
        done = container.runtime("exec", container.id, "mkdir", "/x")
        container.delete("--force")
    assert done.code == 128 + signal.SIGSYS
    assert "was killed: SIGSYS: " in done.err
    if action == "SCMP_ACT_KILL_PROCESS" and Path("/dev/kmsg").exists() and "type=1326" in kernels_log():
        assert "the seccomp profile (/linux/seccomp/syscalls/0/names/1) forbids mkdir" in done.err
        if verb == "run":
            says("killed_by_seccomp", done.err)
    else:
        assert "the kernel's log may say which" in done.err


def kernels_log() -> str:
    return subprocess.run(["dmesg"], capture_output=True, text=True, check=False).stdout
