"""The trials, a function each: what is done to pyrun, round after round, for as long as `more` says."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ground import Ground, cgroup_directories, mounts, remove_cgroup

More = Callable[[], bool]
Trial = Callable[[Ground, random.Random, More], None]

# Verb -> what state the container is to be in, and the command line behind the verb.
VERBS: dict[str, tuple[str, tuple[str, ...]]] = {
    "create": ("", ("--bundle", "BUNDLE", "ID")),
    "run": ("", ("--detach", "--bundle", "BUNDLE", "ID")),
    "start": ("created", ("ID",)),
    "exec": ("running", ("ID", "/bin/true")),
    "update": ("running", ("--memory", "50m", "--pids-limit", "50", "ID")),
    "pause": ("running", ("ID",)),
    "resume": ("paused", ("ID",)),
    "kill": ("running", ("ID", "KILL")),
    "delete": ("running", ("--force", "ID")),
    "state": ("running", ("ID",)),
}


def prepare(ground: Ground, verb: str) -> tuple[str, list[str]]:
    """(a container in the state that the verb is for, the command line)."""
    state, words = VERBS[verb]
    name = ground.name()
    if state == "created":
        ground.must("create", "--bundle", ground.bundle, name)
    elif state:
        ground.must("run", "--detach", "--bundle", ground.bundle, name)
        if state == "paused":
            ground.must("pause", name)
    filled = [{"ID": name, "BUNDLE": str(ground.bundle)}.get(word, word) for word in words]
    return name, ground.command(verb, *filled)


def kill_at_random(ground: Ground, chance: random.Random, more: More) -> None:
    """SIGKILL at any moment."""
    while more():
        name, command = prepare(ground, chance.choice(list(VERBS)))
        delay = chance.uniform(0, 0.03)

        def act(command: list[str] = command, delay: float = delay) -> str:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(delay)
            process.kill()
            process.wait()
            return f"SIGKILL after {delay * 1000:.1f} ms of {' '.join(command)}"

        ground.round(name, act)


def hit(ground: Ground, chance: random.Random, more: More, kinds: list[int]) -> None:
    """A signal at a system call, or an errno in its place: each of them, in an order of chance."""
    todo: list[tuple[str, str, int]] = []
    for verb in VERBS:
        name, command = prepare(ground, verb)
        report = ground.folder / "report"
        ground.run([ground.inject, "own", "0", "15", str(report), *command])
        own, others, _ = map(int, report.read_text().split())
        ground.clear(name, f"counting the calls of {verb}")
        todo += [(verb, "own", n) for n in range(1, own + 1)] + [(verb, "others", n) for n in range(1, others + 1)]
    chance.shuffle(todo)
    for verb, who, n in todo:
        if not more():
            return
        what = chance.choice(kinds)
        name, command = prepare(ground, verb)

        def act(command: list[str] = command, who: str = who, n: int = n, what: int = what) -> str:
            whole = [ground.inject, who, str(n), str(what), str(ground.folder / "report"), *command]
            code, said = ground.run(whole)
            return f"inject {who} {n} {what} {' '.join(command[4:])} -> {code} {said.strip()[-200:]}"

        ground.round(name, act)


def signals(ground: Ground, chance: random.Random, more: More) -> None:
    """SIGTERM, SIGINT or SIGHUP at each system call."""
    hit(ground, chance, more, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])


def failures(ground: Ground, chance: random.Random, more: More) -> None:
    """ENOMEM, EIO or ENOSPC in place of each system call."""
    hit(ground, chance, more, [-12, -5, -28])


def callers(ground: Ground, chance: random.Random, more: More) -> None:
    """Sixteen callers at once, any verb, three ids."""
    names = [ground.name() for _ in range(3)]

    def call(seed: int, without: str) -> None:
        mine = random.Random(seed)
        verb = mine.choice([*(verb for verb in VERBS if verb != without), "list"])
        name = mine.choice(names)
        words = VERBS.get(verb, ("", ()))[1]
        ground.verb(verb, *({"ID": name, "BUNDLE": str(ground.bundle)}.get(word, word) for word in words))

    while more():
        # Who is executed in a container that is paused meanwhile waits, and rightly, until somebody resumes it.
        without = chance.choice(["pause", "exec"])
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(call, [chance.randrange(1 << 30) for _ in range(16)], [without] * 16))
        ground.result.rounds += 16
        for name in names if without == "exec" else ():
            ground.verb("delete", "--force", name)
    for name in names:
        ground.verb("delete", "--force", name)
    for name in names:
        ground.clear(name, "sixteen callers")
    ground.check_others("sixteen callers")


def lives(ground: Ground, chance: random.Random, more: More) -> None:
    """Whole lives, one after the other: nothing grows."""
    before = size(ground)
    while more():
        name = ground.name()
        ground.must("create", "--bundle", ground.bundle, name)
        ground.must("start", name)
        ground.must("kill", name, "KILL")
        wait_for_end(ground, name)
        ground.must("delete", name)
        ground.result.rounds += 1
    if (after := size(ground)) != before:
        ground.fail("growth", f"{before} before, {after} after")
    ground.check_others("lives")


def wait_for_end(ground: Ground, name: str) -> None:
    for _ in range(1000):
        if '"stopped"' in ground.must("state", name):
            return
        time.sleep(0.002)
    raise RuntimeError(f"{name} does not end")


def size(ground: Ground) -> dict[str, int]:
    """What may grow: files of the store and of the cache, cgroups, mounts."""
    caches = [Path("/run/pyrun.cache"), Path(os.environ.get("XDG_RUNTIME_DIR", "/none"), "pyrun.cache")]
    return {
        "store": sum(1 for _ in ground.root.rglob("*")),
        "cache": sum(1 for cache in caches for _ in cache.rglob("*")),
        "cgroups": sum(
            1 for top in cgroup_directories() for path in top.glob(f"*{ground.folder.name}*") if path.is_dir()
        ),
        "mounts": len(mounts()),
    }


def crowd(ground: Ground, chance: random.Random, more: More) -> None:
    """Many at once."""
    names = []
    while more() and len(names) < 300:
        names.append(ground.name())
        ground.must("run", "--detach", "--bundle", ground.bundle, names[-1])
        ground.result.rounds += 1
    listed = ground.must("list", "--quiet").split()
    if not set(names) <= set(listed):
        ground.fail("leftovers", f"list shows {len(listed)} of {len(names)}")
    ground.kept |= {int(json.loads(ground.must("state", name))["pid"]) for name in names}
    for name in names:
        ground.clear(name, f"one of {len(names)} alive")
    ground.check_others("many at once")


def full_disk(ground: Ground, chance: random.Random, more: More) -> None:
    """A store without room, from none to enough, and files that may not grow."""
    place = ground.folder / "small"
    place.mkdir(exist_ok=True)
    sizes = list(range(1, 12))
    while more():
        pages = chance.choice(sizes)
        name = ground.name()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"nr_blocks={pages},mode=700", "small", place], check=True)
        try:
            code, said = ground.run(ground.command("create", "--bundle", ground.bundle, name, root=place))
            told = f"create in a store of {pages} pages -> {code} {said.strip()[-100:]}"
            ground.mounts = ground.mounts | {f"{place} small"}
            ground.clear(name, told, place)
        finally:
            subprocess.run(["umount", place], check=True)
        name = ground.name()
        most = chance.choice([0, 1, 100, 500, 1000, 2000, 4000, 8000])

        def act(name: str = name, most: int = most) -> str:
            command = ground.command("create", "--bundle", ground.bundle, name)
            code, said = ground.run(command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))
            return f"create with RLIMIT_FSIZE {most} -> {code} {said.strip()[-100:]}"

        ground.round(name, act)


def read_only(ground: Ground, chance: random.Random, more: More) -> None:
    """A store that becomes read-only."""
    place = ground.folder / "frozen"
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "frozen", place], check=True)
    ground.mounts = ground.mounts | {f"{place} frozen"}
    try:
        while more():
            name = ground.name()
            verb = chance.choice([verb for verb in VERBS if VERBS[verb][0] != "paused"])
            if VERBS[verb][0]:
                ground.run(ground.command("create", "--bundle", ground.bundle, name, root=place))
            subprocess.run(["mount", "-o", "remount,ro", place], check=True)
            words = [{"ID": name, "BUNDLE": str(ground.bundle)}.get(word, word) for word in VERBS[verb][1]]
            code, said = ground.run(ground.command(verb, *words, root=place))
            subprocess.run(["mount", "-o", "remount,rw", place], check=True)
            ground.result.rounds += 1
            ground.clear(name, f"{verb} in a store that is read-only -> {code} {said.strip()[-200:]}", place)
            ground.check_others("a read-only store")
    finally:
        subprocess.run(["umount", place], check=True)


def corrupt(ground: Ground, chance: random.Random, more: More) -> None:
    """A state that is cut short, changed, of another type, or no file."""
    while more():
        name = ground.name()
        ground.must("run", "--detach", "--bundle", ground.bundle, name)
        state = ground.root / name / "state.json"
        content = state.read_bytes()
        how = chance.choice(list(CHANGES))

        def act(name: str = name, state: Path = state, content: bytes = content, how: str = how) -> str:
            CHANGES[how](state, content, chance)
            for words in (("list",), ("state", name), ("kill", name, "0"), ("delete", name)):
                ground.verb(*words)
            return f"state.json: {how}: {state.read_bytes()[:200] if state.is_file() else 'no file'!r}"

        pid = json.loads(content)["pid"]
        before = set(ground.kept)
        if how in GONE:
            # What runs, and in which cgroups, may not be known any more: it is said, and left.
            ground.kept.add(pid)
        ground.round(name, act, store_only=how in GONE)
        ground.kept = before
        for top in cgroup_directories() if how in GONE else ():
            if (top / name / "cgroup.procs").exists():
                end_all(top / name)


def end_all(cgroup: Path) -> None:
    """What a state that says nothing any more has left behind: ours to remove."""
    for pid in (cgroup / "cgroup.procs").read_text().split():
        os.kill(int(pid), signal.SIGKILL)
    remove_cgroup(cgroup)


def _cut(state: Path, content: bytes, chance: random.Random) -> None:
    state.write_bytes(content[: chance.randrange(len(content))])


def _byte(state: Path, content: bytes, chance: random.Random) -> None:
    at = chance.randrange(len(content))
    state.write_bytes(content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :])


def _type(state: Path, content: bytes, chance: random.Random) -> None:
    found = json.loads(content)
    member = chance.choice(sorted(set(found) - {"pid", "started", "cgroup"}))
    found[member] = chance.choice([None, 0, "x", [], {}, True])
    state.write_text(json.dumps(found))


def _instead(make: Callable[[Path], object]) -> Callable[[Path, bytes, random.Random], None]:
    def change(state: Path, content: bytes, chance: random.Random) -> None:
        state.unlink()
        make(state)

    return change


CHANGES: dict[str, Callable[[Path, bytes, random.Random], None]] = {
    "cut short": _cut,
    "a byte": _byte,
    "a type": _type,
    "a fifo": _instead(os.mkfifo),
    "a symlink": _instead(lambda path: path.symlink_to("/etc/passwd")),
    "a directory": _instead(lambda path: path.mkdir()),
}
# Nothing can be believed of these: what the container has left running is nobody's to know.
GONE = ("cut short", "a byte", "a fifo", "a symlink", "a directory")


def odd_callers(ground: Ground, chance: random.Random, more: More) -> None:
    """Callers with closed descriptors, signals ignored or blocked, small limits, no working directory."""
    gone = ground.folder / "gone"
    while more():
        how = chance.choice(list(ODD))
        verb = chance.choice(list(VERBS))
        name, command = prepare(ground, verb)
        gone.mkdir(exist_ok=True)
        popen = dict(ODD[how])
        if popen.pop("gone", False):
            command = ["/bin/sh", "-c", f'cd {gone} && rmdir {gone} && exec "$@"', "sh", *command]

        def act(command: list[str] = command, popen: dict[str, Any] = popen, how: str = how) -> str:
            code, said = ground.run(command, **popen)
            return f"{how}: {' '.join(command[-6:])} -> {code} {said.strip()[-200:]}"

        ground.round(name, act)
    shutil.rmtree(gone, ignore_errors=True)


def _limit(kind: int, most: int) -> dict[str, Any]:
    return {"preexec_fn": lambda: resource.setrlimit(kind, (most, most))}


def _closed(*fds: int) -> dict[str, Any]:
    return {"preexec_fn": lambda: [os.close(fd) for fd in fds]}


def _ignoring(*numbers: int) -> dict[str, Any]:
    return {"preexec_fn": lambda: [signal.signal(number, signal.SIG_IGN) for number in numbers]}


ODD: dict[str, dict[str, Any]] = {
    "stdin is closed": _closed(0),
    "stdout is closed": _closed(1),
    "stderr is closed": _closed(2),
    "all are closed": _closed(0, 1, 2),
    "SIGCHLD is ignored": _ignoring(signal.SIGCHLD),
    "SIGTERM and SIGHUP are ignored": _ignoring(signal.SIGTERM, signal.SIGHUP),
    "all signals are blocked": {"preexec_fn": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))},
    **{f"{most} descriptors": _limit(resource.RLIMIT_NOFILE, most) for most in (4, 6, 8, 10, 12, 14, 17, 20, 24)},
    **{f"{most} MB of memory": _limit(resource.RLIMIT_AS, most << 20) for most in (20, 24, 28, 32, 40)},
    "no working directory": {"gone": True},
    "no environment": {"env": {}},
    "a large environment": {"env": {f"V{i}": "x" * 1000 for i in range(1000)}},
    "umask 777": {"preexec_fn": lambda: os.umask(0o777)},
}


def rounds(count: int) -> More:
    """So many."""
    left: Iterator[None] = iter([None] * count)
    return lambda: next(left, 0) is None


def minutes(number: float) -> More:
    """For so long."""
    until = time.monotonic() + number * 60
    return lambda: time.monotonic() < until


# Name, what it is, its share of the time, and how many rounds the short form has.
TRIALS: tuple[tuple[str, Trial, float, int], ...] = (
    ("SIGKILL at random", kill_at_random, 2, 12),
    ("a signal at each system call", signals, 3, 16),
    ("each system call fails", failures, 3, 16),
    ("16 callers at once", callers, 1, 2),
    ("lives", lives, 2, 5),
    ("many alive", crowd, 1, 5),
    ("a full disk", full_disk, 1, 4),
    ("a read-only store", read_only, 0.5, 4),
    ("corrupt states", corrupt, 1, 7),
    ("odd callers", odd_callers, 1.5, 14),
)
