"""Cgroups of version 2 that do not belong to root: the container's own, and those of a user's containers."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from errors import says
from harness import PYRUN, Container, open_to_all

TOP = Path("/sys/fs/cgroup")
MIB = 1 << 20
pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not (TOP / "cgroup.controllers").exists(), reason="version 1 can't be delegated"),
]
USER = 65534


def folder(container: Container) -> Path:
    return TOP / Path(f"/proc/{container.pid}/cgroup").read_text().partition("::/")[2].strip()


def writable(container: Container) -> None:
    for mount in container.config["mounts"]:
        if mount["type"] == "cgroup":
            mount["options"].remove("ro")


# The container's own (config-linux.md, "Cgroup ownership") ----------------------------------------------------------


@pytest.mark.parametrize("names", [("user", "cgroup"), ("cgroup",)], ids=["root-of-a-user-namespace", "user"])
def test_it_belongs_to_the_containers_user(container: Container, names: tuple[str, ...]) -> None:
    container.unlike(runc="1.1 leaves it to root", crun="1.8 does so by an annotation only")
    writable(container)
    for name in names:
        container.namespace(name)
    if "user" in names:
        container.user_namespace()
    else:
        container.process["user"] = {"uid": 100000, "gid": 100000}
    container.sh("mkdir /sys/fs/cgroup/inner && echo $$ > /sys/fs/cgroup/inner/cgroup.procs && echo moved; read end")
    read, write = os.pipe()
    stdin, hold = os.pipe()
    container.create(stdin=stdin, stdout=write)
    os.close(write)
    os.close(stdin)
    at = folder(container).parent  # its processes begin in a leaf
    for name in Path("/sys/kernel/cgroup/delegate").read_text().split():
        if (at / name).exists():
            assert (at / name).stat().st_uid == 100000, name
    assert at.stat().st_uid == 100000
    assert (at / "pids.max").stat().st_uid == 0
    pid = container.pid
    container.start()
    assert os.read(read, 100) == b"moved\n"
    os.close(hold)
    assert container.wait(pid) == 1  # read has met the end
    os.close(read)


@pytest.mark.parametrize("lacking", ["namespace", "write"])
def test_it_stays_roots(container: Container, lacking: str) -> None:
    container.unlike(crun="1.8 gives it away with every user namespace")
    container.user_namespace()
    if lacking == "namespace":
        container.without_namespace("cgroup")
    else:
        container.namespace("cgroup")
    if lacking != "write":
        writable(container)
    container.create()
    assert folder(container).stat().st_uid == 0


# A user's containers --------------------------------------------------------------------------------------------------


@pytest.fixture
def home(container: Container) -> Iterator[Path]:
    """A cgroup that is delegated to a user, whose processes are in one below it."""
    at = TOP / f"{container.id}-user"
    (at / "shell").mkdir(parents=True)
    (TOP / "cgroup.subtree_control").write_text("+memory +pids")
    (at / "cgroup.subtree_control").write_text("+memory +pids")
    for path in (at, at / "shell"):
        for name in (".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(path / name, USER, USER)
    yield at
    (at / "shell").rmdir()
    at.rmdir()


def run(container: Container, shell: Path | None = None, script: str = "") -> subprocess.CompletedProcess[str]:
    """pyrun run, by a user with one id, from the cgroup `shell`."""
    open_to_all()
    container.process["user"] = {"uid": 0, "gid": 0}
    container.namespace("user")
    for key in ("uidMappings", "gidMappings"):
        container.linux[key] = [{"containerID": 0, "hostID": USER, "size": 1}]
    for mount in container.config["mounts"]:
        mount["options"] = [o for o in mount.get("options", []) if not o.startswith(("gid=", "uid="))]
    if script:
        container.sh(script)
    container.write()
    for path, names, others in os.walk(container.path):
        for name in (".", *names, *others):
            if name != "busybox":
                os.chown(os.path.join(path, name), USER, USER, follow_symlinks=False)
    return as_user(container, "run", "--bundle", str(container.path), container.id, shell=shell)


def as_user(container: Container, *words: str, shell: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command of the user's on what `run` has prepared."""

    def enter() -> None:
        if shell:
            (shell / "cgroup.procs").write_text("0")
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)

    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        # Files, not pipes: a container that stays keeps them open.
        command = [str(PYRUN), "--root", str(container.path / "state"), *words]
        done = subprocess.run(
            command, preexec_fn=enter, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=60, check=False
        )
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(command, done.returncode, out.read(), err.read())


@pytest.mark.pyrun_only("its own way of asking")
def test_limits_in_a_delegated_cgroup(container: Container, home: Path) -> None:
    container.linux["resources"] |= {"pids": {"limit": 17}, "memory": {"limit": 64 * MIB}}
    container.without_namespace("network")
    container.without_mount("/sys")
    done = run(container, home / "shell", "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max")
    assert (done.returncode, done.stdout.split()) == (0, ["17", str(64 * MIB)]), done
    assert sorted(path.name for path in home.iterdir() if path.is_dir()) == ["shell"]


