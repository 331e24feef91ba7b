"""The drivers in conformance/: TAP programs are run and read, outcomes are counted, and the pages are current."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance import __main__ as driver
from conformance import plugin, programs, runtime_tools
from conformance.musts import MUSTS

CHECKOUT = Path(__file__).parents[2]
LIFECYCLE = "conformance/test_lifecycle.py"


pytestmark = pytest.mark.slow  # they run pytest


# TAP ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "passed", "failed", "skipped", "planned"),
    [
        ("", 0, [], 0, None),
        ("1..2\nok 1 - first\nok 2 - second\n", 2, [], 0, 2),
        ("TAP version 13\nok 1\nnot ok 2 - second\n1..2\n", 1, ["second"], 0, 2),
        ("not ok\n", 0, ["test None"], 0, None),
        ("not ok 7\n", 0, ["test 7"], 0, None),
        ("ok 1 - first # SKIP no such thing\nnot ok 2 # TODO later\n", 0, [], 2, None),
        ("ok 1 - first\n  ---\n  message: not ok\n  ...\n    not ok 1 - of a subtest\n# a comment\n", 1, [], 0, None),
        ("okay\nnot okay\nnoise: not ok 1\nok 1 - first\n", 1, [], 0, None),
        ("1..0 # skipped: not here\n", 0, [], 0, 0),
    ],
)
def test_tap(text: str, passed: int, failed: list[str], skipped: int, planned: int | None) -> None:
    tap = runtime_tools.read_tap(text)
    assert (tap.passed, tap.failed, tap.skipped, tap.planned) == (passed, failed, skipped, planned)


def test_a_program_that_bails_out() -> None:
    assert runtime_tools.fault(runtime_tools.read_tap("ok 1\nBail out! no runtime\n"), 0) == "bails out: no runtime"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder as runtime-tools' own looks when it is built."""
    (tmp_path / "validation").mkdir()
    for name in runtime_tools.NEEDED:
        (tmp_path / name).write_text(name)
    return tmp_path


def program(checkout: Path, name: str, script: str) -> Path:
    """A TAP program that is a shell script."""
    folder = checkout / "validation" / name
    folder.mkdir()
    file = folder / f"{name}.t"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 1..1; echo ok 1 - fine", ""),
        ("true", ""),
        ("echo ok 1; echo not ok 2 - that; echo not ok 3 - this", "not ok: that, and 1 more"),
        ("echo not ok 1 - that; exit 1", "not ok: that"),
        ("echo ok 1; exit 3", "ends with 3"),
        ("echo words >&2; exit 1", "ends with 1"),
        ("echo 1..3; echo ok 1", "3 planned, 1 run"),
        ("cat runtimetest rootfs-amd64.tar.gz > both; test -s both && echo ok 1 || echo not ok 1 - files", ""),
        ('test "$RUNTIME" = /bin/true && echo ok 1 || echo not ok 1 - runtime', ""),
        ("head -c 1000000 /dev/zero | tr '\\0' '\\n'; echo ok 1", ""),
    ],
)
def test_what_a_program_says(checkout: Path, script: str, why: str) -> None:
    assert runtime_tools.run(program(checkout, "it", script), "/bin/true", checkout) == why


def test_a_program_that_hangs_is_ended_with_its_children(checkout: Path) -> None:
    hangs = program(checkout, "it", f"sleep 1000 & echo $! > {checkout}/child; echo ok 1; sleep 1000")
    assert "not done after" in runtime_tools.run(hangs, "/bin/true", checkout, seconds=0.5)
    try:
        child = os.pidfd_open(int((checkout / "child").read_text()))
    except ProcessLookupError:
        return
    assert select.select([child], [], [], 20)[0], "it goes on"
    os.close(child)


