"""Signals are taken where pyrun waits: what is half-made is undone, whatever comes meanwhile; what is handed over is
left alone."""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import signal
import subprocess
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from harness import Container, message

pytestmark = pytest.mark.pyrun_only("the peers are killed where they are")


def started(container: Container, *arguments: str, **popen: Any) -> subprocess.Popen[bytes]:
    command = container.runtime.command(*arguments, container.id)
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, **popen)


def wait_until(true: Any) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to it")


def hanging(container: Container, kind: str) -> Path:
    """A hook of this kind that never ends; the file that is there once it runs."""
    there = container.rootfs / "hanging"
    container.config["root"]["readonly"] = False
    shown = "/hanging" if kind == "startContainer" else str(there)
    container.config["hooks"] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo > {shown}; sleep 1000"]}]}
    container.write()
    return there


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("verb", "kind"),
    [("create", "createRuntime"), ("run", "createRuntime"), ("run", "startContainer"), ("run", "poststart")],
)
def test_what_is_half_made_is_undone(container: Container, verb: str, kind: str, number: int) -> None:
    there = hanging(container, kind)
    hung = started(container, verb, "--bundle", str(container.path))
    wait_until(there.exists)
    hung.send_signal(number)
    for _ in range(20):  # which the clean-up minds no more
        hung.send_signal(number)
    assert hung.wait(30) == 128 + number
    assert not container.exists()


def test_waiting_for_the_lock_ends(container: Container) -> None:
    container.create()
    fd = os.open(container.runtime.root / container.id, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    waiting = started(container, "start")
    wait_until(lambda: "State:\tS" in Path(f"/proc/{waiting.pid}/status").read_text())
    waiting.terminate()
    assert waiting.wait(30) in (-signal.SIGTERM, 128 + signal.SIGTERM)  # it may not have come to wait
    os.close(fd)
    assert container.status == "created"


def test_what_is_ignored_stays_ignored(container: Container) -> None:
    """As under nohup(1)."""
    there = hanging(container, "createRuntime")
    hung = started(
        container,
        "create",
        "--bundle",
        str(container.path),
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    wait_until(there.exists)
    hung.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    assert hung.poll() is None
    hung.terminate()
    assert hung.wait(30) == 128 + signal.SIGTERM


def test_the_terminal_is_as_it_was(container: Container) -> None:
    """Also when the container does not start."""
    container.process["terminal"] = True
    container.process["args"] = ["/none"]
    container.write()
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    command = container.runtime.command("run", "--bundle", container.path, container.id)
    done = subprocess.run(command, stdin=slave, stdout=slave, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and b"/none" in done.stderr
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize("most", range(5, 30))
def test_few_descriptors(container: Container, most: int) -> None:
    """A create that can't open more undoes what it has made all the same."""
    container.process.pop("rlimits", None)
    container.write()
    done = container.runtime(
        "create",
        "--bundle",
        container.path,
        container.id,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)),
    )
    if done.code:
        assert "EMFILE" in message(done.err) or "Too many open files" in done.err
        assert not container.exists()
