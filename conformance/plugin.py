"""The pytest plugin: fixtures, the leak check, and the table of MUSTs at the end.

The whole session lives in a mount namespace of its own. After each test nothing may be left of it: mounts, cgroups,
processes, descriptors, state.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.harness import (
    APPLETS,
    EXAMPLE,
    MNT_DETACH,
    Container,
    Listener,
    Runtime,
    cgroups,
    descriptors,
    ends,
    enterable,
    libc,
    mounts,
    processes,
    restore_options,
    tidy,
)
from conformance.musts import MUSTS

HERE = Path(__file__).parent
DEVIATIONS = HERE / "deviations.toml"
ROOT = os.geteuid() == 0
CLONE_NEWNS, MS_REC, MS_PRIVATE, PR_SET_CHILD_SUBREAPER = 0x20000, 1 << 14, 1 << 18, 36


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--runtime", help="the runtime to test: a path, or a name on PATH")
    group.addoption("--systemd-cgroup", action="store_true", help="let systemd make the cgroups")
    group.addoption("--expected", metavar="NAME", help="fail where the outcome is not the one in deviations.toml")
    group.addoption("--deviations", metavar="FILE", type=Path, default=DEVIATIONS, help="where that stands instead")
    group.addoption("--results", metavar="FILE", type=Path, help="write the outcomes as JSON")


def pytest_configure(config: pytest.Config) -> None:
    # Under nohup(1), or in the background of a script, these are ignored, and would be by what is tested.
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "must(*numbers): the MUSTs of the spec that the test shows (musts.py)")
    if config.getoption("runtime") is None:
        config.option.runtime = os.environ.get("RUNTIME") or default_runtime()
    if config.getoption("runtime"):
        config.option.runtime = shutil.which(config.option.runtime) or config.option.runtime
    config.addinivalue_line("markers", "deviates: what pyrun does otherwise on purpose (deviations.toml)")
    config.addinivalue_line("markers", "cgroupfs: about paths that only the cgroupfs driver takes")
    config.addinivalue_line("markers", "systemd: worth a run with --systemd-cgroup as well")
    config.pluginmanager.register(Report(config), "conformance-report")
    if config.getoption("systemd_cgroup"):
        Runtime.wide = ("--systemd-cgroup",)
    if not ROOT or config.getoption("collectonly"):
        return
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        raise pytest.UsageError(f"no mount namespace for the tests: {os.strerror(ctypes.get_errno())}")
    # Whatever outlives its runtime becomes a child of the tests: so a leaked process is seen, and can be waited for.
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    hugetlb = Path("/sys/fs/cgroup/hugetlb")
    if "crun" in str(config.getoption("runtime")) and Path("/sys/fs/cgroup/unified").exists():
        # crun 1.8 refuses the hybrid mode unless this controller is off cgroup v2.
        new = not hugetlb.exists()
        hugetlb.mkdir(exist_ok=True)
        libc.mount(b"cgroup", bytes(hugetlb), b"cgroup", 0, b"hugetlb")
        if new:
            config.add_cleanup(lambda: remove_mounted(hugetlb))


def remove_mounted(folder: Path) -> None:
    libc.umount2(bytes(folder), MNT_DETACH)
    with contextlib.suppress(OSError):  # somebody else uses it meanwhile
        folder.rmdir()


def default_runtime() -> str | None:
    return next((path for name in ("runc", "crun", "youki") if (path := shutil.which(name))), None)


def is_ours(item: pytest.Item) -> bool:
    return HERE in item.path.parents


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    runtime = config.getoption("runtime")
    if runtime and not os.access(runtime, os.X_OK) and any(map(is_ours, items)):
        raise pytest.UsageError(f"--runtime={runtime}: no such program")
    if config.getoption("systemd_cgroup"):
        for item in items:
            if item.get_closest_marker("cgroupfs"):
                item.add_marker(pytest.mark.skip("about paths of the cgroupfs driver"))
    for item in filter(is_ours, items):
        item.user_properties.append(("must", " ".join(map(str, musts(item)))))
        if not ROOT:
            item.add_marker(pytest.mark.skip("needs root"))
        elif not runtime:
            item.add_marker(pytest.mark.skip("no runtime: give --runtime"))


def machine() -> str:
    """The kind that deviations.toml knows: by the version of its cgroups."""
    return "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"


def deviations(file: Path, name: str, *facts: str) -> dict[str, str]:
    """Test → why it fails, of one runtime. A table within a table holds where its name is among the facts."""

    def entries(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
        for key, value in table.items():
            if isinstance(value, str):
                yield key, value
            elif key in facts:
                yield from entries(value)

    return dict(entries(tomllib.loads(file.read_text()).get(name, {})))


def musts(item: pytest.Item) -> list[int]:
    return sorted({number for marker in item.iter_markers("must") for number in marker.args})


def name_of(nodeid: str) -> str:
    """test_file.py::test_name[parameters] without the folder."""
    return nodeid.rpartition("conformance/")[2]


class Report:
    """Outcomes by test, what they say of each MUST, and how they compare with what is expected."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.expected: dict[str, str] = {}
        if name := config.getoption("expected"):
            facts = number_of(version_of(config.getoption("runtime"))), machine()
            self.expected = deviations(config.getoption("deviations"), name, *facts)
        self.collected: set[str] = set()
        self.outcomes: dict[str, str] = {}
        self.reasons: dict[str, str] = {}
        self.numbers: dict[str, list[int]] = {}
        self.others_fail = False

    def why(self, name: str) -> str:
        return self.expected.get(name, "")

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """All there are, before -k and the like take any out."""
        self.collected = {name_of(item.nodeid) for item in items if is_ours(item)}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.numbers = {name_of(item.nodeid): musts(item) for item in session.items if is_ours(item)}
        if self.config.getoption("collectonly") and (path := self.config.getoption("results")):
            path.write_text(json.dumps(self.numbers))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = name_of(report.nodeid)
        if name not in self.numbers:
            self.others_fail |= report.failed
            return
        if self.outcomes.get(name) == "failed":
            return
        if report.failed:
            self.outcomes[name] = "failed"
            self.reasons[name] = self.why(name) or last_line(report)
            if self.why(name):
                report.longrepr = f"expected: {self.why(name)}"
        elif report.skipped:
            self.outcomes[name] = "skipped"
            self.reasons[name] = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
        elif report.when == "call":
            self.outcomes[name] = "passed"

    def surprises(self) -> list[str]:
        """What did not come out as deviations.toml says."""
        found = [
            f"{name}: fails, unexpectedly"
            for name, outcome in sorted(self.outcomes.items())
            if outcome == "failed" and name not in self.expected
        ]
        for name in self.expected:
            if self.outcomes.get(name) == "passed":
                found.append(f"{name}: was to fail, and does not")
            elif self.whole and name not in self.collected:
                found.append(f"{name}: there is no such test")
        return found

    @property
    def whole(self) -> bool:
        """All of the suite was looked at, if not run."""
        return {Path(argument).resolve() for argument in self.config.args} == {HERE}

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self.config.getoption("expected") and exitstatus in (0, 1):
            session.exitstatus = 1 if self.surprises() or self.others_fail else 0

    def by_must(self) -> dict[int, dict[str, list[str]]]:
        """Number → outcome → tests."""
        table: dict[int, dict[str, list[str]]] = {number: defaultdict(list) for number in MUSTS}
        for name, outcome in self.outcomes.items():
            for number in self.numbers[name]:
                table[number][outcome].append(name)
        return table

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.outcomes:
            return
        version = version_of(self.config.getoption("runtime"))
        terminalreporter.section(f"MUSTs of the OCI runtime spec: {version}")
        for number, found in self.by_must().items():
            if found:
                verdict = verdict_of(found)
                text = MUSTS[number].text
                terminalreporter.line(f"{number:4} {verdict:8}{counts(found):10}{text[:96]}")
                for name in found["failed"]:
                    terminalreporter.line(f"{'':13}{name}: {self.reasons[name]}"[:200])
        if self.config.getoption("expected"):
            terminalreporter.section("compared with what is expected")
            for line in self.surprises() or ["all as expected"]:
                terminalreporter.line(line)
        if path := self.config.getoption("results"):
            path.write_text(json.dumps(self.document(version), indent=1, ensure_ascii=False) + "\n")

    def document(self, version: str) -> dict[str, Any]:
        return {
            "runtime": Path(self.config.getoption("runtime")).name,
            "version": version,
            "musts": {number: verdict_of(found) for number, found in self.by_must().items() if found},
            "tests": {
                name: {"outcome": outcome, "must": self.numbers[name]}
                | ({"reason": self.reasons[name]} if name in self.reasons else {})
                for name, outcome in sorted(self.outcomes.items())
            },
        }


