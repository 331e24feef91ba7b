"""Each line of docs/errors.md, produced."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from errors import DOCUMENT, ROWS, document, says
from harness import Container, Done

pytestmark = pytest.mark.pyrun_only("its own words")

TESTS = Path(__file__).parents[1]
SCENES: dict[str, Callable[[Container], Done]] = {}


def scene(function: Callable[[Container], Done]) -> Callable[[Container], Done]:
    SCENES[function.__name__] = function
    return function


def create(container: Container, *flags: str) -> Done:
    container.write()
    return container.runtime("create", "--bundle", container.path, *flags, container.id)


def run(container: Container) -> Done:
    container.write()
    return container.runtime("run", "--bundle", container.path, container.id)


def text(container: Container, config: str) -> Done:
    (container.path / "config.json").write_text(config)
    return container.runtime("create", "--bundle", container.path, container.id)


@scene
def no_config(container: Container) -> Done:
    (container.path / "config.json").unlink(missing_ok=True)
    return container.runtime("create", "--bundle", container.path, container.id)


@scene
def no_json(container: Container) -> Done:
    return text(container, '{"ociVersion": }')


@scene
def a_key_twice(container: Container) -> Done:
    return text(container, '{"ociVersion": "1.0.0", "process": {}, "process": {}}')


@scene
def wrong_types(container: Container) -> Done:
    container.process["cwd"] = 7
    container.config["root"]["readonly"] = 3
    return create(container)


@scene
def a_rule(container: Container) -> Done:
    container.process["cwd"] = "here"
    return create(container)


@scene
def no_security_module(container: Container) -> Done:
    """Of the two a kernel has one in force at most."""
    has_apparmor = Path("/sys/kernel/security/apparmor").exists()
    container.process.update({"selinuxLabel": "a:b:c:d"} if has_apparmor else {"apparmorProfile": "web"})
    return create(container)


@scene
def no_terminal(container: Container) -> Done:
    container.process["terminal"] = True
    return create(container)


@scene
def a_socket_for_nothing(container: Container) -> Done:
    return create(container, "--console-socket", "/run/console")


@scene
def too_large(container: Container) -> Done:
    container.config["mounts"] += [{"destination": f"/m/{n}", "type": "tmpfs"} for n in range(4000)]
    return create(container)


@scene
def a_mount(container: Container) -> Done:
    container.mount("/x", "tmpfs", "tmpfs", "size=64x")
    return create(container)


@scene
def no_source(container: Container) -> Done:
    container.mount("/x", "bind", "/nowhere", "bind")
    return create(container)


@scene
def no_program(container: Container) -> Done:
    container.args = ["/nope"]
    return create(container)


@scene
def not_in_path(container: Container) -> Done:
    container.args = ["nope"]
    return create(container)


@scene
def no_permission(container: Container) -> Done:
    container.script("tool", "#!/bin/sh\n", 0o644)
    container.args = ["/tool"]
    return create(container)


@scene
def out_of_memory(container: Container) -> Done:
    container.linux["resources"]["memory"] = {"limit": 4096}
    return create(container)


@scene
def ids(container: Container) -> Done:
    container.namespace("user")
    whole = {"containerID": 0, "hostID": 0, "size": 1000}
    container.linux["uidMappings"] = [whole, {**whole, "containerID": 500}]
    container.linux["gidMappings"] = [whole]
    return create(container)


@scene
def a_cgroups_file(container: Container) -> Done:
    container.linux["resources"]["cpu"] = {"cpus": "0,4000"}
    return create(container)


@scene
def a_hook(container: Container) -> Done:
    container.hook("createRuntime", "exit 3")
    return create(container)


@scene
def unknown(container: Container) -> Done:
    return container.runtime("state", "nobody")


@scene
def in_use(container: Container) -> Done:
    container.create()
    return container.runtime("create", "--bundle", container.path, container.id)


@scene
def bad_id(container: Container) -> Done:
    container.write()
    return container.runtime("create", "--bundle", container.path, "a/b")


@scene
def anothers_store(container: Container) -> Done:
    container.runtime.root.mkdir()
    os.chown(container.runtime.root, 1000, 1000)
    done = create(container)
    os.chown(container.runtime.root, 0, 0)
    return done


@scene
def an_open_store(container: Container) -> Done:
    container.runtime.root.mkdir()
    container.runtime.root.chmod(0o777)
    done = create(container)
    container.runtime.root.chmod(0o700)
    return done


@scene
def a_symlink(container: Container) -> Done:
    container.runtime.root.symlink_to("/tmp")
    done = create(container)
    container.runtime.root.unlink()
    return done


@scene
def a_broken_state(container: Container) -> Done:
    container.create()
    file = container.runtime.root / container.id / "state.json"
    whole = file.read_bytes()
    file.write_text("{}")
    done = container.runtime("state", container.id)
    file.write_bytes(whole)
    return done


@scene
def not_a_container(container: Container) -> Done:
    container.create()
    (container.runtime.root / "other").mkdir(0o700)
    (container.runtime.root / "other/file").touch()
    done = container.runtime("delete", "--force", "other")
    (container.runtime.root / "other/file").unlink()
    (container.runtime.root / "other").rmdir()
    return done


@scene
def started_twice(container: Container) -> Done:
    container.up()
    return container.runtime("start", container.id)


@scene
def started_too_late(container: Container) -> Done:
    container.args = ["true"]
    container.create()
    container.start_and_wait()
    return container.runtime("start", container.id)


@scene
def never_ran(container: Container) -> Done:
    rule = {"names": ["execve"], "action": "SCMP_ACT_KILL_PROCESS"}
    container.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    container.create()
    return container.runtime("start", container.id)


@scene
def no_executable(container: Container) -> Done:
    container.script("tool", "nothing that can be executed")
    container.args = ["/tool"]
    container.create()
    return container.runtime("start", container.id)


@scene
def not_running(container: Container) -> Done:
    container.args = ["true"]
    container.create()
    container.start_and_wait()
    return container.runtime("kill", container.id)


@scene
def not_stopped(container: Container) -> Done:
    container.up()
    return container.runtime("delete", container.id)


@pytest.mark.parametrize("key", SCENES)
def test_the_line(container: Container, key: str) -> None:
    done = SCENES[key](container)
    assert done.code == 1, done
    says(key, done.err)
    if container.exists():
        container.delete("--force")


def test_each_line_is_produced() -> None:
    elsewhere = {key for file in TESTS.rglob("test_*.py") for key in re.findall(r'\bsays\("(\w+)"', file.read_text())}
    assert {*SCENES} | elsewhere == {*ROWS}
    assert not {*SCENES} & elsewhere


def test_the_document_has_the_tables() -> None:
    assert document(DOCUMENT.read_text()) == DOCUMENT.read_text()
    assert all(row.when in DOCUMENT.read_text() for row in ROWS.values())