def test_every_program_has_a_folder_of_its_own(checkout: Path) -> None:
    first = program(checkout, "first", f"pwd > {checkout}/pwd; touch mark; echo ok 1")
    second = program(checkout, "second", "test ! -e mark && echo ok 1 || echo not ok 1 - mark")
    assert runtime_tools.run(first, "/bin/true", checkout) == ""
    assert runtime_tools.run(second, "/bin/true", checkout) == ""
    assert not Path((checkout / "pwd").read_text().strip()).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_mounts_of_a_program_do_not_reach_the_host(checkout: Path) -> None:
    mounts = program(checkout, "it", f"mount -t tmpfs x {checkout}/validation && echo ok 1 || echo not ok 1 - mount")
    assert runtime_tools.run(mounts, "/bin/true", checkout) == ""
    assert not os.path.ismount(checkout / "validation")


def called(checkout: Path, *names: str, runtime: str = "/bin/true") -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "conformance.runtime_tools", runtime, str(checkout), *names]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    return done.returncode, [" ".join(line.split()) for line in (done.stdout + done.stderr).splitlines()]


def test_the_comparison(checkout: Path) -> None:
    program(checkout, "create", "echo ok 1")
    program(checkout, "delete", "echo not ok 1 - words")
    program(checkout, "pidfile", "echo ok 1")
    code, lines = called(checkout)
    assert code == 0
    assert lines[0] == "pass create"
    assert lines[1].startswith("known delete not ok: words (")
    assert lines[2] == "pass pidfile (known to fail elsewhere)"
    program(checkout, "kill", "echo not ok 1 - words")
    code, lines = called(checkout)
    assert code == 1
    assert "FAIL kill not ok: words" in lines
    assert called(checkout, "create")[0] == 0
    assert called(checkout, "no-such")[0] == 2
    assert called(checkout, runtime="/no/such")[0] == 2


def test_a_checkout_that_is_not_built(checkout: Path) -> None:
    assert called(checkout)[0] == 2
    program(checkout, "create", "echo ok 1")
    (checkout / "runtimetest").unlink()
    code, lines = called(checkout)
    assert (code, lines) == (2, ["not there: runtimetest"])


# Our own suite --------------------------------------------------------------------------------------------------------


def pytest_of(*arguments: str, suite: str = "conformance") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", suite, "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def cases() -> dict[str, list[int]]:
    return driver.cases()


@pytest.fixture(scope="module")
def collected(cases: dict[str, list[int]]) -> dict[str, list[int]]:
    return driver.collected(cases)


def test_the_page_is_current(collected: dict[str, list[int]]) -> None:
    assert (CHECKOUT / "docs/conformance.md").read_text() == driver.document(collected)


def test_every_must_has_a_test_or_a_reason(collected: dict[str, list[int]]) -> None:
    assert driver.faults(collected) == []
    assert [number for number, must in MUSTS.items() if must.why_not] == [77]


def test_the_tables_are_compared_with_the_tests(collected: dict[str, list[int]]) -> None:
    less = {name: [number for number in numbers if number != 101] for name, numbers in collected.items()}
    assert driver.faults(less) == ["MUST 101: neither a test nor a reason"]
    assert driver.faults(collected | {"test_more.py::test_it": [77]}) == ["MUST 77: a test, and a reason for none"]
    less = {name: numbers for name, numbers in collected.items() if name != "test_hooks.py::test_the_order"}
    assert "hooks: there is no test_hooks.py::test_the_order" in driver.faults(less)


def test_the_programs_of_runtime_tools() -> None:
    assert len(programs.PROGRAMS) == 58
    assert set(runtime_tools.FAILING) <= set(programs.PROGRAMS)


def entries(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, str):
            yield key, value
        else:
            yield from entries(value)


