"""explain: what failed, where in the config, who wrote that, and how it is mended; when all else is gone, too."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness import Container

pytestmark = pytest.mark.pyrun_only("a thing of pyrun's own")


@pytest.fixture(autouse=True)
def forgotten(container: Container) -> Any:
    yield
    container.runtime("explain", "--forget", container.id)


def record(container: Container) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(container.runtime.ok("explain", "--json", container.id))
    return found


def test_a_mount_option(container: Container) -> None:
    """It still works when the bundle is gone, as it is under a manager."""
    container.mount("/t", "tmpfs", "t", "size=x")
    place = f"/mounts/{len(container.config['mounts']) - 1}"
    container.refused()
    shutil.rmtree(container.path)
    said = container.runtime.ok("explain", container.id)
    assert said.startswith(f"create of {container.id} failed at ")
    assert f"In the config, {place}:\n" in said and '"options":["size=x"]' in said
    assert "  podman, docker: --tmpfs, --mount type=tmpfs" in said
    assert re.search(
        rf'^  → +\d+ fsconfig\(r\d+, FSCONFIG_SET_STRING, "size", "x", 0\)  {place}/options/0$', said, re.M
    )
    assert "\nHow to mend it:\n  Correct the option" in said
    assert f"pyrun check --host {container.path}" in said


def test_what_the_record_has(container: Container) -> None:
    container.args = ["/nowhere"]
    container.refused()
    found = record(container)
    assert found["verb"] == "create" and found["id"] == container.id
    assert found["fields"]["pointer"] == "/process/args/0" and found["fields"]["errno"] == "ENOENT"
    assert found["part"] == "/process/args" and json.loads(found["value"]) == ["/nowhere"]
    assert [step["failed"] for step in found["steps"]].count(True) == 1
    assert found["host"]["uid"] == "0"


def test_all_faults(container: Container) -> None:
    container.config["hostname"] = 5
    container.config["root"] = {"path": 7}
    container.refused()
    said = container.runtime.ok("explain", container.id)
    assert "All faults of the config:\n" in said
    for fault in ("/hostname: must be a string, not 5", "/root/path: must be a string, not 7"):
        assert f"\n  {fault}\n" in said


@pytest.mark.parametrize("fault", ["env", "user", "args"])
def test_no_secret_is_kept(container: Container, fault: str) -> None:
    container.process["env"].append("PASSWORD=hush-hush")
    if fault == "env":
        container.process["env"].append("without a sign")
    elif fault == "user":
        container.process["user"] = 7
    else:
        container.args = ["/nowhere"]
    container.refused()
    assert record(container)["id"] == container.id
    assert "hush" not in container.runtime.ok("explain", "--json", container.id)


def test_exec(container: Container) -> None:
    container.up()
    done = container.runtime("exec", container.id, "/nowhere", "x")
    assert done.code == 255
    found = record(container)
    assert found["verb"] == "exec" and json.loads(found["value"]) == ["/nowhere", "x"]
    assert found["steps"]


def test_start(container: Container) -> None:
    container.hook("poststart", "echo broken >&2; exit 3")
    container.create()
    assert container.runtime("start", container.id).code == 1
    said = container.runtime.ok("explain", container.id)
    assert said.startswith("start of ") and "broken" in said and "A hook failed" in said


def test_the_newest_is_told_and_the_old_ones_go(container: Container) -> None:
    for number in range(40):
        container.config["hostname"] = number
        container.refused()
    assert json.loads(record(container)["value"]) == 39
    rows = container.runtime.ok("explain", "--list").splitlines()
    assert 0 < len([row for row in rows if container.id in row]) <= len(rows) <= 32
    container.runtime.ok("explain", "--forget", container.id)
    assert container.id not in container.runtime.ok("explain", "--list")
    done = container.runtime("explain", container.id)
    assert done.code == 1 and f"no failure of {container.id} is kept" in done.err


def test_nobody_else_reads_it(container: Container) -> None:
    container.args = ["/nowhere"]
    container.refused()
    folder = Path("/run/pyrun.cache/failures")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_nothing_is_kept_when_asked(container: Container) -> None:
    container.args = ["/nowhere"]
    container.write()
    options = ("create", "--bundle", container.path, container.id)
    assert container.runtime(*options, options=("--no-record",)).code == 1
    assert container.id not in container.runtime.ok("explain", "--list")


def test_what_is_no_failure_of_a_container(container: Container) -> None:
    """There is none of that name: there is nothing to tell."""
    assert container.runtime("start", container.id).code == 1
    assert container.runtime("exec", container.id, "true").code == 255
    assert container.id not in container.runtime.ok("explain", "--list")


def test_a_broken_record_is_passed_over(container: Container) -> None:
    container.args = ["/nowhere"]
    container.refused()
    for content in (b"", b"{", b"[]", b'{"format": 99}', b"\xff"):
        (Path("/run/pyrun.cache/failures") / "1").write_bytes(content)
        assert container.id in container.runtime.ok("explain", "--list")
    container.runtime.ok("explain", "--forget", container.id)
    (Path("/run/pyrun.cache/failures") / "1").unlink()


@pytest.mark.parametrize(
    ("line", "words"),
    [("#!/bin/sh\r", "carriage return"), ("#!/bin/none", 'interpreter \\"/bin/none\\"'), ("what", "neither an ELF")],
)
def test_what_is_wrong_with_a_program(container: Container, line: str, words: str) -> None:
    """The kernel says ENOENT or ENOEXEC, and no more; the bundle is looked at again."""
    container.script("/program", f"{line}\necho\n")
    container.args = ["/program"]
    container.create()
    assert container.runtime("start", container.id).code == 1
    said = " ".join(container.runtime.ok("explain", container.id).split())
    assert "What check finds in the bundle: /process/args/0: " in said and words.replace("\\", "") in said


@pytest.mark.parametrize(
    "edit",
    [
        lambda c: c["process"].update(env=["=S3CR3T"]),
        lambda c: c["process"].update(env="PASSWORD=S3CR3T"),
        lambda c: c["process"].update(env={"PASSWORD": "S3CR3T"}),
        lambda c: c["process"].update(env=[["PASSWORD", "S3CR3T"]]),
        lambda c: c.update(process=[{"env": ["PASSWORD=S3CR3T"]}]),
        lambda c: c.update(hooks={"prestart": [{"path": "/x", "env": "PASSWORD=S3CR3T"}]}),
        lambda c: c["mounts"].append(
            {"destination": "/t", "type": "tmpfs", "source": "t", "options": ["password=S3CR3T"]}
        ),
    ],
)
def test_whatever_shape_a_secret_has(container: Container, edit: Any) -> None:
    edit(container.config)
    container.refused()
    assert record(container)["id"] == container.id
    assert "S3CR3T" not in container.runtime.ok("explain", "--json", container.id)


def test_a_record_is_small(container: Container) -> None:
    container.process["env"] = ["x" * 60] * 20_000
    container.config["mounts"] = [{"destination": f"relative{i}" * 20} for i in range(2000)]
    container.refused()
    assert len(container.runtime.ok("explain", "--json", container.id)) < 60_000


def test_many_failures_at_once(container: Container) -> None:
    container.args = ["/nowhere"]
    container.write()
    names = [f"{container.id}-{i}" for i in range(24)]
    commands = [container.runtime.command("create", "--bundle", container.path, name) for name in names]
    running = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands]
    assert {process.wait(60) for process in running} == {1}
    rows = container.runtime.ok("explain", "--list")
    assert sum(name in rows for name in names) == 24
    for name in names:
        container.runtime("explain", "--forget", name)
