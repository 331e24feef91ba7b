"""Wheels, and what pip and pipx make of them where there is no compiler; the sdist; the bill of materials."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import CHECKOUT, Container

sys.path.insert(0, str(CHECKOUT / "packaging"))
import release

pytestmark = pytest.mark.pyrun_only("about its packages")
PYTHON = "/usr/bin/python3"
MACHINES = sorted({platform.machine(), "aarch64"})
PIP = ("-m", "pip", "-q", "--disable-pip-version-check")
# What the libraries are, by `make build`.
WHEELS = os.environ.get("WHEELS", str(Path.home() / ".cache/pyrun-wheels"))


def make(*arguments: str) -> None:
    subprocess.run(["make", "-s", "-C", CHECKOUT, *arguments], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def wheels() -> dict[str, Path]:
    """By machine."""
    make("wheel")
    found = {path.stem.rpartition("linux_1_2_")[2]: path for path in (CHECKOUT / "build/wheels").iterdir()}
    assert sorted(found) == MACHINES
    return found


@pytest.fixture(scope="module")
def wheel(wheels: dict[str, Path]) -> Path:
    """For this machine."""
    return wheels[platform.machine()]


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which there is no compiler to be found, nor anything else; and no registry."""
    empty = str(tmp_path_factory.mktemp("empty"))
    return {"PATH": empty, "HOME": empty, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": WHEELS, "LANG": "C.UTF-8"}


@pytest.fixture(scope="module")
def venv(wheel: Path, nothing: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the wheel, and what that asks for."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([PYTHON, "-m", "venv", folder], env=nothing, check=True)
    python = [folder / "bin/python", *PIP]
    subprocess.run([*python, "install", "--only-binary", ":all:", wheel], env=nothing, check=True)
    subprocess.run([*python, "check"], env=nothing, check=True, stdout=subprocess.DEVNULL)
    return folder


def source(folder: Path) -> Path:
    """A copy of what git knows, or would if it were told: no git, and nothing that is built."""
    names = subprocess.check_output(["git", "-C", CHECKOUT, "ls-files", "-zco", "--exclude-standard"]).split(b"\0")
    for name in filter(None, map(os.fsdecode, names)):
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, folder / name)
    return folder


def built(of: Path, into: Path) -> Path:
    command = [sys.executable, *PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", into, of]
    subprocess.run(command, check=True)
    (wheel,) = into.iterdir()
    return wheel


def baked(wheel: Path) -> tuple[str, str]:
    """Version and commit that the wheel's pyrun says."""
    found: dict[str, str] = {}
    with zipfile.ZipFile(wheel) as archive:
        exec(archive.read("pyrun/version.py"), found)
    return found["VERSION"], found["COMMIT"]


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_in_a_wheel(wheels: dict[str, Path], machine: str) -> None:
    systems = ".".join(f"{system}_{machine}" for system in ("manylinux2014", "manylinux_2_17", "musllinux_1_2"))
    assert wheels[machine].name == f"pyrun_oci-{release.release().pep440()}-py3-none-{systems}.whl"
    assert baked(wheels[machine])[0] == release.release().semver()
    with zipfile.ZipFile(wheels[machine]) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
        executor = archive.read("pyrun/machine/executor")
    assert "License-Expression: Apache-2.0" in metadata
    assert 'Requires-Dist: python-prctl>=1.8; extra == "prctl"' in metadata
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.startswith("pyrun_oci-")} == {"pyrun"}
    modules = {
        f"pyrun/{path.relative_to(CHECKOUT)}".replace("pyrun/runtime/", "pyrun/")
        for top in ("hooks", "runtime", "spec")
        for path in (CHECKOUT / top).rglob("*.py")
    }
    schemas = {f"pyrun/{path.relative_to(CHECKOUT)}" for path in (CHECKOUT / "spec/schemas").iterdir()}
    held = {name for name in names if name.startswith("pyrun/")}
    assert held == modules | schemas | {
        "pyrun/machine/executor",
        "pyrun/py.typed",
        "pyrun/spec/musts.json",
        "pyrun/timeline/page.html",
    }
    own = "runtime/machine/executor" if machine == platform.machine() else f"build/executor.{machine}"
    assert executor == (CHECKOUT / own).read_bytes()


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("system", ["manylinux_2_17", "musllinux_1_2"])
def test_auditwheel_and_pip_take_it(wheels: dict[str, Path], machine: str, system: str, tmp_path: Path) -> None:
    """auditwheel judges by one libc, which the name of a wheel tells it."""
    name = wheels[machine].name
    alone = tmp_path / f"{name.partition('-py3-')[0]}-py3-none-{system}_{machine}.whl"
    shutil.copy(wheels[machine], alone)
    said = subprocess.check_output([f"{sys.prefix}/bin/auditwheel", "show", "--json", alone], stderr=subprocess.DEVNULL)
    found = json.loads(said)
    # An older glibc would do as well, but pip on aarch64 knows none.
    older = {"manylinux_2_17_x86_64": "manylinux_2_5_x86_64"}
    assert found["overall_tag"] == older.get(f"{system}_{machine}", f"{system}_{machine}")
    assert not found["pure"]
    assert (found["versioned_symbols"], found["external_libs"]) == ({}, {})
    options = ["--no-deps", "--no-index", "--only-binary", ":all:", "--platform", f"{system}_{machine}"]
    there = [*options, "--python-version", "3.14", "--target", tmp_path / "target"]
    subprocess.run([sys.executable, *PIP, "install", *there, wheels[machine]], check=True)
    assert (tmp_path / "target/pyrun/machine/executor").exists()


def test_by_pip_where_there_is_no_compiler(
    venv: Path, nothing: dict[str, str], new_container: Callable[[], Container]
) -> None:
    container = new_container()
    container.runtime.binary = str(venv / "bin/pyrun")
    assert container.sees("echo here", env=nothing) == "here"
    assert "create  " in container.runtime("--help", env=nothing).out
    commit = release.release().commit
    assert not commit or f"commit: {commit}" in container.runtime("--version", env=nothing).out
    script = (
        "import pyrun, sys; print(pyrun.__version__, pyrun.run(pyrun.Bundle.load(sys.argv[1])).stdout.decode(), end='')"
    )
    container.sh("echo from python")
    container.write()
    said = subprocess.check_output([venv / "bin/python", "-c", script, container.path], env=nothing, text=True)
    assert said == f"{release.release().semver()} from python\n"


def test_without_prctl_it_says_what_it_does_not(
    venv: Path, nothing: dict[str, str], new_container: Callable[[], Container]
) -> None:
    container = new_container()
    container.runtime.binary = str(venv / "bin/pyrun")
    doctor = json.loads(container.runtime("doctor", "--json", env=nothing).out)
    (row,) = [row for row in doctor if row["about"] == "prctl"]
    assert (row["level"], row["mend"]) == ("limited", 'pip install "pyrun-oci[prctl]"')
    container.without_namespace("pid")
    container.sh("echo here")
    container.write()
    command = ("run", "--bundle", container.path, container.id)
    done = container.runtime(*command, env=nothing)
    assert (done.code, done.out) == (0, "here\n")
    assert "python-prctl is not installed" in done.err
    done = container.runtime(*command[:1], "--no-subreaper", *command[1:], env=nothing)
    assert (done.code, done.out, done.err) == (0, "here\n", "")


def test_by_pipx_with_prctl(
    wheel: Path, nothing: dict[str, str], tmp_path: Path, new_container: Callable[[], Container]
) -> None:
    """An extra of the wheel's; what `make build` has compiled of it."""
    environment = {**nothing, "PIPX_HOME": str(tmp_path / "home"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    log = tmp_path / "log"
    command = ["/usr/bin/pipx", "install", f"{wheel}[prctl]"]
    with log.open("w") as out:
        code = subprocess.run(command, env=environment, stdout=out, stderr=out, check=False).returncode
    assert code == 0, log.read_text()
    container = new_container()
    container.runtime.binary = str(tmp_path / "bin/pyrun")
    container.without_namespace("pid")
    container.sh("echo here")
    container.write()
    done = container.runtime("run", "--bundle", container.path, container.id, env=nothing)
    assert (done.code, done.out, done.err) == (0, "here\n", "")
    assert "python-prctl" not in container.runtime("doctor", env=nothing).out


def test_without_git_it_is_the_release_of_the_file(tmp_path: Path) -> None:
    wheel = built(source(tmp_path / "source"), tmp_path / "wheels")
    number = release._WRITTEN.search((CHECKOUT / "runtime/version.py").read_text())
    assert number
    assert wheel.name.startswith(f"pyrun_oci-{number[1]}-py3-none-manylinux")
    assert baked(wheel) == (number[1], "")


def test_of_a_clone_that_has_a_tag(tmp_path: Path) -> None:
    """The wheel, the sdist, and the wheel of that: all know the release and the commit."""
    tree = source(tmp_path / "source")
    number = release.release(str(tree)).number

    def git(*words: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x", "-c", "commit.gpgSign=false", "-c", "tag.gpgSign=false"]
        return subprocess.check_output(["git", "-C", tree, *who, *words], text=True).strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "one")
    git("tag", f"v{number}")
    head = git("rev-parse", "HEAD")
    whole = built(tree, tmp_path / "wheels")
    assert whole.name.startswith(f"pyrun_oci-{number}-py3-none-")
    assert baked(whole) == (number, head)
    script = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, tmp_path], cwd=tree, check=True, capture_output=True)
    sdist = tmp_path / f"pyrun_oci-{number}.tar.gz"
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert f"pyrun_oci-{number}/runtime/machine/executor.c" in names
    assert not [name for name in names if name.endswith((".pyc", "/executor"))]
    again = built(sdist, tmp_path / "again")
    assert (again.name, baked(again)) == (whole.name, (number, head))
    with zipfile.ZipFile(whole) as first, zipfile.ZipFile(again) as second:
        assert sorted(first.namelist()) == sorted(second.namelist())
    assert git("status", "--porcelain") == ""


def test_the_bill_of_materials() -> None:
    make("sbom")
    from cyclonedx.schema import SchemaVersion  # lazy: make has installed it
    from cyclonedx.validation.json import JsonStrictValidator  # lazy: make has installed it

    text = (CHECKOUT / "build/pyrun.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace('"licenses"', '"licences"')) is not None
    bill = json.loads(text)
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"]) == ("pyrun-oci", release.release().semver())
    parts = {part["name"]: part for part in bill["components"]}
    installed = {
        name.partition(":")[2].strip().lower().replace("_", "-")
        for path in (CHECKOUT / "build/dependencies").glob("*.dist-info/METADATA")
        for name in path.read_text().splitlines()
        if name.startswith("Name: ")
    }
    linked = {"cpython", "expat", "zlib"} if (CHECKOUT / "build/engine").stat().st_size else set()
    assert {name.replace("_", "-") for name in parts} == installed | linked | {"executor"}
    assert {"click", "jeepney", "jsonschema", "psutil", "python-prctl"} <= installed
    assert all(part["version"] and part["licenses"] for part in parts.values())
    content = (CHECKOUT / "runtime/machine/executor").read_bytes()
    assert parts["executor"]["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}]
    (ours,) = [row for row in bill["dependencies"] if row["ref"] == root["bom-ref"]]
    assert {parts["executor"]["bom-ref"], parts["python-prctl"]["bom-ref"]} <= set(ours["dependsOn"])
