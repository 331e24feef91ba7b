"""Containers of the last release are this one's: they are seen, used, and taken away.

The last release is built from the history where that is there, which a shallow clone has not; and always there is a
container whose directory is turned into what was recorded of one.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import CHECKOUT, Container, cgroups

pytestmark = pytest.mark.pyrun_only("about its releases")
# The last commit of 0.1.0, with state's format 1.
LAST = "53006f99277192bc9cb996f3e78050a42390f26f"
RECORDED = Path(__file__).with_name("state-0.1.0.json")
PYTHON = "/usr/bin/python3"


def make(*arguments: str) -> None:
    subprocess.run(["make", "-s", "-C", CHECKOUT, *arguments], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def last(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """Installs the last release into a prefix, by its own words; returns its pyrun."""
    there = subprocess.run(["git", "-C", CHECKOUT, "cat-file", "-e", f"{LAST}^{{commit}}"], capture_output=True)
    if there.returncode:
        pytest.skip(f"the history here does not reach to {LAST}")
    tree = tmp_path_factory.mktemp("last")
    with subprocess.Popen(["git", "-C", CHECKOUT, "archive", LAST], stdout=subprocess.PIPE) as archive:
        subprocess.run(["tar", "-x", "-C", tree], stdin=archive.stdout, check=True)
    make("build/dependencies")
    (tree / "build").mkdir()
    (tree / "build/dependencies").symlink_to(CHECKOUT / "build/dependencies")
    subprocess.run(["make", "-s", "-C", tree, "runtime/machine/executor"], check=True)

    def install(prefix: Path) -> str:
        command = [PYTHON, "-IS", tree / "packaging/install.py", "install", "", prefix, f"{prefix}/lib/pyrun", PYTHON]
        subprocess.run(command, check=True)
        assert "pyrun version 0.1.0\n" in subprocess.check_output([prefix / "bin/pyrun", "--version"], text=True)
        return str(prefix / "bin/pyrun")

    return install


@pytest.fixture(scope="module")
def built(last: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Container], None]:
    """Creates a container by the last release."""
    binary = last(tmp_path_factory.mktemp("prefix"))

    def create(container: Container) -> None:
        ours, container.runtime.binary = container.runtime.binary, binary
        try:
            container.create()
        finally:
            container.runtime.binary = ours
        assert json.loads((container.runtime.root / container.id / "state.json").read_text())["format"] == 1

    return create


def recorded(container: Container) -> None:
    """Creates one by this release, and gives its directory the form that was recorded of the last one's."""
    container.create()
    directory = container.runtime.root / container.id
    form, state = json.loads(RECORDED.read_text()), json.loads((directory / "state.json").read_text())
    for name in form:
        if name not in ("format", "freezer"):  # version 2 of cgroups has none
            assert type(state[name]) is type(form[name]), name
    assert set(state["cgroup"]) >= set(form["cgroup"])  # systemd's has more
    assert [*map(type, state["cgroup"]["directories"][0])] == [*map(type, form["cgroup"]["directories"][0])]
    (directory / "state.json").write_text(json.dumps({**state, "format": form["format"]}))
    (directory / "pyrun-config.json").rename(directory / "config.json")


@pytest.fixture(params=["built", "recorded"])
def create(request: pytest.FixtureRequest) -> Callable[[Container], None]:
    """Creates a container as the last release does."""
    made: Callable[[Container], None] = request.getfixturevalue("built") if request.param == "built" else recorded
    return made


def plain(container: Container) -> None:
    pass


def with_a_user_namespace(container: Container) -> None:
    container.user_namespace()


def without_a_pid_namespace(container: Container) -> None:
    container.without_namespace("pid")


def with_limits(container: Container) -> None:
    container.linux["resources"] = {"pids": {"limit": 20}, "memory": {"limit": 64 << 20}, "devices": []}