def verdict_of(found: dict[str, list[str]]) -> str:
    return "FAIL" if found.get("failed") else "pass" if found.get("passed") else "skip"


def counts(found: dict[str, list[str]]) -> str:
    total = sum(map(len, found.values()))
    return f"{len(found.get('passed', ()))}/{total}"


def last_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return crash.message.splitlines()[0] if crash else ""


def version_of(runtime: str) -> str:
    out = subprocess.run([runtime, "--version"], capture_output=True, text=True, check=False, timeout=20).stdout
    return (out.splitlines() or ["?"])[0]


def number_of(version: str) -> str:
    """1.1.5 of "runc version 1.1.5+ds1"."""
    found = re.search(r"\d+(\.\d+)+", version)
    return found[0] if found else ""


# Fixtures -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rootfs that every test gets a copy of: the files are the same, by hard links."""
    rootfs = tmp_path_factory.mktemp("image") / "rootfs"
    for folder in ("bin", "etc", "proc", "sys", "dev", "tmp", "root"):
        (rootfs / folder).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", rootfs / "bin/busybox")
    for name in APPLETS:
        (rootfs / "bin" / name).symlink_to("busybox")
    (rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
    (rootfs / "tmp").chmod(0o1777)
    return rootfs


@pytest.fixture(scope="session")
def example() -> str:
    """The config that the containers begin with, as JSON."""
    return json.dumps(EXAMPLE)


@pytest.fixture(scope="session")
def container_type() -> type[Container]:
    return Container


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """The leak check, the last thing that happens in a test. Cgroups are looked for only where a runtime was at work:
    that reads all of the machine's."""
    if not ROOT:
        yield
        return
    before = mounts(), descriptors()
    yield
    left = [pid for pid in processes() if not ends(pid)]
    restore_options(before[0])
    after = mounts(), descriptors()
    found = cgroups(f"test-{os.getpid()}-") if "runtime" in request.fixturenames else []
    tidy(left, after[0] - before[0], found)
    assert not left, "leaves processes"
    assert after[0] == before[0], "leaves mounts"
    assert after[1] == before[1], "leaves descriptors"
    assert not found, "leaves cgroups"


@pytest.fixture
def runtime(request: pytest.FixtureRequest, tmp_path: Path, nothing_left: None) -> Iterator[Runtime]:
    binary = request.config.getoption("runtime")
    runtime = Runtime(os.path.abspath(binary), tmp_path)
    yield runtime
    for name in runtime.ids():
        runtime("delete", "--force", name)
    assert runtime.ids() == []


@pytest.fixture
def new_container(
    runtime: Runtime, tmp_path: Path, image: Path, example: str, container_type: type[Container]
) -> Callable[[], Container]:
    """A function that makes bundles, each for a container of its own."""

    def make() -> Container:
        enterable(tmp_path)  # runc must get there in a user namespace
        config = json.loads(example)
        config["process"] |= {"terminal": False, "args": ["/bin/true"]}
        container = container_type(runtime, tmp_path / f"bundle-{len(runtime.containers)}", config)
        shutil.copytree(image, container.rootfs, symlinks=True, copy_function=os.link)
        # Only what is never written may be shared with other tests.
        for name in ("etc/passwd",):
            content = (image / name).read_bytes()
            (container.rootfs / name).unlink()
            (container.rootfs / name).write_bytes(content)
        return container

    return make


@pytest.fixture
def container(new_container: Callable[[], Container]) -> Container:
    return new_container()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    made = Listener(tmp_path / "s")
    yield made
    made.close()


@pytest.fixture
def shared(container: Container) -> Iterator[Path]:
    """A shared tmpfs of the host's with another one below it."""
    top = container.path / "shared"
    top.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "top", top], check=True)
    try:
        subprocess.run(["mount", "--make-shared", top], check=True)
        (top / "below").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "below", top / "below"], check=True)
        (top / "mark").write_text("top")
        (top / "below/mark").write_text("below")
        yield top
    finally:
        subprocess.run(["umount", "-R", top], check=True)
