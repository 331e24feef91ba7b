"""pyrun, runc and crun in turn: how long each verb takes, how much memory, and how small a limit a container can have.

usage: make bench ROUNDS=50 BENCH=--record

Every round runs each runtime once, so that all meet the same weather. Times are of the command as its caller sees it,
from spawn to end. To be run as root in a mount namespace of its own (`unshare -m`), as the Makefile does.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VERBS = ("run", "create", "state", "start", "kill", "delete")
SUM = ("create", "start", "delete")
LIMITS = (128, 192, 256, 320, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)  # KiB
TRIES = 10
PR_SET_CHILD_SUBREAPER = 36
MNT_DETACH = 2
# Whoever puts another process into a cgroup waits for an RCU grace period (10 ms and more), unless somebody else has
# just done so. No runtime shall have it from the one before.
PAUSE = 0.05  # seconds

libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """A runtime's command did not exit 0."""


class Runtime:
    """A runtime under test, with a folder of states of its own."""

    def __init__(self, name: str, binary: str, folder: Path) -> None:
        self.name = name
        self.binary = binary
        self.root = folder / f"{name}-state"
        self.pid_file = folder / "pid"
        self.out = os.open(folder / f"{name}-output", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self.id = f"bench-{os.getpid()}-{name}"

    def version(self) -> str:
        return subprocess.run([self.binary, "--version"], capture_output=True, text=True, check=True).stdout.split(
            "\n"
        )[0]

    def __call__(self, verb: str, *arguments: str | Path, prefix: tuple[str, ...] = ()) -> float:
        """Milliseconds. Raises Failed with what the command wrote."""
        os.ftruncate(self.out, 0)
        command = [*prefix, self.binary, "--root", str(self.root), verb, *map(str, arguments)]
        streams: list[tuple[object, ...]] = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0)]
        streams += [(os.POSIX_SPAWN_DUP2, self.out, 1), (os.POSIX_SPAWN_DUP2, self.out, 2)]
        began = time.perf_counter_ns()
        pid = os.posix_spawn(command[0], command, os.environ, file_actions=streams)
        status = os.waitpid(pid, 0)[1]
        taken = (time.perf_counter_ns() - began) / 1e6
        if status:
            raise Failed(f"{' '.join(command)}: {self.said()}")
        return taken

    def said(self) -> str:
        return os.pread(self.out, 65536, 0).decode(errors="replace").strip()

    def lifecycle(self, bundle: Bundle) -> dict[str, float]:
        """The time of each verb in one container's life."""
        taken = {}
        bundle.write("true")
        time.sleep(PAUSE)
        taken["run"] = self("run", "--bundle", bundle.path, self.id)
        bundle.write("sleep", "1000")
        time.sleep(PAUSE)
        taken["create"] = self("create", "--bundle", bundle.path, "--pid-file", self.pid_file, self.id)
        init = int(self.pid_file.read_text())
        taken["state"] = self("state", self.id)
        taken["start"] = self("start", self.id)
        taken["kill"] = self("kill", self.id, "KILL")
        os.waitpid(init, 0)  # ours: this process is the subreaper
        taken["delete"] = self("delete", self.id)
        return taken

    def peak(self, bundle: Bundle) -> int:
        """KiB of the largest process that `create` needs, by /usr/bin/time: a process that this large one spawns itself
        starts its count with this one's memory."""
        bundle.write("true")
        self("create", "--bundle", bundle.path, self.id, prefix=("/usr/bin/time", "-f", "%M"))
        peak = int(self.said().split()[-1])
        self("delete", "--force", self.id)
        reap()
        return peak

    def smallest_limit(self, bundle: Bundle) -> int | None:
        """KiB of the smallest memory limit with which `true` runs each time; None when there is none."""
        bundle.write("true")
        self("run", "--bundle", bundle.path, self.id)  # warm
        for limit in LIMITS:
            bundle.write("true", limit=limit << 10)
            try:
                for _ in range(TRIES):
                    self("run", "--bundle", bundle.path, self.id)
                return limit
            except Failed:
                if (self.root / self.id).exists():
                    self("delete", "--force", self.id)
                reap()
        return None