GUEST, SYSTEMD = pytest.mark.guest, pytest.mark.systemd
KINDS = (
    pytest.param(plain, marks=[GUEST, SYSTEMD]),
    pytest.param(with_a_user_namespace, marks=GUEST),
    without_a_pid_namespace,
    with_limits,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_life(create: Callable[[Container], None], container: Container, kind: Callable[[Container], None]) -> None:
    kind(container)
    stopped = container.runtime.folder / "stopped"
    container.hook("poststop", f"cat > {stopped}")
    container.process["args"] = ["sleep", "1000"]
    create(container)
    pid, ok = container.pid, container.runtime.ok
    assert container.status == "created"
    (listed,) = json.loads(ok("list", "--format", "json"))
    assert (listed["id"], listed["status"], listed["pid"]) == (container.id, "created", pid)
    ok("start", container.id)
    assert container.status == "running"
    assert ok("exec", container.id, "sh", "-c", "echo here") == "here\n"
    assert pid in json.loads(ok("ps", "--format", "json", container.id))
    ok("pause", container.id)
    assert container.status == "paused"
    ok("resume", container.id)
    ok("update", "--pids-limit", "30", container.id)
    # What was updated is in the copy of the config, which keeps its name.
    config = json.loads((container.runtime.root / container.id / "config.json").read_text())
    assert config["linux"]["resources"]["pids"]["limit"] == 30
    assert json.loads(ok("events", "--stats", container.id))["data"]["pids"]["limit"] == 30
    ok("kill", container.id, "KILL")
    assert container.wait(pid) == -signal.SIGKILL
    assert container.status == "stopped"
    ok("delete", container.id)
    assert json.loads(stopped.read_text())["id"] == container.id
    assert not container.exists()
    assert cgroups(container.id) == []


def test_one_that_was_never_started(create: Callable[[Container], None], container: Container) -> None:
    create(container)
    pid = container.pid
    container.runtime.ok("delete", container.id)
    container.wait(pid)
    assert not container.exists()


def test_start_says_that_the_program_can_not_be_executed(
    create: Callable[[Container], None], container: Container
) -> None:
    """What init says of that is read as the last release's init has written it."""
    container.script("/bin/odd", "#!/no/such/interpreter\n")
    container.process["args"] = ["/bin/odd"]
    create(container)
    pid = container.pid
    done = container.runtime("start", container.id)
    assert done.code == 1
    assert "ENOENT" in done.err and "/process/args/0" in done.err
    container.wait(pid)
    container.runtime.ok("delete", container.id)


def test_its_state_is_broken(create: Callable[[Container], None], container: Container) -> None:
    """delete --force takes what is the container's, the copy of the config by its old name too."""
    container.process["args"] = ["sleep", "1000"]
    create(container)
    pid, path = container.pid, container.runtime.root / container.id / "state.json"
    state = json.loads(path.read_text())
    del state["created"]
    path.write_text(json.dumps(state))
    assert "state.json is broken" in container.runtime("state", container.id).err
    container.runtime.ok("delete", "--force", container.id)
    container.wait(pid)
    assert not container.exists()
    assert cgroups(container.id) == []


def test_one_of_a_newer_release(container: Container, new_container: Callable[[], Container]) -> None:
    """It is not guessed what it means: but it hides no other, and can be ended."""
    other = new_container()
    for one in (container, other):
        one.process["args"] = ["sleep", "1000"]
        one.create()
    pid, path = container.pid, container.runtime.root / container.id / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 3, "later": True}))
    for verb in ("state", "start", "kill", "delete", "exec"):
        done = container.runtime(verb, container.id, *(["true"] if verb == "exec" else []))
        assert done.code == (255 if verb == "exec" else 1)
        (line,) = done.err.splitlines()
        assert f"container {container.id} is a newer pyrun's: its state has format 3, and this one reads 1 to 2" in line
    listed = container.runtime("list", "--quiet")
    assert (listed.code, listed.out.split()) == (0, [other.id])
    assert "is a newer pyrun's" in listed.err
    container.runtime.ok("delete", "--force", container.id)
    container.wait(pid)
    assert not container.exists()


@pytest.fixture
def installed(last: Callable[[Path], str], container: Container, tmp_path: Path) -> Container:
    """A container whose runtime is the last release, installed."""
    container.runtime.binary = last(tmp_path / "installed")
    return container


def test_an_install_over_it_with_containers_that_run(
    installed: Container, new_container: Callable[[], Container], tmp_path: Path
) -> None:
    """One that was created, one that runs, and one whose `run` waits in the foreground, by the old modules."""
    waiting, waited_for = new_container(), new_container()
    installed.process["args"] = waiting.process["args"] = ["sleep", "1000"]
    installed.create()
    waiting.runtime.binary = waited_for.runtime.binary = installed.runtime.binary
    waiting.create()
    installed.runtime.ok("start", installed.id)
    pid, other = installed.pid, waiting.pid
    waited_for.sh("echo up; read line; exit 7")
    waited_for.hook("poststop", f"touch {tmp_path / 'stopped'}")
    waited_for.write()
    command = waited_for.runtime.command("run", "--bundle", waited_for.path, waited_for.id)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout and running.stdout.readline() == b"up\n"
        make("install", f"PREFIX={tmp_path / 'installed'}")
        ok = installed.runtime.ok
        assert "pyrun version 0.1.0\n" not in ok("--version")
        assert sorted(ok("list", "--quiet").split()) == sorted([installed.id, waiting.id, waited_for.id])
        assert (installed.status, waiting.status, waited_for.status) == ("running", "created", "running")
        assert ok("exec", installed.id, "sh", "-c", "echo here") == "here\n"
        assert ok("exec", waited_for.id, "sh", "-c", "echo here") == "here\n"
        ok("start", waiting.id)
        running.communicate(b"\n", timeout=20)
    assert running.returncode == 7
    assert (tmp_path / "stopped").exists()
    for one in (installed, waiting):
        ok("kill", one.id, "KILL")
    assert (installed.wait(pid), waiting.wait(other)) == (-signal.SIGKILL, -signal.SIGKILL)
    for one in (installed, waiting):
        ok("delete", one.id)
    assert installed.runtime.ids() == []
    make("uninstall", f"PREFIX={tmp_path / 'installed'}")
    assert not [path for path in (tmp_path / "installed").rglob("*") if not path.is_dir()]
