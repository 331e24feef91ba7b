"""python -m conformance: judge a runtime, and keep what is recorded of several in step.

run NAME [PROGRAM]   run the suite against a runtime, as recorded under the name in deviations.toml
record NAME [...]    the same, and write results/NAME.json and RESULTS.md
document [--check]   write ../docs/conformance.md, or say whether it is current
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from conformance import programs
from conformance.musts import MUSTS, SPEC

HERE = Path(__file__).parent
RESULTS = HERE / "results"
DOCUMENT = HERE.parent / "docs/conformance.md"
MOST_SECONDS = 900


def program_of(name: str) -> str:
    """A path as it is; of a name, what was built in this checkout, else what PATH has."""
    built = HERE.parent / "build" / name
    if "/" not in name and built.is_file():
        return str(built)
    return shutil.which(name) or sys.exit(f"no such program: {name}")


def run(name: str, program: str, results: Path, *more: str) -> int:
    """pytest's exit code. The whole is bounded in time, and has a session of its own that can be ended."""
    command = [sys.executable, "-m", "pytest", str(HERE), f"--runtime={program}", f"--results={results}", "-rN"]
    if name in known():
        command.append(f"--expected={name}")
    with subprocess.Popen([*command, *more], cwd=HERE.parent, start_new_session=True) as process:
        try:
            return process.wait(MOST_SECONDS)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                print(f"{name}: not done after {MOST_SECONDS} s", file=sys.stderr)
                return 1
            raise


def known() -> set[str]:
    return {path.stem for path in RESULTS.glob("*.json")} | {"pyrun", "runc", "crun"}


def record(name: str, program: str, *more: str) -> int:
    RESULTS.mkdir(exist_ok=True)
    code = run(name, program, RESULTS / f"{name}.json", *more)
    (HERE / "RESULTS.md").write_text(results_page())
    return code


# RESULTS.md -----------------------------------------------------------------------------------------------------------


def results_page() -> str:
    """The recorded runs side by side."""
    order = ["pyrun", "runc", "crun"]
    files = sorted(RESULTS.glob("*.json"), key=lambda p: (order.index(p.stem) if p.stem in order else 9, p.stem))
    runs = {path.stem: json.loads(path.read_text()) for path in files}
    lines = ["# Results", "", "Written by `python -m conformance record`; README.md says what is counted.", ""]
    lines += table(["", *runs], summary(runs))
    lines += [
        "",
        "## By MUST",
        "",
        "Passed/run, with the tests' own word for what is not run. `-` is a MUST without a test.",
        "",
    ]
    lines += table(["MUST", "demand", *runs], must_rows(runs))
    for name, found in runs.items():
        lines += ["", f"## What fails with {name}", "", f"{found['version']}", ""]
        lines += failures(found)
    return "\n".join(lines) + "\n"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]


def summary(runs: dict[str, Any]) -> list[list[str]]:
    rows = [["version", *(run["version"] for run in runs.values())]]
    for title, outcome in (("tests passed", "passed"), ("failed", "failed"), ("skipped", "skipped")):
        rows.append([title, *(str(count(run["tests"], outcome)) for run in runs.values())])
    for title, verdict in (("MUSTs kept", "pass"), ("broken in some test", "FAIL"), ("not shown here", "skip")):
        rows.append([title, *(str(list(run["musts"].values()).count(verdict)) for run in runs.values())])
    return rows


def count(tests: dict[str, Any], outcome: str) -> int:
    return sum(test["outcome"] == outcome for test in tests.values())


def must_rows(runs: dict[str, Any]) -> list[list[str]]:
    rows = []
    for number, must in MUSTS.items():
        cells = []
        for found in runs.values():
            outcomes = [test["outcome"] for test in found["tests"].values() if number in test["must"]]
            ran = len(outcomes) - outcomes.count("skipped")
            passed = outcomes.count("passed")
            cells.append(
                "-"
                if not outcomes
                else "skip"
                if not ran
                else f"{'' if passed == ran else '**'}{passed}/{ran}{'' if passed == ran else '**'}"
            )
        if set(cells) != {"-"}:
            rows.append([str(number), must.text, *cells])
    return rows


