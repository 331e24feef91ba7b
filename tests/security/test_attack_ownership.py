"""What others could have written is not believed: a store that is not the caller's own, a cache, a runtime directory.

Found in pyrun itself: root's `pyrun --root DIRECTORY-OF-A-USER delete` ran the user's hooks as root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import PYRUN, Container, Done, message, open_to_all

from pyrun.host import seccomp
from pyrun.log import Log

pytestmark = pytest.mark.pyrun_only("its own store and words")
ALICE, MALLORY = 65534, 1000


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of root's that everybody may enter."""
    folder = Path(tempfile.mkdtemp(dir="/run"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def directory(path: Path, owner: int, mode: int = 0o755) -> Path:
    path.mkdir()
    path.chmod(mode)
    os.chown(path, owner, owner)
    return path


def by(uid: int, *command: str | Path, **environment: str) -> Done:
    open_to_all()
    done = subprocess.run(
        command, user=uid, group=uid, extra_groups=[], env={"PATH": "/usr/bin:/bin", **environment},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


# The store ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def forged(container: Container, place: Path) -> Container:
    """A stopped container in place/above/state, whose state.json names a hook that makes place/ran."""
    container.runtime.root = place / "above/state"
    container.args = ["true"]
    container.create()
    container.start_and_wait()
    folder = container.runtime.root / container.id
    state = json.loads((folder / "state.json").read_text())
    state["hooks"]["poststop"] = [{"path": "/bin/touch", "args": ["touch", str(place / "ran")]}]
    container.delete()
    folder.mkdir(0o711)
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "pyrun-config.json").write_text(json.dumps(container.config))
    return container


def give(*parts: str) -> Callable[[Path, str], None]:
    """The path made of `parts` is a user's; so is a symlink itself, not what it leads to."""
    return lambda root, name: os.chown(root.joinpath(*(p or name for p in parts)), MALLORY, MALLORY)


def mode(bits: int, *parts: str) -> Callable[[Path, str], None]:
    return lambda root, name: root.joinpath(*(p or name for p in parts)).chmod(bits)


def behind_symlink(path: Callable[[Path, str], Path]) -> Callable[[Path, str], None]:
    def replace(root: Path, name: str) -> None:
        real = path(root, name)
        moved = real.with_name("real")
        real.rename(moved)
        real.symlink_to(moved)

    return replace


def users_symlink(root: Path, name: str) -> None:
    """Above the store, where root's own would be followed."""
    behind_symlink(lambda root, name: root.parent)(root, name)
    os.chown(root.parent, MALLORY, MALLORY, follow_symlinks=False)


# By what is wrong: how it comes to be so, and what the error says.
ANOTHERS = {
    "the root": (give(), "state belongs to uid 1000"),
    "above the root": (give(".."), "above belongs to uid 1000"),
    "the container": (give(""), "belongs to uid 1000"),
    "state.json": (give("", "state.json"), "state.json belongs to uid 1000"),
    "a root for all": (mode(0o777), "state can be written by others (mode 0777)"),
    "a root for a group": (mode(0o770), "state can be written by others (mode 0770)"),
    "a sticky root": (mode(0o1777), "state can be written by others (mode 1777)"),
    "above for all": (mode(0o777, ".."), "above can be written by others (mode 0777)"),
    "a container for all": (mode(0o777, ""), "can be written by others (mode 0777)"),
    "a state.json for all": (mode(0o666, "", "state.json"), "state.json can be written by others (mode 0666)"),
    "a symlink as root": (behind_symlink(lambda root, name: root), "state is a symlink"),
    "a user's symlink above": (users_symlink, "above belongs to uid 1000"),
    "a symlink as container": (behind_symlink(lambda root, name: root / name), "ENOTDIR"),
    "a symlink as state.json": (behind_symlink(lambda root, name: root / name / "state.json"), "is a symlink"),
}


@pytest.mark.parametrize("wrong", ANOTHERS)
def test_nothing_of_it_is_believed(forged: Container, place: Path, wrong: str) -> None:
    spoil, words = ANOTHERS[wrong]
    spoil(forged.runtime.root, forged.id)
    for verb, *arguments in (["state"], ["start"], ["kill", "KILL"], ["exec", "true"], ["ps"], ["delete"]):
        done = forged.runtime(verb, forged.id, *arguments)
        assert done.code == (255 if verb == "exec" else 1), (verb, done)
        (line,) = done.err.splitlines()
        assert words in message(line), verb
        assert done.out == ""
    forged.runtime("delete", "--force", forged.id)
    assert not (place / "ran").exists()


@pytest.mark.parametrize("wrong", ["the root", "above the root", "a root for all", "a symlink as root"])
def test_nothing_is_made_in_it(forged: Container, wrong: str) -> None:
    spoil, words = ANOTHERS[wrong]
    spoil(forged.runtime.root, forged.id)
    before = sorted(os.listdir(forged.runtime.root))
    done = forged.runtime("create", "--bundle", forged.path, "another")
    assert done.code == 1
    assert words in message(done.err.strip())
    assert sorted(os.listdir(forged.runtime.root)) == before
    done = forged.runtime("list")
    assert (done.code, done.out) == (1, "")


def test_as_it_should_be(forged: Container, place: Path) -> None:
    """The hook is there to be run; a symlink of root's above the store is no obstacle."""
    behind_symlink(lambda root, name: root.parent)(forged.runtime.root, forged.id)
    assert forged.status == "stopped"
    forged.delete()
    assert (place / "ran").exists()


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory", "another's"])
def test_list_goes_on(forged: Container, new_container: Callable[[], Container], kind: str) -> None:
    other = new_container()
    other.runtime.root = forged.runtime.root
    other.create()
    file = forged.runtime.root / forged.id / "state.json"
    if kind == "another's":
        os.chown(file, MALLORY, MALLORY)
    else:
        file.unlink()
        {"symlink": lambda: file.symlink_to("/etc/hostname"), "fifo": lambda: os.mkfifo(file), "directory": file.mkdir}[
            kind
        ]()
    done = forged.runtime("list", "--quiet")
    assert (done.code, done.out) == (0, f"{other.id}\n")
    (line,) = done.err.splitlines()
    assert "level=warning" in line
    assert f"{forged.id}/state.json" in line
    done = forged.runtime("state", forged.id)
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "pyrun itself failed" not in done.err
    if kind != "directory":
        forged.delete("--force")
    else:
        file.rmdir()
    other.delete("--force")


# The runtime directory ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", [MALLORY, ALICE])
def test_a_symlink_in_the_runtime_directory(container: Container, place: Path, owner: int) -> None:
    """It was followed, and the mode of what it led to changed."""
    home, xdg = directory(place / "home", ALICE), directory(place / "xdg", owner)
    (xdg / "pyrun").symlink_to(home)
    os.chown(xdg / "pyrun", owner, owner, follow_symlinks=False)
    container.write()
    os.chmod(container.path / "config.json", 0o644)
    done = by(ALICE, PYRUN, "create", "--bundle", container.path, container.id, XDG_RUNTIME_DIR=str(xdg))
    assert done.code == 1
    words = "xdg belongs to uid 1000" if owner == MALLORY else "pyrun is a symlink"
    assert words in message(done.err.strip())
    assert home.stat().st_mode & 0o7777 == 0o755
    assert os.listdir(home) == []


@pytest.mark.parametrize("owner", [MALLORY, ALICE, 0])
def test_the_runtime_directory(place: Path, owner: int) -> None:
    xdg = directory(place / "xdg", owner)
    directory(xdg / "pyrun", ALICE, 0o700)
    done = by(ALICE, PYRUN, "list", XDG_RUNTIME_DIR=str(xdg))
    assert (done.code, "belongs to uid 1000" in done.err) == ((1, True) if owner == MALLORY else (0, False)), done


STRICT: Any = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}
LOOSE: Any = {"defaultAction": "SCMP_ACT_ALLOW"}


@pytest.mark.parametrize("wrong", ["above", "the cache", "for all", "symlink", "file", ""])
def test_a_cached_filter(place: Path, wrong: str) -> None:
    """A loose one of the victim's own was renamed to the digest of the strict one."""
    above = directory(place / "run", 0)
    cache = above / "cache"
    loose = seccomp.program(LOOSE, str(cache), Log())
    (kept,) = cache.iterdir()
    strict = seccomp.program(STRICT, str(cache), Log())
    assert strict != loose
    (digest,) = set(cache.iterdir()) - {kept}
    kept.rename(digest)
    if wrong == "above":
        os.chown(above, MALLORY, MALLORY)
    elif wrong == "the cache":
        os.chown(cache, MALLORY, MALLORY)
    elif wrong == "for all":
        cache.chmod(0o777)
    elif wrong == "file":
        digest.chmod(0o666)
    elif wrong == "symlink":
        cache.rename(above / "real")
        cache.symlink_to("real")
    before = sorted(os.listdir(cache))
    assert seccomp.program(STRICT, str(cache), Log()) == strict
    assert sorted(os.listdir(cache)) == before


# In a user namespace --------------------------------------------------------------------------------------------------

UNSHARED = ("unshare", "--user", "--map-root-user")


def test_the_root_outside_has_no_number(place: Path) -> None:
    """As in `podman unshare`: what is root's shows the overflow uid there."""
    own = directory(place / "own", MALLORY)
    for root in (own / "state", Path("/run/lock/nothing")):
        done = by(MALLORY, *UNSHARED, PYRUN, "--root", root, "state", "box")
        assert (done.code, "container does not exist" in done.err) == (1, True), done
    directory(own / "kept", MALLORY)
    done = by(MALLORY, *UNSHARED, PYRUN, "--root", own / "kept", "list", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize("owner", [0, ALICE])
def test_but_the_store_must_be_ones_own(place: Path, owner: int) -> None:
    root = directory(place / "state", owner)
    done = by(MALLORY, *UNSHARED, PYRUN, "--root", root, "list")
    assert done.code == 1
    assert "belongs to uid 65534" in done.err


def test_in_a_sticky_directory_anybody_may_have_made_it(place: Path) -> None:
    above = directory(directory(place / "tmp", 0, 0o1777) / "another", ALICE)
    root = directory(above / "state", MALLORY, 0o700)
    done = by(MALLORY, *UNSHARED, PYRUN, "--root", root, "list")
    assert done.code == 1
    assert f"{above} belongs to uid 65534" in done.err


@pytest.mark.parametrize("uid", [0, ALICE])
def test_the_nobody_of_the_host_is_nobody_special(place: Path, uid: int) -> None:
    """Outside of a user namespace the overflow uid is a user like another."""
    root = directory(directory(place / "above", ALICE) / "state", uid, 0o700)
    done = by(uid, PYRUN, "--root", root, "list")
    assert done.code == (0 if uid == ALICE else 1), done
