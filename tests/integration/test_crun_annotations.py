"""crun's annotations, which Podman's users rely on."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from harness import Container

pytestmark = pytest.mark.differs(runc="crun's own")


def annotate(container: Container, name: str, value: str) -> None:
    container.config.setdefault("annotations", {})[f"run.oci.{name}"] = value


@pytest.mark.parametrize("user_namespace", [False, True])
def test_keep_original_groups(container: Container, user_namespace: bool) -> None:
    """The caller's are kept, and those of the config are not set; for exec too."""
    if user_namespace:
        container.user_namespace()
    container.process["user"]["additionalGids"] = [5, 6]
    annotate(container, "keep_original_groups", "1")
    before = os.getgroups()
    os.setgroups([4321, 4322])
    try:
        seen = "65534 65534" if user_namespace else "4321 4322"
        container.up()
        looks = ("exec", container.id, "sh", "-c", "grep Groups /proc/self/status")
        assert container.runtime.ok(*looks).split()[1:] == seen.split()
        assert Path(f"/proc/{container.pid}/status").read_text().partition("Groups:")[2].split("\n")[0].split() == [
            "4321",
            "4322",
        ]
    finally:
        os.setgroups(before)


def test_what_hooks_write_goes_to_files(container: Container) -> None:
    annotate(container, "hooks.stdout", str(container.path / "out"))
    annotate(container, "hooks.stderr", str(container.path / "err"))
    container.hook("prestart", "echo one; echo wrong >&2")
    container.hook("poststop", "echo two")
    assert container.run("true").code == 0
    assert (container.path / "out").read_text() == "one\ntwo\n"
    assert (container.path / "err").read_text() == "wrong\n"


def test_unknown_system_calls(container: Container) -> None:
    container.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["no_such_call"], "action": "SCMP_ACT_ERRNO"}],
    }
    assert container.run("true").code == 0
    annotate(container, "seccomp_fail_unknown_syscall", "1")
    container.refused("/linux/seccomp/syscalls/0/names/0", "no_such_call")


def test_the_receiver_of_the_pidfd(container: Container) -> None:
    path = container.path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        annotate(container, "pidfd_receiver", str(path))
        container.create()
        connection, _ = listener.accept()
        with connection:
            _, fds, _, _ = socket.recv_fds(connection, 100, 1)
    told = Path(f"/proc/self/fdinfo/{fds[0]}").read_text()
    os.close(fds[0])
    assert f"Pid:\t{container.pid}\n" in told


@pytest.mark.pyrun_only("about pyrun's words")
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("handler", "krun", "there is no handler"),
        ("hooks.stdout", "here", "absolute path"),
        ("mount_context_type", "colour", "is one of context, fscontext"),
    ],
)
def test_what_they_can_not_be(container: Container, name: str, value: str, words: str) -> None:
    annotate(container, name, value)
    container.refused(f"/annotations/run.oci.{name}", words)


@pytest.mark.pyrun_only("about pyrun's words")
def test_one_that_is_not_known(container: Container) -> None:
    annotate(container, "colour", "green")
    done = container.run("true")
    assert done.code == 0
    assert "/annotations/run.oci.colour: has no effect" in done.err
