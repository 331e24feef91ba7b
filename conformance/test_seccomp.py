"""linux.seccomp: what the filter does, and who gets its notifications (config-linux.md "Seccomp")."""

from __future__ import annotations

import array
import errno
import json
import os
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.harness import Container

# What a shell and its small programs need, and some more; mkdirat is left out.
SYSCALLS = """
    access arch_prctl brk capget capset chdir clone clone3 close close_range dup dup2 dup3 epoll_ctl epoll_pwait
    epoll_create1 execve execveat exit exit_group faccessat faccessat2 fchdir fchown fcntl fork fstat fstatfs futex
    getcwd getdents64 getegid geteuid getgid getgroups getpgrp getpid getppid getrandom getrlimit getsockopt gettid
    getuid ioctl lseek madvise mmap mprotect mremap munmap nanosleep newfstatat open openat openat2 pidfd_open
    pidfd_send_signal pipe pipe2 ppoll prctl pread64 prlimit64 pselect6 read readlink readlinkat recvfrom recvmsg
    rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield seccomp select sendmsg sendto
    set_robust_list set_tid_address setgid setgroups setpgid setresgid setresuid setsid setuid sigaltstack socket
    stat statfs statx tgkill umask uname unlink unlinkat vfork wait4 waitid write writev poll mkdir
""".split()  # noqa: SIM905


def rule(container: Container, action: str, *names: str, **more: Any) -> dict[str, Any]:
    """A filter that allows all but the names."""
    entry = {"names": list(names), "action": action, **more}
    container.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [entry]}
    return entry


def test_an_action_with_its_default_errno(container: Container) -> None:
    rule(container, "SCMP_ACT_ERRNO", "mkdir", "mkdirat")
    container.config["root"]["readonly"] = False
    assert "Operation not permitted" in container.sees("mkdir /new 2>&1; true")
    assert not (container.rootfs / "new").exists()


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOSPC])
def test_an_action_with_an_errno(container: Container, number: int) -> None:
    rule(container, "SCMP_ACT_ERRNO", "mkdir", "mkdirat", errnoRet=number)
    container.config["root"]["readonly"] = False
    assert os.strerror(number) in container.sees("mkdir /new 2>&1; true")


def test_the_default_errno(container: Container) -> None:
    """All that is not allowed, with another errno than EPERM."""
    container.config["root"]["readonly"] = False
    allowed = [name for name in SYSCALLS if not name.startswith("mkdir")]
    container.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.ENOSPC,
        "syscalls": [{"names": allowed, "action": "SCMP_ACT_ALLOW"}],
    }
    assert "No space left" in container.sees("mkdir /new 2>&1; true")


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS"])
def test_an_action_that_kills(container: Container, action: str) -> None:
    rule(container, action, "mkdir", "mkdirat")
    container.args = ["/bin/mkdir", "/tmp/new"]
    assert container.run().code == 128 + 31


def test_an_action_with_a_signal(container: Container) -> None:
    rule(container, "SCMP_ACT_TRAP", "mkdir", "mkdirat")
    done = container.run("mkdir /tmp/new; echo $?")
    assert done.out.split() == [str(128 + 31)]


@pytest.mark.parametrize(("uid", "fails"), [(1, True), (2, False)])
def test_arguments(container: Container, uid: int, fails: bool) -> None:
    container.process["user"] = {"uid": 1000, "gid": 1000}
    rule(container, "SCMP_ACT_ERRNO", "kill", args=[{"index": 1, "value": 10 * uid, "op": "SCMP_CMP_EQ"}], errnoRet=28)
    assert ("No space" in container.sees("trap '' 10; kill -10 $$ 2>&1; true")) is fails


def test_an_unknown_syscall_is_no_error(container: Container) -> None:
    """Profiles name syscalls of all architectures and of newer kernels."""
    rule(container, "SCMP_ACT_ERRNO", "no_such_syscall", "mkdir", "mkdirat")
    assert "not permitted" in container.sees("mkdir /tmp/new 2>&1; true")


@pytest.mark.parametrize("nnp", [True, False])
def test_it_is_loaded_with_and_without_no_new_privileges(container: Container, nnp: bool) -> None:
    container.process["noNewPrivileges"] = nnp
    rule(container, "SCMP_ACT_ERRNO", "mkdir", "mkdirat")
    assert "Seccomp:\t2" in container.sees("cat /proc/self/status")


