"""What is measured: each scene runs all runtimes in turn, round by round, so that all meet the same weather.

A scene is a function of the runtimes, a bundle and the number of rounds; it returns samples: row -> runtime -> numbers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.runtimes import Bundle, Runtime, reap
from tests.docker_profile import profile

Samples = dict[str, dict[str, list[float]]]
Scene = Callable[[Sequence[Runtime], Bundle, int], Samples]

# Whoever puts another process into a cgroup waits for an RCU grace period (10 ms and more), unless somebody else has
# just done so. No runtime shall have it from the one before, where the scene is one with pauses.
PAUSE = 0.05  # seconds
BINDS = 200
CALLERS = 4
ALIVE = 1000
LISTED = 500
LIFE = ("create", "start", "kill", "delete")


class Collected(dict[str, dict[str, list[float]]]):
    def add(self, row: str, runtime: Runtime, value: float) -> None:
        self.setdefault(row, {}).setdefault(runtime.name, []).append(value)


def verbs(runtimes: Sequence[Runtime], bundle: Bundle, rounds: int) -> Samples:
    """Every verb, in a tight loop; and the CPU time of a life."""
    found, brief = Collected(), bundle.brief()
    for number in range(-1, rounds):
        for runtime in runtimes:
            taken = {"run": runtime("run", "--bundle", brief.path, runtime.id)}
            taken["create"], init = runtime.create(bundle)
            taken["state"] = runtime("state", runtime.id)
            taken["start"] = runtime("start", runtime.id)
            taken["exec"] = runtime("exec", runtime.id, "true")
            taken["kill"], taken["delete"] = runtime.end(init)
            taken[f"CPU time of {', '.join(LIFE)}"] = sum(runtime.cpu[verb] for verb in LIFE)
            if number >= 0:  # the first warms
                for row, value in taken.items():
                    found.add(row, runtime, value)
    return found


def pauses(runtimes: Sequence[Runtime], bundle: Bundle, rounds: int) -> Samples:
    """create and run, when nobody has just moved a process into a cgroup."""
    found, brief = Collected(), bundle.brief()
    for _ in range(rounds):
        for runtime in runtimes:
            time.sleep(PAUSE)
            found.add("run, after a pause", runtime, runtime("run", "--bundle", brief.path, runtime.id))
            time.sleep(PAUSE)
            taken, init = runtime.create(bundle)
            found.add("create, after a pause", runtime, taken)
            runtime.end(init)
    return found


def docker_profile(runtimes: Sequence[Runtime], bundle: Bundle, rounds: int) -> Samples:
    """With a seccomp profile of Docker's shape: once compiled and kept, and compiled anew; and probes."""
    found, filtered = Collected(), bundle.other()
    filtered.config["linux"]["seccomp"] = seccomp = profile()
    allowed = seccomp["syscalls"]
    for _ in range(rounds):
        for runtime in runtimes:
            # Another number that personality(2) may be given: a profile that nobody has seen before.
            unseen = {"index": 0, "value": time.time_ns(), "op": "SCMP_CMP_EQ"}
            seccomp["syscalls"] = [*allowed, {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [unseen]}]
            filtered.write()
            for row in ("create, Docker's seccomp profile, new", "create, the same again"):
                taken, init = runtime.create(filtered)
                found.add(row, runtime, taken)
                runtime.end(init)
            with runtime.running(filtered):
                found.add("exec of a probe, Docker's profile", runtime, runtime("exec", runtime.id, "true"))
                found.add("CPU time of a probe", runtime, runtime.cpu["exec"])
    return found


def binds(runtimes: Sequence[Runtime], bundle: Bundle, rounds: int) -> Samples:
    return _creates(runtimes, _with_binds(bundle, BINDS), rounds, f"create, {BINDS} binds")