def failures(found: dict[str, Any]) -> list[str]:
    """One line per reason, with the tests that it explains."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, test in found["tests"].items():
        if test["outcome"] == "failed":
            by_reason[" ".join(test["reason"].split())].append(name)
    lines = []
    for reason, names in by_reason.items():
        numbers = sorted({number for name in names for number in found["tests"][name]["must"]})
        about = f" (MUST {', '.join(map(str, numbers))})" if numbers else ""
        lines.append(f"- {reason}{about}: {', '.join(f'`{short}`' for short in shortened(names))}")
    return lines or ["Nothing."]


def shortened(names: list[str]) -> list[str]:
    """Tests, with the number of parameters of each instead of their names."""
    counts: dict[str, int] = defaultdict(int)
    for name in names:
        counts[name.partition("[")[0]] += 1
    return [name if number == 1 else f"{name} ({number})" for name, number in counts.items()]


# docs/conformance.md --------------------------------------------------------------------------------------------------


def cases() -> dict[str, list[int]]:
    """Every test with its parameters, and the MUSTs that it shows: from the markers."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "collected.json")
        command = [sys.executable, "-m", "pytest", str(HERE), "--collect-only", "-qq", f"--results={file}"]
        subprocess.run([*command, "-p", "no:cacheprovider"], cwd=HERE.parent, check=True, stdout=subprocess.DEVNULL)
        found: dict[str, list[int]] = json.loads(file.read_text())
    return found


def collected(cases: dict[str, list[int]]) -> dict[str, list[int]]:
    """The same without the parameters."""
    found: dict[str, list[int]] = {}
    for name, numbers in cases.items():
        found.setdefault(name.partition("[")[0], []).extend(numbers)
    return found


def document(tests: dict[str, list[int]]) -> str:
    by_must = {number: [name for name, numbers in tests.items() if number in numbers] for number in MUSTS}
    shown = sum(bool(names) for names in by_must.values())
    lines = [
        "# Conformance",
        "",
        "What the [OCI runtime spec 1.3](https://github.com/opencontainers/runtime-spec) demands of a runtime,",
        "numbered, with the tests of [conformance/](../conformance/README.md) that show it, or the reason why no test",
        "from outside can; and below, what each of the validation programs of OCI runtime-tools looks at.",
        "[RESULTS.md](../conformance/RESULTS.md) has the outcomes of pyrun, runc and crun.",
        "",
        "`python -m conformance document` writes this page from the tests' markers and from `conformance/programs.py`.",
        "",
        f"{shown} of {len(MUSTS)} have tests.",
    ]
    file = ""
    for number, must in MUSTS.items():
        if must.file != file:
            file = must.file
            lines += ["", f"## [{file}]({SPEC}/{file})", "", "| | demand | shown by |", "| --- | --- | --- |"]
        lines.append(f"| {number} | {must.text} | {words(by_must[number]) or 'not shown: ' + must.why_not} |")
    lines += ["", "## [Programs of runtime-tools](https://github.com/opencontainers/runtime-tools)", ""]
    rows = [[f"`{name}`", words(programs.tests(name))] for name in programs.PROGRAMS]
    return "\n".join([*lines, *table(["program", "looked at by"], rows)]) + "\n"


def words(names: list[str]) -> str:
    return ", ".join(f"`{name.removeprefix('test_').replace('.py::test_', ': ')}`" for name in names)


def faults(tests: dict[str, list[int]]) -> list[str]:
    """What the tables lack."""
    shown = {number for numbers in tests.values() for number in numbers}
    found = [
        f"MUST {n}: neither a test nor a reason" for n, must in MUSTS.items() if n not in shown and not must.why_not
    ]
    found += [f"MUST {n}: a test, and a reason for none" for n, must in MUSTS.items() if n in shown and must.why_not]
    for program in programs.PROGRAMS:
        found += [f"{program}: there is no {name}" for name in programs.tests(program) if name not in tests]
    return found


def main(arguments: list[str]) -> int:
    match arguments:
        case ["run", name, *more]:
            program, more = (more[0], more[1:]) if more and not more[0].startswith("-") else (program_of(name), more)
            with tempfile.TemporaryDirectory() as folder:
                return run(Path(name).name, program_of(program), Path(folder, "results.json"), *more)
        case ["record", *names] if names:
            return max(record(Path(name).name, program_of(name), "-q") for name in names)
        case ["document", *check] if check in ([], ["--check"]):
            tests = collected(cases())
            if found := faults(tests):
                print(*found, sep="\n", file=sys.stderr)
                return 1
            if not check:
                DOCUMENT.write_text(document(tests))
            elif DOCUMENT.read_text() != document(tests):
                print("docs/conformance.md is not current: python -m conformance document", file=sys.stderr)
                return 1
            return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