@pytest.mark.parametrize("nnp", [True, False])
@pytest.mark.parametrize(
    "names", [["getcwd"], ["chdir", "fchdir"], ["setuid", "setgid", "setgroups"], ["prctl"], ["close", "close_range"]]
)
def test_it_does_not_hit_the_runtime(container: Container, names: list[str], nnp: bool) -> None:
    """What the runtime calls for itself must not fail, nor is anything of the config left out for it."""
    container.process["noNewPrivileges"] = nnp
    container.process["cwd"] = "/tmp"
    container.process["user"] = {"uid": 1000, "gid": 1000}
    rule(container, "SCMP_ACT_ERRNO", *names)
    container.args = ["/bin/cat", "/proc/self/status"]
    seen = container.sees("")
    assert "Seccomp:\t2" in seen
    assert "Uid:\t1000\t1000" in seen


def test_what_is_denied_is_denied(container: Container) -> None:
    """A call that the runtime makes itself."""
    rule(container, "SCMP_ACT_ERRNO", "getcwd", errnoRet=errno.ENOSPC)
    container.process["env"] = ["PATH=/bin", "PWD=/nowhere"]
    container.process["cwd"] = "/tmp"
    assert "No space left" in container.run("/bin/busybox pwd -P; exec /bin/busybox pwd 2>&1").err


@pytest.mark.must(127)
@pytest.mark.parametrize("action", ["SCMP_ACT_ALLOW", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG"])
def test_an_errno_where_none_goes(container: Container, action: str) -> None:
    rule(container, action, "mkdir", errnoRet=1)
    container.refused()


@pytest.mark.must(127)
def test_a_default_errno_where_none_goes(container: Container) -> None:
    container.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}
    container.refused()


@pytest.mark.must(128)
def test_a_rule_without_names(container: Container) -> None:
    rule(container, "SCMP_ACT_ERRNO")
    container.refused()


@pytest.mark.must(132)
def test_metadata_without_a_listener(container: Container) -> None:
    rule(container, "SCMP_ACT_ERRNO", "acct")
    container.linux["seccomp"]["listenerMetadata"] = "text"
    container.refused()


@pytest.mark.must(80)
@pytest.mark.parametrize(
    "seccomp",
    [
        {},
        {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NONSENSE"]},
        {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NONSENSE"]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "nonsense"}]},
    ],
    ids=["empty", "architecture", "flag", "action"],
)
def test_a_filter_that_is_none(container: Container, seccomp: dict[str, Any]) -> None:
    container.linux["seccomp"] = seccomp
    container.refused()


# The listener ---------------------------------------------------------------------------------------------------------


class Agent:
    """Takes connections, each to its end: [[(data, descriptors) of each message], ...]"""

    def __init__(self, path: Path, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, kind)
        self.socket.bind(str(path))
        self.connections: list[list[tuple[bytes, list[int]]]] = []
        self.stop, self.ended = os.pipe()
        self.thread = threading.Thread(target=self.serve)
        if kind == socket.SOCK_STREAM:
            self.socket.listen(8)
            self.thread.start()

    def serve(self) -> None:
        while self.socket.fileno() in select.select([self.socket.fileno(), self.stop], [], [], 30)[0]:
            connection, _ = self.socket.accept()
            with connection:
                connection.settimeout(10)
                found: list[tuple[bytes, list[int]]] = []
                while True:
                    data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(64))
                    if not data:
                        break
                    found.append((data, [fd for _, _, raw in ancillary for fd in array.array("i", raw)]))
                self.connections.append(found)

    def close(self) -> None:
        os.close(self.ended)
        if self.thread.is_alive():
            self.thread.join()
        os.close(self.stop)
        self.socket.close()
        for _, fds in (message for connection in self.connections for message in connection):
            for fd in fds:
                os.close(fd)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "agent")
    yield made
    made.close()


def notify(container: Container, path: Path) -> None:
    rule(container, "SCMP_ACT_NOTIFY", "acct")
    container.linux["seccomp"] |= {"listenerPath": str(path), "listenerMetadata": "text"}


def told(agent: Agent) -> list[list[tuple[bytes, list[int]]]]:
    """The connections that there were, once nobody makes any more."""
    os.close(agent.ended)
    agent.thread.join()
    agent.ended = os.open("/dev/null", os.O_RDONLY)
    return agent.connections


@pytest.mark.must(129, 130, 133)
def test_the_listener_gets_one_state(container: Container, agent: Agent) -> None:
    """As JSON, with the descriptors in the first message, and then the connection is closed."""
    notify(container, agent.path)
    container.create()
    pid = container.pid
    assert container.start_and_wait() == 0
    container.delete()
    [messages] = told(agent)
    (_, fds), *rest = messages
    assert fds and not any(fds for _, fds in rest)
    state = json.loads(b"".join(data for data, _ in messages))
    assert state["fds"].count("seccompFd") == 1
    assert len(state["fds"]) == len(fds)
    assert state["metadata"] == "text"
    assert state["ociVersion"].startswith("1.")
    assert (state["state"]["id"], state["state"]["bundle"]) == (container.id, str(container.path))
    assert state["pid"] in (pid, 1)
    assert "seccomp" in os.readlink(f"/proc/self/fd/{fds[state['fds'].index('seccompFd')]}")


@pytest.mark.must(130)
def test_another_process_is_another_connection(container: Container, agent: Agent) -> None:
    notify(container, agent.path)
    container.up("echo up; sleep 1000")
    container.runtime.ok("exec", container.id, "/bin/true")
    container.delete("--force")
    connections = told(agent)
    states = [json.loads(b"".join(data for data, _ in messages)) for messages in connections]
    assert len({state["pid"] for state in states}) == 2
    assert [state["fds"].count("seccompFd") for state in states] == [1, 1]
    assert {state["state"]["id"] for state in states} == {container.id}


@pytest.mark.must(133)
def test_much_metadata_in_one_state(container: Container, agent: Agent) -> None:
    """More than a message may hold: however many there are, the descriptors come with the first alone."""
    notify(container, agent.path)
    container.linux["seccomp"]["listenerMetadata"] = "x" * 20000
    container.config["annotations"] = {f"com.example.{number}": "y" * 1000 for number in range(100)}
    assert container.run("true").code == 0
    [messages] = told(agent)
    assert [bool(fds) for _, fds in messages] == [True] + [False] * (len(messages) - 1)
    state = json.loads(b"".join(data for data, _ in messages))
    assert state["metadata"] == "x" * 20000
    assert len(state["state"]["annotations"]) == 100


@pytest.mark.must(19, 131)
@pytest.mark.parametrize("kind", ["nobody", "a file", "a folder"])
def test_nobody_listens(container: Container, kind: str) -> None:
    path = container.path / "listener"
    if kind == "a file":
        path.write_text("")
    elif kind == "a folder":
        path.mkdir()
    notify(container, path)
    container.refused("run")


@pytest.mark.must(131)
def test_a_listener_that_is_gone(container: Container, tmp_path: Path) -> None:
    """Its socket lies there still."""
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(tmp_path / "gone"))
    notify(container, tmp_path / "gone")
    container.refused("run")


