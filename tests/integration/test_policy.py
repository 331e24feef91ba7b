"""--require: what breaks a policy is refused before anything is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness import PYRUN, Container, message

pytestmark = pytest.mark.pyrun_only("no peer has it")


def required(container: Container, policy: dict[str, Any]) -> tuple[str, str]:
    file = container.path / "policy.json"
    file.write_text(json.dumps(policy))
    return "--require", str(file)


def test_create_and_what_tells_beforehand(container: Container) -> None:
    options = required(container, {"nonRoot": True, "capabilities": [], "mounts": ["proc"]})
    container.capabilities("CAP_KILL")
    container.config["mounts"] = [{"destination": "/proc", "type": "proc", "source": "proc"}]
    container.mount("/data", "bind", "/etc", "bind")
    container.hook("createRuntime", f"touch {container.path}/made")
    container.write()
    pointers = ["/process/user/uid", "/process/capabilities/bounding/0", "/mounts/1/source"]
    for verb in ("create", "run"):
        done = container.runtime(verb, "--bundle", container.path, container.id, options=options)
        assert done.code == 1
        assert message(done.err.strip()).startswith(f"refused by {options[1]}: ")
        assert all(f"{pointer}: " in done.err for pointer in pointers)
        assert not container.exists() and not (container.path / "made").exists()
    for command in (("check", container.path), ("plan", "--bundle", container.path, "x")):
        done = container.runtime(*command, options=options)
        assert done.code == 1
        assert all(f"{pointer}: " in done.out + done.err for pointer in pointers)
    container.process["user"] = {"uid": 5, "gid": 5}
    container.process["capabilities"] = {}
    del container.config["mounts"][1]
    container.sh("exit 0")
    container.write()
    assert container.runtime("run", "--bundle", container.path, container.id, options=options).code == 0


def test_what_can_be_changed_later(container: Container, tmp_path: Path) -> None:
    container.process["user"] = {"uid": 5, "gid": 5}
    container.process["capabilities"] = {}
    options = required(container, {"nonRoot": True, "capabilities": [], "mounts": [], "pids": 50})
    container.up()
    for command, pointer in (
        (("exec", "--user", "0", container.id, "true"), "/process/user/uid"),
        (("exec", "--cap", "CAP_KILL", container.id, "true"), "/process/capabilities/bounding/0"),
        (("update", "--pids-limit", "60", container.id), "/linux/resources/pids/limit"),
        (("update", "--pids-limit=-1", container.id), "/linux/resources/pids/limit"),
    ):
        done = container.runtime(*command, options=options)
        assert done.code in (1, 255)
        assert f"{pointer}: " in done.err
    (tmp_path / "mounts").write_text('{"mounts": [{"destination": "/x", "source": "/etc", "options": ["bind"]}]}')
    done = container.runtime("mounts", "add", container.id, tmp_path / "mounts", options=options)
    assert done.code == 1 and "/mounts/0/source: " in done.err
    for command in (("exec", container.id, "true"), ("update", "--pids-limit", "40", container.id)):
        assert container.runtime(*command, options=options).code == 0
    container.delete("--force")


@pytest.mark.parametrize(
    ("text", "words"), [('{"nonroot": true}', "/nonroot: is no rule"), ("{", "line 1"), (None, "no such file")]
)
def test_a_policy_that_cannot_be_read(container: Container, text: str | None, words: str) -> None:
    file = container.path / "policy"
    if text:
        file.write_text(text)
    container.write()
    done = container.runtime("create", "--bundle", container.path, container.id, options=("--require", str(file)))
    assert done.code == 1
    assert words in done.err
    assert not container.exists()


def test_as_a_hook(container: Container) -> None:
    """For another runtime, too."""
    file = required(container, {"nonRoot": True})[1]
    hook = {"path": str(PYRUN), "args": ["pyrun", "hook", "policy", file]}
    container.config["hooks"] = {"createRuntime": [hook]}
    container.write()
    done = container.runtime("create", "--bundle", container.path, container.id)
    assert done.code == 1
    assert "/process/user/uid: must not be 0" in done.err
    assert not container.exists()
    container.process["user"] = {"uid": 5, "gid": 5}
    container.create()
    container.delete("--force")