class Bundle:
    """Busybox, and the config that `pyrun spec` writes."""

    def __init__(self, path: Path, pyrun: str) -> None:
        self.path = path
        for name in ("bin", "dev", "proc", "sys"):
            (path / "rootfs" / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", path / "rootfs/bin")
        for name in ("true", "sleep"):
            (path / "rootfs/bin" / name).symlink_to("busybox")
        subprocess.run([pyrun, "spec", "--bundle", path], check=True)
        self.config = json.loads((path / "config.json").read_text())
        self.config["ociVersion"] = "1.0.2"  # crun 1.8 takes no newer one
        self.config["process"]["terminal"] = False

    def write(self, *args: str, limit: int = 0) -> None:
        self.config["process"]["args"] = list(args)
        resources = self.config["linux"].setdefault("resources", {})
        resources.pop("memory", None)
        if limit:
            resources["memory"] = {"limit": limit}
        (self.path / "config.json").write_text(json.dumps(self.config))


def reap() -> None:
    """Wait for every child there is: each has been killed."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        return


def separate_hugetlb() -> tuple[Path, bool] | None:
    """crun 1.8 refuses a machine with some controllers on cgroup v1 unless this one is there too: its folder, and
    whether that is new. None where there is nothing to do."""
    folder = Path("/sys/fs/cgroup/hugetlb")
    if not Path("/sys/fs/cgroup/unified").exists() or os.path.ismount(folder):
        return None
    new = not folder.is_dir()
    folder.mkdir(exist_ok=True)
    if libc.mount(b"cgroup", bytes(folder), b"cgroup", 0, b"hugetlb"):
        sys.exit(f"mount {folder}: {os.strerror(ctypes.get_errno())}")
    return folder, new


def left_over() -> list[str]:
    marker = f"bench-{os.getpid()}-"
    return [f"{folder}/{name}" for folder, below, _ in os.walk("/sys/fs/cgroup") for name in below if marker in name]


def python_times(pyrun: str, folder: Path, rounds: int) -> dict[str, list[float]]:
    """What the start-up image spares: what the interpreter and the imports take of `create`, by the launcher without
    its last line, and without any."""
    text = Path(pyrun).resolve().with_name("launcher").read_text()
    first, launcher = text.split("\n", 1)
    launcher, found, _ = launcher.partition("\nentry()")
    assert found
    end = "\n__import__('posix')._exit(0)\n"
    scripts = {
        "the interpreter alone": end,
        "and the imports of `create`, linked": launcher + end,
        "and the imports of `create`, not linked": launcher.replace("/linked/", "/none/")
        + "\nimport pyrun.cli.create"
        + end,
    }
    taken: dict[str, list[float]] = {name: [] for name in scripts}
    runners = []
    for i, (name, script) in enumerate(scripts.items()):
        path = folder / f"part-{i}"
        path.write_text(f"{first}\n{script}")
        path.chmod(0o755)
        runners.append((name, Runtime(f"part-{i}", str(path), folder)))
    for _ in range(rounds):
        for name, runner in runners:
            taken[name].append(runner("create"))
    return taken


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def report(runtimes: list[Runtime], taken: dict[str, dict[str, list[float]]], rows: list[list[str]]) -> str:
    names = [runtime.name for runtime in runtimes]
    for name in names:
        taken[name]["+".join(SUM)] = [sum(times) for times in zip(*(taken[name][verb] for verb in SUM), strict=True)]
    header = ["ms: min / median", *names, *(f"pyrun : {name}" for name in names[1:])]
    for verb in (*VERBS, "+".join(SUM)):
        low = [min(taken[name][verb]) for name in names]
        middle = [statistics.median(taken[name][verb]) for name in names]
        rows.append(
            [verb]
            + [f"{a:.1f} / {b:.1f}" for a, b in zip(low, middle, strict=True)]
            + [f"{low[0] / a:.2f} / {middle[0] / b:.2f}" for a, b in zip(low[1:], middle[1:], strict=True)]
        )
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pyrun", required=True)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--only", default="pyrun,runc,crun")
    parser.add_argument("--record", action="store_true", help="write RESULTS.md")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("the benchmark needs root")
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    hugetlb = separate_hugetlb()
    try:
        with tempfile.TemporaryDirectory(prefix="pyrun-bench-") as folder:
            text = measure(options, Path(folder))
    finally:
        left = left_over()
        for path in left:
            for pid in Path(path, "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        reap()
        for path in left:
            os.rmdir(path)
        if hugetlb:
            libc.umount2(bytes(hugetlb[0]), MNT_DETACH)
            if hugetlb[1]:
                hugetlb[0].rmdir()
    print(text)
    if left:
        sys.exit(f"left behind: {' '.join(left)}")
    if options.record:
        Path(__file__).with_name("RESULTS.md").write_text(text)


def measure(options: argparse.Namespace, folder: Path) -> str:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    wanted = options.only.split(",")
    binaries = {"pyrun": os.path.abspath(options.pyrun), "runc": shutil.which("runc"), "crun": shutil.which("crun")}
    missing = [name for name in wanted if not binaries[name]]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)} (make setup)")
    runtimes = [Runtime(name, str(binaries[name]), folder) for name in wanted]
    bundle = Bundle(folder / "bundle", str(binaries["pyrun"]))
    taken: dict[str, dict[str, list[float]]] = {r.name: {verb: [] for verb in VERBS} for r in runtimes}
    for runtime in runtimes:
        runtime.lifecycle(bundle)  # warm
    for _ in range(options.rounds):
        for runtime in runtimes:
            for verb, time_ in runtime.lifecycle(bundle).items():
                taken[runtime.name][verb].append(time_)
    peaks = [runtime.peak(bundle) for runtime in runtimes]
    limits = [runtime.smallest_limit(bundle) for runtime in runtimes]
    parts = python_times(str(binaries["pyrun"]), folder, options.rounds)
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    machine = (
        f"{len(cpus)} cores, {cpus[0].split(': ')[1]}" if cpus else f"{os.cpu_count()} cores, {platform.machine()}",
        f"Linux {platform.release()}",
        f"cgroup {'v1 (hybrid)' if Path('/sys/fs/cgroup/unified').exists() else 'v2'}",
        f"Python {platform.python_version()}",
        *(runtime.version() for runtime in runtimes),
    )
    memory = [
        ["largest process of `create`", *map(str, peaks)],
        [
            f"smallest limit with which `true` starts, {TRIES} of {TRIES} times",
            *(str(limit or "-") for limit in limits),
        ],
    ]
    shares = [
        [name, f"{min(times):.1f} / {statistics.median(times):.1f}"]
        for name, times in [*parts.items(), ("all of `create`, by bin/pyrun", taken["pyrun"]["create"])]
    ]
    return f"""# Benchmark

`make bench BENCH=--record` measured this on {date}, in {options.rounds} rounds, the runtimes in turn within each.
Ratios below 1 are in pyrun's favour. The bundle is busybox and what `pyrun spec` writes. Before each `run` and
`create` the machine rests for {PAUSE * 1000:.0f} ms: else the kernel's wait for an RCU grace period, which comes with
putting another process into a cgroup, would be spared to those who come just after one.

Machine: {", ".join(machine)}.

{report(runtimes, taken, [])}
{table(["KiB", *wanted], memory)}
## What the start-up image spares

The first three are by the launcher, which starts what has no image.

{table(["ms: min / median, each with what is above it", ""], shares)}"""


if __name__ == "__main__":
    main()