@pytest.mark.must(129)
@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET], ids=["datagrams", "packets"])
def test_a_socket_of_another_kind(container: Container, tmp_path: Path, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(str(tmp_path / "other"))
        if kind == socket.SOCK_SEQPACKET:
            other.listen(1)
        notify(container, tmp_path / "other")
        container.refused("run")


@pytest.mark.must(80)
def test_notifications_without_a_listener(container: Container) -> None:
    rule(container, "SCMP_ACT_NOTIFY", "acct")
    container.refused("run")


@pytest.mark.parametrize("flag", ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"])
def test_flags(container: Container, flag: str) -> None:
    rule(container, "SCMP_ACT_ERRNO", "mkdir", "mkdirat")
    container.linux["seccomp"]["flags"] = [flag]
    assert "not permitted" in container.sees("mkdir /tmp/new 2>&1; true")


# operator → a number that it holds for when it is compared with signal 10, and one that it doesn't
OPERATORS = {
    "SCMP_CMP_NE": (11, 10),
    "SCMP_CMP_LT": (11, 10),
    "SCMP_CMP_LE": (10, 9),
    "SCMP_CMP_EQ": (10, 11),
    "SCMP_CMP_GE": (10, 11),
    "SCMP_CMP_GT": (9, 10),
}


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("holds", [True, False])
def test_operators(container: Container, op: str, holds: bool) -> None:
    value = OPERATORS[op][0 if holds else 1]
    rule(container, "SCMP_ACT_ERRNO", "kill", args=[{"index": 1, "value": value, "op": op}], errnoRet=errno.ENOSPC)
    assert ("No space" in container.sees("trap '' 10; kill -10 $$ 2>&1; true")) is holds


@pytest.mark.parametrize(("mask", "holds"), [(2, True), (4, False)])
def test_a_masked_comparison(container: Container, mask: int, holds: bool) -> None:
    argument = {"index": 1, "value": mask, "valueTwo": mask, "op": "SCMP_CMP_MASKED_EQ"}
    rule(container, "SCMP_ACT_ERRNO", "kill", args=[argument], errnoRet=errno.ENOSPC)
    assert ("No space" in container.sees("trap '' 10; kill -10 $$ 2>&1; true")) is holds
