"""What `make install` puts in place."""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import CHECKOUT, Container, Runtime

HOT = ("create", "state", "start", "kill", "delete", "run")
PYTHON = "/usr/bin/python3"
# How often one is installed over the other while it is called.
INSTALLS = int(os.environ.get("PYRUN_INSTALLS", "5"))


def make(*arguments: str) -> None:
    subprocess.run(["make", "-s", "-C", CHECKOUT, *arguments], check=True)


def require_engine() -> None:
    """make has built it; empty where build.py says that it does without."""
    if not (CHECKOUT / "build/engine").stat().st_size:
        pytest.skip("no start-up image is known for this Python and machine")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def libraries(prefix: Path) -> list[str]:
    return sorted((path.name for path in (prefix / "lib/pyrun").iterdir()), key=int)


@pytest.fixture(scope="module", params=["image", "launcher"])
def prefix(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """With the start-up image, and without."""
    folder = tmp_path_factory.mktemp("installed")
    make("install", f"PREFIX={folder}", f"IMAGE={'yes' if request.param == 'image' else ''}")
    if request.param == "image":
        require_engine()
    assert os.readlink(folder / "bin/pyrun") == f"{folder}/lib/pyrun/1/{request.param}"
    return folder


@pytest.fixture
def installed(prefix: Path, new_container: Callable[[], Container]) -> Container:
    """A container whose runtime is the installed one."""
    container = new_container()
    container.runtime.binary = str(prefix / "bin/pyrun")
    return container


def test_install_and_uninstall(tmp_path: Path) -> None:
    stage = tmp_path / "stage"
    (stage / "usr/bin").mkdir(parents=True)
    (stage / "usr/bin/other").touch()
    make("install", f"DESTDIR={stage}", "PREFIX=/usr")
    found = files(stage)
    assert {"usr/bin/pyrun", "usr/lib/pyrun/1/pyrun/machine/executor"} <= found
    assert all(name in ("usr/bin/pyrun", "usr/bin/other") or name.startswith("usr/lib/pyrun/") for name in found)
    # Compiled, by paths that are right once it is in place.
    launcher = (stage / "usr/lib/pyrun/1/launcher").read_text()
    assert launcher.startswith(f"#!{PYTHON} -IS\n")
    assert str(stage) not in launcher
    for name in found:
        if "/pyrun/1/pyrun/" in name and name.endswith(".py"):
            folder, _, module = name[:-3].rpartition("/")
            assert f"{folder}/__pycache__/{module}.{sys.implementation.cache_tag}.pyc" in found
    make("uninstall", f"DESTDIR={stage}", "PREFIX=/usr")
    assert files(stage) == {"usr/bin/other"}
    assert not (stage / "usr/lib/pyrun").exists()


def imported(runtime: Runtime, verb: str, *arguments: str | Path) -> list[str]:
    """The modules that a command of the installed pyrun loads by import statements, and how it ended: well."""
    command = [PYTHON, "-I", "-S", "-X", "importtime", *runtime.command(verb, *arguments)]
    with open(runtime.folder / "imports", "w+") as log:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, check=True)
        log.seek(0)
        return [line.rpartition("|")[2].strip() for line in log if line.startswith("import time:")]


def test_hot_verbs_come_linked(installed: Container) -> None:
    """No module of pyrun's is looked for: an import that packaging/link.py does not know of would be."""
    installed.args = ["sleep", "1000"]
    installed.write()
    installed.runtime.binary = str(Path(installed.runtime.binary).parent.parent / "lib/pyrun/1/launcher")
    runtime, seen = installed.runtime, {}
    bundle = ("--bundle", installed.path)
    seen["create"] = imported(runtime, "create", *bundle, installed.id)
    pid = installed.pid
    for verb in ("state", "start"):
        seen[verb] = imported(runtime, verb, installed.id)
    seen["kill"] = imported(runtime, "kill", installed.id, "KILL")
    assert installed.wait(pid) == -9
    seen["delete"] = imported(runtime, "delete", installed.id)
    installed.args = ["true"]
    installed.write()
    seen["run"] = imported(runtime, "run", *bundle, installed.id)
    assert set(seen) == set(HOT)
    assert {verb: [name for name in names if name.startswith("pyrun")] for verb, names in seen.items()} == {
        verb: [] for verb in HOT
    }
    for verb, names in seen.items():
        assert not {"os", "json", "re", "typing", "site"} & set(names), verb


