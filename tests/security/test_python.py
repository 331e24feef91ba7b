"""What is risky because it is Python: imports from where others can write, an interpreter's habits that leak."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest
from harness import Container, Runtime

pytestmark = pytest.mark.pyrun_only("about Python")

MODULES = ("json", "os", "posix", "re", "enum", "ctypes", "subprocess", "encodings", "warnings", "typing", "pyrun",
           "sitecustomize", "usercustomize", "_json", "select", "fcntl", "traceback", "linecache", "click")  # fmt: skip


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def plant(folder: Path, canary: Path) -> None:
    """Modules that say when they are imported."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODULES:
        (folder / f"{name}.py").write_text(f"open({str(canary)!r}, 'a').write({name!r})\n")
    for name in ("encodings", "pyrun"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"open({str(canary)!r}, 'a').write({name!r})\n")


VERBS = ("create", "state", "start", "kill", "list", "delete", "spec", "features", "--help", "nonsense", "plan")


@pytest.mark.parametrize("way", ["bundle", "environment"])
def test_modules_of_others_are_not_imported(container: Container, canary: Path, tmp_path: Path, way: str) -> None:
    """From the current folder, or from what the environment says."""
    folder = container.path if way == "bundle" else tmp_path / "evil"
    plant(folder, canary)
    environment = {"PATH": "/usr/bin:/bin"}
    if way == "environment":
        startup = tmp_path / "startup.py"
        startup.write_text(f"open({str(canary)!r}, 'a').write('startup')\n")
        environment |= {
            "PYTHONPATH": str(folder),
            "PYTHONHOME": str(folder),
            "PYTHONSTARTUP": str(startup),
            "PYTHONUSERBASE": str(folder),
            "PYTHONBREAKPOINT": "json.loads",
            "PYTHONWARNINGS": "error::json.Warning",
            "HOME": str(folder),
        }
    container.sh("sleep 1000")
    container.write()
    for verb in VERBS:
        arguments = {
            "create": ("create", container.id),
            "kill": ("kill", container.id, "0x"),  # an error, worded
            "delete": ("delete", "--force", container.id),
            "spec": ("spec", "--bundle", "/no/such"),
            "plan": ("plan",),
        }.get(verb, (verb, container.id) if verb in ("state", "start") else (verb,))
        done = container.runtime(*arguments, cwd=container.path, env=environment)
        assert "Traceback" not in done.err, (verb, done)
        assert not canary.exists(), (verb, canary.read_text())


@pytest.mark.parametrize("break_it", ["", "args", "json"])
def test_modules_of_the_image_are_not_imported(container: Container, canary: Path, break_it: str) -> None:
    """Not even for the words of an error."""
    for folder in ("usr/lib/python3.11", "usr/lib/python3", "usr/lib/python3/dist-packages", "lib/python3.11"):
        plant(container.rootfs / folder, canary)
    if break_it == "args":
        container.args = ["/no/such"]
    if break_it == "json":
        container.process["args"] = "x"
    done = container.run()
    assert done.code == (1 if break_it else 0)
    assert not canary.exists()


def test_sigpipe_is_as_it_should_be(container: Container) -> None:
    """Python ignores it, and what is ignored stays so across execve: then `yes | head` never ends."""
    container.args = ["/bin/grep", "Sig[IB]", "/proc/self/status"]
    fields = container.sees("").split()
    masks = dict(zip(fields[::2], fields[1::2], strict=True))
    for name in ("SigIgn:", "SigBlk:"):
        assert int(masks[name], 16) == 0


def test_hooks_have_sigpipe_too(container: Container) -> None:
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        container.hook("prestart", f"grep SigIgn /proc/self/status > {container.path}/seen")
        assert container.run("true").code == 0
    finally:
        signal.signal(signal.SIGPIPE, before)
    assert int((container.path / "seen").read_text().split()[1], 16) & 1 << signal.SIGPIPE - 1 == 0


def test_nothing_of_python_is_in_the_environment(container: Container) -> None:
    """The C locale makes Python set LC_CTYPE, in its own environment and so for every child."""
    container.args = ["/bin/env"]
    container.process["env"] = ["PATH=/bin", "HOME=/"]
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "LANG": "C"}
    container.hook("prestart", f"env > {container.path}/seen")
    assert sorted(container.sees("", env=environment).split()) == ["HOME=/", "PATH=/bin"]
    assert "LC_CTYPE" not in (container.path / "seen").read_text()


@pytest.mark.parametrize("mask", [0, 0o777])
def test_the_callers_umask_does_not_matter(container: Container, mask: int) -> None:
    before = os.umask(mask)
    try:
        container.create("--pid-file", str(container.path / "pid"))
    finally:
        os.umask(before)
    folder = container.runtime.root / container.id
    assert stat.S_IMODE(folder.stat().st_mode) & 0o077 in (0, 0o011)
    for file in folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0
    container.start_and_wait()


def test_no_bytecode_is_written(runtime: Runtime, tmp_path: Path) -> None:
    """By a run as root, somewhere beside the sources of the bundle."""
    runtime("state", "x", cwd=tmp_path)
    assert not list(tmp_path.rglob("*.pyc"))


def test_names_that_are_not_utf_8(container: Container) -> None:
    """Files of the image may have any bytes for names; the config can't name them, and errors can't stumble on them."""
    os.mkdir(os.fsencode(container.rootfs) + b"/\xff\xfe")
    assert container.sees("ls / | wc -l")
    done = container.runtime("state", os.fsdecode(b"\xff"))
    assert done.code == 1
    assert "Traceback" not in done.err