def mounts(runtimes: Sequence[Runtime], bundle: Bundle, rounds: int) -> Samples:
    """create's time against the number of binds: for the plot."""
    found: Samples = {}
    for count in (0, 25, 50, 100, 200, 400):
        found |= _creates(runtimes, _with_binds(bundle, count), max(3, rounds // 5), str(count))
    return found


def callers(runtimes: Sequence[Runtime], bundle: Bundle, rounds: int) -> Samples:
    """How many creates a second so many callers get done at once: for each number of callers."""
    found, count = Collected(), 25
    for at_once in (1, 2, CALLERS):
        for _ in range(max(3, rounds // 10)):
            for runtime in runtimes:
                names = [f"{runtime.id}-{i}" for i in range(count * at_once)]
                commands = [runtime.command("create", "--bundle", bundle.path, name) for name in names]
                began = time.perf_counter()
                waiting, left = set(), commands
                while waiting or left:
                    while left and len(waiting) < at_once:
                        waiting.add(runtime.begin(left.pop()))
                    pid, status = os.waitpid(-1, 0)
                    if status and pid in waiting:
                        raise SystemExit(f"{runtime.name}: {runtime.said()}")
                    waiting.discard(pid)
                found.add(str(at_once), runtime, count * at_once / (time.perf_counter() - began))
                for name in names:
                    runtime("delete", "--force", name)
                reap()
    return found


def crowd(runtimes: Sequence[Runtime], bundle: Bundle, rounds: int) -> Samples:
    """`list` of some hundreds, and the light verbs among many others."""
    found = Collected()
    for number in (0, LISTED, ALIVE):
        for runtime in runtimes if number <= LISTED else runtimes[:1]:
            others = [f"{runtime.id}-{i}" for i in range(number)]
            for name in others:
                runtime("create", "--bundle", bundle.path, name)
                runtime("start", name)
            for _ in range(max(5, rounds // 2)):
                _, init = runtime.create(bundle)
                found.add(f"state, {number} others", runtime, runtime("state", runtime.id))
                found.add(f"start, {number} others", runtime, runtime("start", runtime.id))
                kill, delete = runtime.end(init)
                found.add(f"kill, {number} others", runtime, kill)
                found.add(f"delete, {number} others", runtime, delete)
                if number:
                    found.add(f"list of {number} that run", runtime, runtime("list"))
            for name in others:
                runtime("delete", "--force", name)
            reap()
    return found


def interpreter(pyrun: Runtime, folder: Path, rounds: int) -> Samples:
    """What the start-up image spares: what the interpreter and the imports take of `create`, by the launcher without
    its last line, and without any."""
    text = Path(pyrun.binary).resolve().with_name("launcher").read_text()
    first, launcher = text.split("\n", 1)
    launcher, called, _ = launcher.partition("\nentry()")
    assert called
    end = "\n__import__('posix')._exit(0)\n"
    scripts = {
        "the interpreter alone": end,
        "and the imports of `create`, linked": launcher + end,
        "and the imports of `create`, not linked": launcher.replace("/linked/", "/none/")
        + "\nimport pyrun.cli.create"
        + end,
    }
    found = Collected()
    for i, (row, script) in enumerate(scripts.items()):
        path = folder / f"part-{i}"
        path.write_text(f"{first}\n{script}")
        path.chmod(0o755)
        runner = Runtime("pyrun", str(path), folder)
        for _ in range(rounds):
            found.add(row, runner, runner("create"))
    return found


def _with_binds(bundle: Bundle, count: int) -> Bundle:
    many = bundle.other()
    options = ["bind", "ro", "nosuid"]
    for i in range(count):
        bind = {
            "destination": f"/mnt/{i}",
            "type": "bind",
            "source": str(bundle.path / "rootfs/bin"),
            "options": options,
        }
        many.config["mounts"].append(bind)
    many.config["root"]["readonly"] = False
    many.write()
    return many


def _creates(runtimes: Sequence[Runtime], bundle: Bundle, rounds: int, row: str) -> Samples:
    found = Collected()
    for number in range(-1, rounds):
        for runtime in runtimes:
            taken, init = runtime.create(bundle)
            if number >= 0:
                found.add(row, runtime, taken)
            runtime.end(init)
    return found
