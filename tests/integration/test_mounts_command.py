"""mounts add, mounts remove: crun's, of a container that runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness import Container, mounts

pytestmark = pytest.mark.pyrun_only("runc has no such command, and crun 1.8 not yet")


def change(container: Container, what: str, *rows: dict[str, Any]) -> Any:
    file = container.path / "mounts.json"
    file.write_text(json.dumps({"mounts": rows}))
    return container.runtime("mounts", what, container.id, file)


def bind(source: Path, destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["bind", *options]}


@pytest.fixture
def data(container: Container) -> Path:
    folder = container.path / "data"
    folder.mkdir()
    (folder / "mark").write_text("mine\n")
    return folder


def inside(container: Container, script: str) -> str:
    return str(container.runtime.ok("exec", container.id, "sh", "-c", script))


def test_a_bind_comes_and_goes(container: Container, data: Path) -> None:
    container.config["root"]["readonly"] = False
    container.up()
    before = mounts()
    assert change(container, "add", bind(data, "/srv/data", "ro"), bind(data / "mark", "/srv/file")).code == 0
    assert inside(container, "cat /srv/data/mark /srv/file; touch /srv/data/x 2>&1 || true").startswith("mine\nmine\n")
    assert "Read-only" in inside(container, "touch /srv/data/x 2>&1 || true")
    assert mounts() == before
    assert change(container, "remove", bind(data, "/srv/data"), bind(data, "/srv/file")).code == 0
    assert inside(container, "ls /srv/data; cat /srv/file") == ""


def test_a_tmpfs(container: Container) -> None:
    container.up()
    assert (
        change(container, "add", {"destination": "/tmp", "type": "tmpfs", "options": ["size=64k", "noexec"]}).code == 0
    )
    assert "size=64k" in inside(container, "grep ' /tmp tmpfs' /proc/mounts")


def test_a_symlink_of_the_containers_stays_inside(container: Container, data: Path) -> None:
    container.config["root"]["readonly"] = False
    container.up("ln -s /tmp /link; ln -s / /top; echo up; exec sleep 1000")
    assert change(container, "add", bind(data, "/link/below")).code == 0
    assert inside(container, "cat /tmp/below/mark") == "mine\n"
    for destination in ("/top", "/proc/1/cwd", "/proc/sys"):
        assert change(container, "add", bind(data, destination)).code == 1
    assert inside(container, "ls /tmp/below") == "mark\n"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"destination": "/x", "type": "tmpfs", "options": ["size=9x"]}], "mount /x (/mounts/0/options/0)"),
        ([{"destination": "/x", "options": ["bind"]}], "/mounts/0/source: is required"),
        ([{"destination": "/x", "type": "cgroup2"}], "made by create only"),
        ([bind(Path("/no/such"), "/x")], "/mounts/0/source"),
    ],
)
def test_what_goes_wrong_is_named(container: Container, rows: list[dict[str, Any]], words: str) -> None:
    container.up()
    done = change(container, "add", *rows)
    assert done.code == 1
    assert words in done.err


def test_what_is_not_mounted(container: Container) -> None:
    container.up()
    done = change(container, "remove", {"destination": "/tmp", "type": "tmpfs"})
    assert done.code == 1
    assert "nothing is mounted there" in done.err


def test_not_with_a_user_namespace_nor_when_stopped(container: Container, data: Path) -> None:
    container.user_namespace()
    pid = container.up()
    assert "user namespace" in change(container, "add", bind(data, "/tmp")).err
    container.kill()
    container.wait(pid)
    assert "container not running" in change(container, "add", bind(data, "/tmp")).err


def test_a_file_that_is_none(container: Container) -> None:
    container.up()
    file = container.path / "mounts.json"
    for text in ("[]", "{", '{"mounts": [], "more": 1}', '{"mounts": 3}'):
        file.write_text(text)
        assert "invalid mounts" in container.runtime("mounts", "add", container.id, file).err
    assert "add|remove" in container.runtime("mounts", "change", container.id, file).err