def test_under_another_python_it_is_imported_as_usual(
    prefix: Path, tmp_path: Path, new_container: Callable[[], Container]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(prefix, other, symlinks=True)
    shutil.rmtree(other / "lib/pyrun/1/linked")
    launcher = other / "lib/pyrun/1/launcher"
    launcher.write_text(launcher.read_text().replace(str(prefix), str(other)))
    container = new_container()
    container.runtime.binary = str(launcher)
    assert container.sees("echo here") == "here"


def test_nothing_around_it_can_bring_in_code(installed: Container, tmp_path: Path) -> None:
    """The bundle is the current folder, and PYTHONPATH names one."""
    trap = "import os; os.abort()"
    for name in ("json", "os", "typing", "prctl", "click", "jsonschema", "pyrun", "sitecustomize"):
        (installed.path / f"{name}.py").write_text(trap)
        (tmp_path / f"{name}.py").write_text(trap)
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere", "PYTHONSTARTUP": str(tmp_path / "os.py")}
    assert installed.sees("echo here", cwd=installed.path, env=environment) == "here"
    for arguments in (["--help"], ["features"], ["no-such-command"]):
        done = subprocess.run(
            [installed.runtime.binary, *arguments],
            cwd=installed.path,
            env=environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == (3 if arguments == ["no-such-command"] else 0), done


def test_cold_paths_find_their_libraries(installed: Container) -> None:
    """click makes the help, jsonschema tells every fault: neither is on the interpreter's own path."""
    done = installed.runtime("--help")
    assert done.code == 0
    assert "create  " in done.out
    assert "not installed" not in done.out
    installed.config["process"]["cwd"] = 7
    installed.config["root"]["readonly"] = "yes"
    installed.refused("/process/cwd", "/root/readonly")


def test_as_a_manager_calls_it(installed: Container) -> None:
    """No PATH and no HOME, and stdin closed."""
    assert installed.run("echo here", env={}, stdin=subprocess.DEVNULL).out == "here\n"


# Installing over what is in use ---------------------------------------------------------------------------------------


class Caller(threading.Thread):
    """Calls pyrun until told to stop; `wrong` are the answers that neither an old nor a new one gives."""

    def __init__(self, runtime: Runtime, container: str) -> None:
        super().__init__()
        self.stopping = threading.Event()
        self.calls = 0
        self.wrong: list[object] = []
        # arguments, exit code, what stdout and stderr are like
        self.table = [
            (runtime.command("state", container), 0, f'"id": ?"{container}"', ""),
            (["--version"], 0, "^pyrun version ", ""),
            (runtime.command("kill", "nobody", "KILL"), 1, "", "container does not exist"),
            (runtime.command("list", "--quiet"), 0, container, ""),
            (runtime.command("start", container, "extra"), 1, "", "exactly 1 argument"),
            (runtime.command("delete", "--force", "nobody"), 0, "", ""),
            (["features"], 0, "ociVersionMin", ""),
            (runtime.command("delete", "nobody"), 1, "", "container does not exist"),
        ]
        self.binary = runtime.binary

    def run(self) -> None:
        while not self.stopping.is_set():
            for command, code, out, err in self.table:
                whole = command if command[0] == self.binary else [self.binary, *command]
                done = subprocess.run(whole, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
                self.calls += 1
                right = done.returncode == code and re.search(out, done.stdout) and re.search(err, done.stderr)
                if not right or "Traceback" in done.stderr:
                    self.wrong.append(done)


def test_whoever_calls_meanwhile_finds_the_old_or_the_new(
    tmp_path: Path, new_container: Callable[[], Container]
) -> None:
    prefix = tmp_path / "installed"
    make("install", f"PREFIX={prefix}")
    container = new_container()
    container.runtime.binary = str(prefix / "bin/pyrun")
    container.args = ["sleep", "1000"]
    container.write()
    assert container.runtime("create", "--bundle", container.path, container.id).code == 0
    callers = [Caller(container.runtime, container.id) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        for _ in range(INSTALLS):
            make("install", f"PREFIX={prefix}")
    finally:
        for caller in callers:
            caller.stopping.set()
            caller.join()
    assert [caller.wrong for caller in callers] == [[], []]
    assert all(caller.calls > 3 * INSTALLS for caller in callers)
    assert libraries(prefix) == [str(INSTALLS), str(INSTALLS + 1)]
    assert container.runtime("delete", "--force", container.id).code == 0


def test_what_still_runs_keeps_its_library(tmp_path: Path, new_container: Callable[[], Container]) -> None:
    """A foreground `run` outlives any number of installs, and still finds what it needs at its container's end."""
    prefix = tmp_path / "installed"
    make("install", f"PREFIX={prefix}")
    container = new_container()
    container.runtime.binary = str(prefix / "bin/pyrun")
    container.sh("read line; exit 7")
    container.config["hooks"] = {"poststop": [{"path": "/bin/touch", "args": ["touch", str(tmp_path / "stopped")]}]}
    container.write()
    command = container.runtime.command("run", "--bundle", container.path, container.id)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        while not container.runtime("state", container.id).out.count("running"):
            time.sleep(0.05)
        for _ in range(3):
            make("install", f"PREFIX={prefix}")
        assert libraries(prefix) == ["1", "3", "4"]
        _, err = running.communicate("\n", timeout=20)
    assert (running.returncode, err) == (7, "")
    assert (tmp_path / "stopped").exists()
    make("install", f"PREFIX={prefix}")
    assert libraries(prefix) == ["4", "5"]


def version(prefix: Path) -> str:
    return subprocess.check_output([prefix / "bin/pyrun", "--version"], text=True)


def test_an_interrupted_install_leaves_the_old_one(tmp_path: Path) -> None:
    prefix = tmp_path / "installed"
    make("install", f"PREFIX={prefix}")
    before = version(prefix), files(prefix)
    command = ["make", "-s", "-C", CHECKOUT, "install", f"PREFIX={prefix}"]
    for number, rest in ((signal.SIGINT, {"1"}), (signal.SIGKILL, {"1", "2", ".lock"})):
        # A shell that has put the tests in the background makes them ignore SIGINT.
        interruptible = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        with subprocess.Popen(
            command, stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=interruptible
        ) as installing:
            while not (prefix / "lib/pyrun/2/pyrun/cli").exists() and installing.poll() is None:
                time.sleep(0.005)
            os.killpg(installing.pid, number)
        assert installing.returncode != 0
        assert version(prefix) == before[0]
        # make itself ends at once; what cleans up after an interrupt takes a moment longer.
        deadline = time.monotonic() + 10
        while {path.name for path in (prefix / "lib/pyrun").iterdir()} != rest and time.monotonic() < deadline:
            time.sleep(0.05)
        assert {path.name for path in (prefix / "lib/pyrun").iterdir()} == rest
        assert number == signal.SIGKILL or files(prefix) == before[1]
    make("install", f"PREFIX={prefix}")
    assert libraries(prefix) == ["1", "3"]
    assert os.listdir(prefix / "bin") == ["pyrun"]


def test_two_installs_at_once_and_prefixes_spelled_otherwise(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("installed")
    prefixes = [f"{tmp_path}/installed", f"{tmp_path}//installed", f"{tmp_path}/link"]
    (tmp_path / "installed").mkdir()
    for prefix in prefixes:
        make("install", f"PREFIX={prefix}")
        assert version(Path(prefix)).startswith("pyrun version")
    command = ["make", "-s", "-C", CHECKOUT, "install", f"PREFIX={prefixes[0]}"]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [one.wait(timeout=60) for one in both] == [0, 0]
    assert libraries(tmp_path / "installed") == ["4", "5"]
    both = [subprocess.Popen([*command[:-2], "uninstall", command[-1]]) for _ in range(2)]
    assert [one.wait(timeout=60) for one in both] == [0, 0]
    assert files(tmp_path / "installed") == set()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one and a half."""
    folder = tmp_path / "small"
    folder.mkdir()
    make("install", f"PREFIX={tmp_path / 'measured'}")
    (size, _) = subprocess.check_output(["du", "-sk", tmp_path / "measured"], text=True).split()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={int(size) * 3 // 2}k", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_the_old_one(small: Path) -> None:
    make("install", f"PREFIX={small}")
    before = version(small), files(small)
    command = ["make", "-s", "-C", CHECKOUT, "install", f"PREFIX={small}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "No space left" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert (version(small), files(small)) == before
    subprocess.run(["mount", "-o", "remount,size=100m", small], check=True)
    make("install", f"PREFIX={small}")
    assert libraries(small) == ["1", "2"]


def test_nothing_of_the_build_is_in_the_image(tmp_path: Path) -> None:
    """Neither its environment, nor its directories, nor what it was trained with."""
    environment = {**os.environ, "CANARY": "yellow-bird", "PYTHONHASHSEED": "7", "HOME": "/yellow-bird", "TZ": "YEB-4"}
    command = ["make", "-s", "-C", CHECKOUT, "install", f"PREFIX={tmp_path}"]
    subprocess.run(command, env=environment, check=True)
    require_engine()
    content = (tmp_path / "lib/pyrun/1/image").read_bytes()
    for trace in (b"yellow-bird", b"YEB-4", b".pyrun-image-", os.fsencode(CHECKOUT / "packaging")):
        assert trace not in content
    assert os.fsencode(tmp_path) in content  # where its library is


_MATHS = """
import cmath, math
one = "acos asin asinh atan atanh cbrt ceil cos cosh erf erfc exp exp2 expm1 floor frexp gamma lgamma log log10 log1p"
one += " log2 modf sin sinh sqrt tan tanh"
two = "atan2 copysign fmod hypot nextafter pow remainder"
print([getattr(math, name)(0.5) for name in one.split()], [getattr(math, name)(2.5, 1.25) for name in two.split()])
print(math.acosh(1.5), math.ldexp(0.5, 3), cmath.exp(1j), 2.5 // 1.5, 2.5 % 1.5, 2.5**1.5, round(2.567, 2))
raise SystemExit
"""


def test_libm_is_there_when_it_is_called(tmp_path: Path) -> None:
    """The image does not begin with it (packaging/image/libm.c), and says what any Python says."""
    require_engine()
    script, nothing = tmp_path / "maths.py", tmp_path / "nothing"
    script.write_text(_MATHS)
    nothing.touch()
    engine = [CHECKOUT / "build/engine", "build", script, tmp_path / "image", "1", nothing, "-"]
    assert "libm" not in subprocess.check_output(["readelf", "-d", engine[0]], text=True)
    expected = subprocess.check_output([PYTHON, script])
    assert subprocess.check_output(engine) == expected
