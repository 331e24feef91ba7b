"""What `make install` and pip put in place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import CHECKOUT, Container, Runtime

HOT = ("create", "state", "start", "kill", "delete", "run")
PYTHON = "/usr/bin/python3"


def make(*arguments: str) -> None:
    subprocess.run(["make", "-s", "-C", CHECKOUT, *arguments], check=True)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    make("install", f"PREFIX={folder}")
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
    assert {"usr/bin/pyrun", "usr/lib/pyrun/pyrun/runtime/executor/executor"} <= found
    assert all(name in ("usr/bin/pyrun", "usr/bin/other") or name.startswith("usr/lib/pyrun/") for name in found)
    # Compiled, by paths that are right once it is in place.
    launcher = (stage / "usr/bin/pyrun").read_text()
    assert launcher.startswith(f"#!{PYTHON} -IS\n")
    assert str(stage) not in launcher
    for name in found:
        if "/pyrun/pyrun/" in name and name.endswith(".py"):
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
    shutil.rmtree(other / "lib/pyrun/linked")
    launcher = other / "bin/pyrun"
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


def test_pip(tmp_path: Path, new_container: Callable[[], Container]) -> None:
    source = tmp_path / "source"
    names = subprocess.check_output(["git", "-C", CHECKOUT, "ls-files", "-zco", "--exclude-standard"]).split(b"\0")
    for name in filter(None, map(os.fsdecode, names)):
        if (CHECKOUT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, source / name)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    wheels, target = tmp_path / "wheels", tmp_path / "target"
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, source], check=True)
    (wheel,) = wheels.iterdir()
    assert wheel.name.startswith("pyrun_oci-")
    assert "-py3-none-linux_" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names_ = set(archive.namelist())
        metadata = archive.read(next(name for name in names_ if name.endswith(".dist-info/METADATA"))).decode()
    assert "License-Expression: Apache-2.0" in metadata
    tops = {name.split("/")[0] for name in names_}
    assert {top for top in tops if not top.startswith("pyrun_oci-")} == {"pyrun"}
    modules = {
        f"pyrun/{path.relative_to(CHECKOUT)}"
        for top in ("hooks", "runtime", "spec")
        for path in (CHECKOUT / top).rglob("*.py")
    }
    schemas = {f"pyrun/{path.relative_to(CHECKOUT)}" for path in (CHECKOUT / "spec/schemas").iterdir()}
    held = {name for name in names_ if name.startswith("pyrun/")}
    assert held == modules | schemas | {"pyrun/runtime/executor/executor"}
    subprocess.run([*pip, "install", "--no-deps", "--target", target, wheel], check=True)
    container = new_container()
    container.runtime.binary = str(target / "bin/pyrun")
    environment = {"PYTHONPATH": str(target)}
    assert container.sees("echo here", env=environment) == "here"
    assert "create  " in container.runtime("--help", env=environment).out