def test_every_deviation_is_of_one_case(cases: dict[str, list[int]]) -> None:
    """By its full id: an entry of a test with parameters names them."""
    assert len(cases) > 800
    for name, why in entries(tomllib.loads(plugin.DEVIATIONS.read_text())):
        assert name in cases, name
        assert why


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(
    ("deviations", "code", "said"),
    [
        ("", 1, "test_a_second_start: fails, unexpectedly"),
        ('"test_lifecycle.py::test_a_second_start" = "why"', 0, "all as expected"),
        ('["it"."1.2"]\n"test_lifecycle.py::test_a_second_start" = "why"', 0, "all as expected"),
        ('["it"."1.3"]\n"test_lifecycle.py::test_a_second_start" = "why"', 1, "fails, unexpectedly"),
        ('"test_lifecycle.py::test_a_second_start" = "why"\n"test_lifecycle.py::test_gone" = "x"', 1, "no such test"),
        ('"test_lifecycle.py::test_a_second_start" = "why"\n"test_hooks.py::test_the_order" = "x"', 0, "as expected"),
    ],
)
def test_what_is_expected(tmp_path: Path, deviations: str, code: int, said: str) -> None:
    (tmp_path / "deviations.toml").write_text(f"[it]\n{deviations}\n")
    runtime = tmp_path / "runtime"
    runtime.write_text('#!/bin/sh\n[ "$1" = --version ] && echo it version 1.2\nexit 1\n')
    runtime.chmod(0o755)
    options = (f"--runtime={runtime}", "--expected=it", f"--deviations={tmp_path}/deviations.toml")
    # Only who looks at all of the suite can say that a test is not there.
    done = pytest_of(*options, "-k", "a_second_start", suite="conformance" if "gone" in deviations else LIFECYCLE)
    assert said in done.stdout
    assert done.returncode == code


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_failure_that_was_expected_and_is_none(tmp_path: Path) -> None:
    (tmp_path / "deviations.toml").write_text('[it]\n"test_lifecycle.py::test_an_unknown_id[start]" = "why"\n')
    runtime = tmp_path / "runtime"
    runtime.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    runtime.chmod(0o755)
    options = (f"--runtime={runtime}", "--expected=it", f"--deviations={tmp_path}/deviations.toml")
    done = pytest_of(*options, "-k", "an_unknown_id", suite=LIFECYCLE)
    assert "test_an_unknown_id[start]: was to fail, and does not" in done.stdout
    assert done.returncode == 1


def test_the_recorded_page_is_that_of_the_recorded_runs() -> None:
    assert (CHECKOUT / "conformance/RESULTS.md").read_text() == driver.results_page()


def test_nothing_of_pyrun_is_imported() -> None:
    for file in (CHECKOUT / "conformance").glob("*.py"):
        for line in file.read_text().splitlines():
            assert not line.strip().startswith(("import pyrun", "from pyrun", "from tests")), file


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("expected", ["", "pyrun"])
def test_a_runtime_that_does_nothing_fails(tmp_path: Path, expected: str) -> None:
    """The suite is not content with what always says yes, nor with what always says no."""
    for text in ("#!/bin/sh\nexit 0\n", "#!/bin/sh\necho no >&2\nexit 1\n"):
        runtime = tmp_path / "runtime"
        runtime.write_text(text)
        runtime.chmod(0o755)
        more = [f"--expected={expected}"] if expected else []
        done = pytest_of(f"--runtime={runtime}", "-k", "the_whole_life or an_unknown_id", *more, suite=LIFECYCLE)
        assert done.returncode == 1, done.stdout
        assert "FAIL" in done.stdout


def test_no_such_runtime() -> None:
    done = pytest_of("--runtime=/no/such", "-k", "life", suite=LIFECYCLE)
    assert done.returncode == 4
    assert "/no/such: no such program" in done.stderr


def test_the_musts_are_numbered_from_one() -> None:
    assert list(MUSTS) == list(range(1, 143))
    assert MUSTS[42].file == "runtime-linux.md"
    assert MUSTS[45].text.startswith("ociVersion")
    assert MUSTS[81].file == "config-linux.md"
    assert MUSTS[136].file == "features.md"