@pytest.mark.pyrun_only("its own words")
@pytest.mark.parametrize("resources", [{"pids": {"limit": 17}}, {"memory": {"limit": 64 * MIB}}, {}])
def test_without_delegation(container: Container, resources: dict[str, Any]) -> None:
    """Limits that can't be set are an error; who asks for none goes on."""
    container.linux["resources"] |= resources
    done = run(container, None, "echo up")
    if not resources:
        assert (done.returncode, done.stdout) == (0, "up\n"), done
        return
    assert done.returncode == 1
    (section,) = resources
    assert f"(/linux/resources/{section}/limit)" in done.stderr
    assert "permission denied" in done.stderr
    assert "must be delegated" in done.stderr


@pytest.mark.pyrun_only("its own words")
def test_a_controller_that_is_not_delegated(container: Container, home: Path) -> None:
    """The error has the line that would give it."""
    (home / "cgroup.subtree_control").write_text("-memory")
    os.chown(home / "cgroup.subtree_control", 0, 0)
    container.linux["resources"]["memory"] = {"limit": 64 * MIB}
    done = run(container, home / "shell", "echo up")
    assert done.returncode == 1
    assert f"the controller memory is not enabled in {home}" in done.stderr
    says("not_enabled", done.stderr)
    assert f"as root: echo +memory > {home}/cgroup.subtree_control" in done.stderr


@pytest.mark.pyrun_only("its own words")
def test_what_takes_a_cgroup_without_one(container: Container) -> None:
    assert run(container, None, "true").returncode == 0
    container.args = ["sleep", "1000"]
    container.write()
    assert as_user(container, "create", "--bundle", str(container.path), container.id).returncode == 0
    try:
        for words in (["pause"], ["update", "--memory", "64m"], ["events", "--stats"]):
            done = as_user(container, *words, container.id)
            assert done.returncode == 1
            assert "cgroups not configured for container" in done.stderr, words
        done = as_user(container, "exec", container.id, "true")
        assert "start it first" in done.stderr
        state = json.loads(as_user(container, "state", container.id).stdout)
        assert (state["status"], state["owner"]) == ("created", pwd.getpwuid(USER).pw_name)
    finally:
        assert as_user(container, "delete", "--force", container.id).returncode == 0


# A leaf ---------------------------------------------------------------------------------------------------------------

HANDS_OUT = """
cat /proc/self/cgroup
echo +memory +pids > /sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/sub
cat /sys/fs/cgroup/sub/cgroup.controllers
"""


@pytest.mark.parametrize("user_namespace", [False, True])
def test_a_container_hands_out_controllers(container: Container, user_namespace: bool) -> None:
    """Its processes begin below the root of its cgroup namespace, which can give controllers away then; those of exec
    too."""
    container.unlike(runc="not of this age", crun="1.8: by annotations of systemd's")
    writable(container)
    container.namespace("cgroup")
    if user_namespace:
        container.user_namespace()
    container.linux["resources"]["memory"] = {"limit": 64 * MIB}
    container.up()
    outer = folder(container).parent
    assert (outer / "memory.max").read_text() == f"{64 * MIB}\n"
    said = container.runtime.ok("exec", container.id, "sh", "-ec", HANDS_OUT)
    assert said.splitlines()[0] == "0::/init.scope"
    assert {"memory", "pids"} <= {*said.splitlines()[1].split()}
    assert container.pid in json.loads(container.runtime.ok("ps", "--format", "json", container.id))
    container.delete("--force")
    assert not outer.exists()


@pytest.mark.parametrize(("name", "seen"), [("box", "/box"), ("", "/")])
def test_the_name_of_the_leaf(container: Container, name: str, seen: str) -> None:
    container.unlike(runc="crun's own", crun="1.8: with systemd's only")
    writable(container)
    container.namespace("cgroup")
    container.config["annotations"] = {"run.oci.delegate-cgroup": name}
    assert container.sees("cat /proc/self/cgroup").strip() == f"0::{seen}"


def test_no_leaf_where_nothing_can_be_written(container: Container) -> None:
    container.namespace("cgroup")
    assert container.sees("cat /proc/self/cgroup").strip() == "0::/"


@pytest.mark.pyrun_only("about pyrun's words")
@pytest.mark.parametrize("name", ["a/b", "..", "cgroup.procs"])
def test_what_is_no_name_of_a_leaf(container: Container, name: str) -> None:
    container.config["annotations"] = {"run.oci.delegate-cgroup": name}
    container.refused("/annotations/run.oci.delegate-cgroup", "name of one cgroup")
