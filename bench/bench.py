"""pyrun, runc and crun in turn: how long each verb takes, how much memory, and how small a limit a container can have.

usage: make bench ROUNDS=50 BENCH=--record

Times are of the command as its caller sees it, from spawn to end. To be run as root in a mount namespace of its own
(`unshare -m`), as the Makefile does. --record writes RESULTS.md and results.json, of which plots.py makes pictures.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import scenes
from bench.runtimes import TRIES, Bundle, Runtime, on_tmpfs, tidy
from bench.scenes import Samples

HERE = Path(__file__).parent
MANAGERS = HERE / "managers.json"
TIMED = (scenes.verbs, scenes.pauses, scenes.docker_profile, scenes.binds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pyrun", required=True)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--only", default="pyrun,runc,crun")
    parser.add_argument("--record", action="store_true", help="write RESULTS.md and results.json")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("the benchmark needs root")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="pyrun-bench-") as name, on_tmpfs(Path(name)), tidy():
        text, samples = measure(options, Path(name))
    print(text)
    if options.record:
        (HERE / "RESULTS.md").write_text(text)
        (HERE / "results.json").write_text(json.dumps(samples, indent=1) + "\n")


def measure(options: argparse.Namespace, folder: Path) -> tuple[str, dict[str, Samples]]:
    wanted = options.only.split(",")
    binaries = {"pyrun": os.path.abspath(options.pyrun), "runc": shutil.which("runc"), "crun": shutil.which("crun")}
    missing = [name for name in wanted if not binaries[name]]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)} (make setup)")
    runtimes = [Runtime(name, str(binaries[name]), folder) for name in wanted]
    bundle = Bundle(folder / "bundle", str(binaries["pyrun"]))
    samples: dict[str, Samples] = {}
    for scene in (*TIMED, scenes.mounts, scenes.callers, scenes.crowd):
        samples[scene.__name__] = scene(runtimes, bundle, options.rounds)
    memory = {
        "largest process of `create`": [runtime.peak(bundle) for runtime in runtimes],
        f"smallest limit with which `true` starts, {TRIES} of {TRIES} times": [
            runtime.smallest_limit(bundle) for runtime in runtimes
        ],
    }
    parts = scenes.interpreter(runtimes[0], folder, options.rounds)
    parts["all of `create`, by bin/pyrun"] = samples["verbs"]["create"]
    alone = [[verb, *_against_alone(samples["crowd"], verb, runtimes)] for verb in ("state", "start", "kill", "delete")]
    shares = [[row, _pair(found["pyrun"])] for row, found in parts.items()]
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    listed = f"list of {scenes.LISTED} that run"
    return (
        f"""# Benchmark

`make bench BENCH=--record` measured this on {date}, in {options.rounds} rounds, the runtimes in turn within each.
Ratios below 1 are in pyrun's favour. The bundle is busybox and what `pyrun spec` writes; states and bundles are on
tmpfs. pyrun is the installed form. After a pause: a wait of the kernel's for an RCU grace period, which comes with
putting another process into a cgroup, is spared to those who come just after one; so there is a loop with pauses of
{scenes.PAUSE * 1000:.0f} ms, and a tight one.

Machine: {", ".join(_machine(runtimes))}.

{_times([row for scene in TIMED for row in samples[scene.__name__].items()], wanted)}
{_managers(wanted)}Many at once:

{_times([(listed, samples["crowd"][listed])], wanted)}
{_table(["with 1,000 others (peers: 500), against alone (median)", *wanted], alone)}
{_rates(samples["callers"], wanted)}
{_table(["KiB", *wanted], [[row, *(str(value or "-") for value in values)] for row, values in memory.items()])}
## What the start-up image spares

The first three are by the launcher, which starts what has no image.

{_table(["ms: min / median, each with what is above it", ""], shares)}
![create against the number of binds](mounts.svg)
![creates a second against the number of callers](callers.svg)
![light verbs against the number of containers](crowd.svg)
![every verb](verbs.svg)
""",
        samples,
    )


def _managers(names: list[str]) -> str:
    """What `make bench-managers` has recorded, if it has."""
    if not MANAGERS.exists():
        return ""
    found = json.loads(MANAGERS.read_text())
    return f"""Managers, end to end, `make bench-managers BENCH=--record`, {found["date"]}, {found["rounds"]} rounds:

{_times([*found["times"].items()], names)}
"""


def _times(rows: Sequence[tuple[str, dict[str, list[float]]]], names: list[str]) -> str:
    header = ["ms: min / median", *names, *(f"{names[0]} : {name}" for name in names[1:])]
    lines = []
    for row, found in rows:
        ours = found[names[0]]
        ratios = [
            f"{min(ours) / min(found[name]):.2f} / {statistics.median(ours) / statistics.median(found[name]):.2f}"
            if min(found[name])
            else f"- / {statistics.fmean(ours) / statistics.fmean(found[name]):.2f}"
            for name in names[1:]
        ]
        lines.append([row, *(_pair(found[name]) for name in names), *ratios])
    return _table(header, lines)


def _rates(found: Samples, names: list[str]) -> str:
    header = ["creates a second: median", *names, *(f"{names[0]} : {name}" for name in names[1:])]
    lines = []
    for row, rates in found.items():
        middle = [statistics.median(rates[name]) for name in names]
        line = [
            f"{row} at once",
            *(f"{rate:.0f}" for rate in middle),
            *(f"{middle[0] / rate:.2f}" for rate in middle[1:]),
        ]
        lines.append(line)
    return _table(header, lines)


def _against_alone(found: Samples, verb: str, runtimes: Sequence[Runtime]) -> list[str]:
    def middle(number: int, name: str) -> float:
        return statistics.median(found[f"{verb}, {number} others"][name])

    names = [runtime.name for runtime in runtimes]
    most = {name: scenes.ALIVE if name == names[0] else scenes.LISTED for name in names}
    return [f"{middle(most[name], name) / middle(0, name):.2f}" for name in names]


def _pair(values: list[float]) -> str:
    return f"{min(values):.1f} / {statistics.median(values):.1f}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _machine(runtimes: Sequence[Runtime]) -> list[str]:
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return [
        f"{len(cpus)} cores, {cpus[0].split(': ')[1]}" if cpus else f"{os.cpu_count()} cores, {platform.machine()}",
        f"Linux {platform.release()}",
        f"cgroup {'v1 (hybrid)' if Path('/sys/fs/cgroup/unified').exists() else 'v2'}",
        f"Python {platform.python_version()}",
        *(runtime.version() for runtime in runtimes),
    ]


if __name__ == "__main__":
    main()
