"""What lies on the disk is believed only when it is whole, and read only when it ends."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import PYRUN, Container, cgroups, message

pytestmark = pytest.mark.pyrun_only("the form of what it keeps is its own")

# A member of the state -> another value, None: without it
BROKEN: dict[str, tuple[str, Any]] = {
    "another format": ("format", 0),
    "no format": ("format", None),
    "no id": ("id", None),
    "pid true": ("pid", True),
    "pid a text": ("pid", "1"),
    "no start": ("started", 0),
    "hooks a list": ("hooks", []),
    "hooks of a stranger": ("bundle", 5),
    "mounted": ("mounted", ["/", "x"]),
    "cgroup empty": ("cgroup", {}),
    "cgroup a list": ("cgroup", []),
    "rows of nothing": ("cgroup", {"driver": "cgroupfs", "mode": "v1", "rootless": False, "directories": [1]}),
    "a hook of nothing": ("hooks", {"poststop": [{"path": 0.5}]}),
    "more made than there is": (
        "cgroup",
        {"driver": "cgroupfs", "mode": "v1", "rootless": False, "directories": [[[], "/", "/a", 1 << 60, [1]]]},
    ),
    "a mark of nothing": (
        "cgroup",
        {"driver": "systemd", "mode": "v1", "rootless": False, "directories": [], "unit": "a.scope", "mark": 0.5},
    ),
    "annotations": ("annotations", None),
    "creating": ("creating", 1),
}


def state_file(container: Container) -> Path:
    return container.runtime.root / container.id / "state.json"


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_state_is_no_obstacle(container: Container, new_container: Callable[[], Container], how: str) -> None:
    """It hides no other container, every verb says so in a line, and delete --force ends what runs."""
    other = new_container()
    other.sh("sleep 100")
    other.create()
    container.sh("sleep 100")
    container.create()
    container.start()
    pid = container.pid
    assert cgroups(container.id)
    state = json.loads(state_file(container).read_text())
    member, value = BROKEN[how]
    if value is None:
        del state[member]
    else:
        state[member] = value
    state_file(container).write_text(json.dumps(state))
    listed = container.runtime("list", "--quiet")
    assert (listed.code, listed.out.split()) == (0, [other.id])
    for verb in ("state", "start", "kill", "delete", "pause"):
        done = container.runtime(verb, container.id)
        assert done.code == 1
        (line,) = done.err.splitlines()
        assert "state.json is broken" in message(line) and "delete --force removes it" in message(line)
    container.delete("--force")
    assert not state_file(container).parent.exists()
    container.wait(pid)
    if member == "cgroup":  # they are empty, and whose they are is not known any more
        for path in sorted(cgroups(container.id), reverse=True):
            os.rmdir(path)
    assert cgroups(container.id) == []
    assert other.status == "created"


def test_what_is_no_containers_directory_is_not_removed(container: Container) -> None:
    """--root names a directory of bundles."""
    container.write()
    root = container.path.parent
    root.chmod(0o700)
    for path in (container.path, *container.path.glob("*.json")):
        path.chmod(path.stat().st_mode & ~0o022)
    done = subprocess.run(
        [PYRUN, "--root", root, "delete", "--force", container.path.name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "not a container's" in done.stderr
    assert (container.path / "config.json").exists() and (container.path / "rootfs").exists()


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
@pytest.mark.parametrize("name", ["exec.fifo", "exec.status"])
def test_what_stands_for_a_fifo(container: Container, name: str, kind: str) -> None:
    container.create()
    fifo = container.runtime.root / container.id / name
    fifo.unlink()
    {"file": fifo.touch, "directory": fifo.mkdir, "symlink": lambda: fifo.symlink_to("/dev/null")}[kind]()
    done = container.runtime("start", container.id, timeout=30)
    assert done.code == 1
    # At what is no fifo init can't be waiting: it is taken to have gone on.
    assert ("it is not a fifo" if name == "exec.status" else "already running") in done.err
    container.runtime.ok("delete", "--force", container.id)
    assert not container.exists()


@pytest.mark.parametrize("content", [None, "", "{", "[]"])
@pytest.mark.parametrize("verb", ["exec", "update"])
def test_a_broken_copy_of_the_config(container: Container, verb: str, content: str | None) -> None:
    container.args = ["sleep", "1000"]
    container.write()
    container.runtime.ok("run", "--detach", "--bundle", container.path, container.id)
    config = container.runtime.root / container.id / "pyrun-config.json"
    if content is None:
        config.unlink()
    else:
        config.write_text(content)
    words = ["exec", container.id, "true"] if verb == "exec" else ["update", "--pids-limit", "5", container.id]
    done = container.runtime(*words)
    assert done.code == (255 if verb == "exec" else 1)
    assert "the copy of config.json is broken" in done.err
    container.runtime.ok("delete", "--force", container.id)


def test_no_state_any_more(container: Container) -> None:
    """Of a container that has been started only the copy of its config is left."""
    container.args = ["sleep", "1000"]
    container.create()
    container.start()
    pid = container.pid
    state_file(container).unlink()
    container.runtime.ok("delete", "--force", container.id)
    assert not container.exists()
    os.kill(pid, 9)  # nobody knows of it any more
    for path in cgroups(container.id):
        wait_and_remove(Path(path))


def test_a_directory_for_the_state(container: Container) -> None:
    container.create()
    pid = container.pid
    state = state_file(container)
    state.unlink()
    state.mkdir()
    (state / "full").touch()
    done = container.runtime("delete", "--force", container.id)
    assert done.code == 1
    assert "directory not empty" in message(done.err)
    (state / "full").unlink()
    container.runtime.ok("delete", "--force", container.id)
    assert not container.exists()
    os.kill(pid, 9)  # nobody knows of it any more
    for path in cgroups(container.id):
        wait_and_remove(Path(path))


def wait_and_remove(cgroup: Path) -> None:
    """A process that has been killed leaves its cgroup a moment later."""
    while True:
        try:
            return cgroup.rmdir()
        except OSError:
            os.sched_yield()


@pytest.mark.parametrize("what", ["/dev/zero", "fifo", "/dev/null", "/tmp"])
@pytest.mark.parametrize("option", ["--config", "-p", "-r", "config.json"])
def test_documents_are_files(container: Container, tmp_path: Path, option: str, what: str) -> None:
    """Neither waited for nor read without end."""
    if what == "fifo":
        os.mkfifo(tmp_path / "fifo")
        what = str(tmp_path / "fifo")
    verb: tuple[str, ...]
    container.sh("sleep 100")
    if option in ("-p", "-r"):
        container.create()
        container.start()
        verb = ("exec", "-p", what, container.id) if option == "-p" else ("update", "-r", what, container.id)
    else:
        container.write()
        flags = ["--config", what] if option == "--config" else []
        if option == "config.json":
            (container.path / "config.json").unlink()
            (container.path / "config.json").symlink_to(what)
        verb = ("create", "--bundle", str(container.path), *flags, container.id)
    done = container.runtime(*verb, timeout=10)
    assert done.code == (255 if option == "-p" else 1)
    (line,) = done.err.splitlines()
    assert "not a regular file" in message(line)


def test_a_document_is_bounded(container: Container) -> None:
    container.write()
    with open(container.path / "config.json", "wb") as file:
        file.truncate(1 << 30)
    done = container.runtime("create", "--bundle", container.path, container.id)
    assert done.code == 1
    assert "EFBIG" in message(done.err.strip())


def test_a_log_that_nobody_reads(container: Container, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    container.write()
    done = container.runtime(
        "create", "--bundle", container.path, container.id, options=("--log", str(tmp_path / "log"))
    )
    assert done.code == 1
    assert "open the log" in done.err


@pytest.mark.parametrize("where", ["log", "stderr"])
def test_a_log_that_is_full(container: Container, where: str) -> None:
    """What can't be said doesn't fail what is done."""
    container.sh("exit 0")
    container.process["capabilities"] = {"bounding": ["CAP_NONSENSE"]}  # a warning
    container.write()
    flags = ("--log", "/dev/full") if where == "log" else ()
    command = [PYRUN, "--root", container.runtime.root, *flags, "create", "--bundle", container.path, container.id]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=full, check=False)
    assert done.returncode == 0
    assert container.status == "created"


def test_the_current_directory_is_gone(container: Container, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"cd {gone} && rmdir {gone} && exec {PYRUN} --root {container.runtime.root} create {container.id}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the current directory is gone" in message(done.stderr.strip())
