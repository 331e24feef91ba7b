"""Where a trial takes place: a store and bundles of its own, neighbours that must come to no harm, and the judge."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
LIMIT = 60  # seconds after which a command hangs
PR_SET_CHILD_SUBREAPER = 36
# How a failure must never look to a user.
BROKEN = ("Traceback", "itself failed")

libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Result:
    """What a trial has come to. bad: what went wrong, in a form in which it can be done again."""

    name: str
    rounds: int = 0
    tracebacks: int = 0
    hangs: int = 0
    leftovers: int = 0
    harm: int = 0
    growth: int = 0
    bad: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.tracebacks or self.hangs or self.leftovers or self.harm or self.growth)


class Ground:
    """A directory with a store, `root`, and bundles. Ended by `close`, which leaves nothing."""

    def __init__(self, runtime: str, wide: Sequence[str] = ()) -> None:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what outlives its runtime becomes our child
        self.runtime, self.wide = runtime, list(wide)
        self.folder = Path(tempfile.mkdtemp(prefix="pyrun-trial-", dir="/run" if os.geteuid() == 0 else None))
        self.folder.chmod(0o755)
        self.root = self.folder / "store"
        self.inject = str(self.folder / "inject")
        subprocess.run(["gcc", "-O1", "-o", self.inject, Path(__file__).with_name("inject.c")], check=True)
        self.bundle = self.make_bundle("bundle")
        self.number = 0
        self.result = Result("")
        self.kept: set[int] = set()
        self.running: set[int] = set()
        self.foreign = self._foreign()
        self.neighbour = self.name()
        self.must("run", "--detach", "--bundle", self.bundle, self.neighbour)
        self.kept = children()
        self.mounts = mounts()

    # --- what is there

    def make_bundle(self, name: str, **changes: Any) -> Path:
        """A bundle with something of everything that create makes. changes: of `linux`."""
        path = self.folder / name
        for directory in ("bin", "proc", "sys", "dev", "tmp"):
            (path / "rootfs" / directory).mkdir(parents=True)
        shutil.copy("/bin/busybox", path / "rootfs/bin/busybox")
        for applet in ("sh", "sleep", "true"):
            (path / "rootfs/bin" / applet).symlink_to("busybox")
        subprocess.run([self.runtime, "spec", "--bundle", path], check=True)
        config = json.loads((path / "config.json").read_text())
        config["process"].update(terminal=False, args=["/bin/sleep", "1000"], rlimits=[])
        config["mounts"] += [
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]},
            {"destination": "/bound", "type": "none", "source": str(path), "options": ["bind", "ro"]},
        ]
        config["hooks"] = {kind: [{"path": "/bin/true"}] for kind in ("createRuntime", "poststart", "poststop")}
        config["linux"]["resources"] = {"memory": {"limit": 100 << 20}, "pids": {"limit": 100}}
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO"}],
        }
        config["linux"].update(changes)
        (path / "config.json").write_text(json.dumps(config))
        return path

    def _foreign(self) -> tuple[int, list[Path], Path]:
        """What is not pyrun's: a process in cgroups of its own, and a mount."""
        process = subprocess.Popen(["sleep", "100000"])
        cgroups = []
        for tree in ("pids", "freezer", "unified", ""):
            path = Path("/sys/fs/cgroup", tree, f"{self.folder.name}-foreign")
            if os.geteuid() == 0 and (path.parent / "cgroup.procs").exists():
                path.mkdir()
                (path / "cgroup.procs").write_text(str(process.pid))
                cgroups.append(path)
        place = self.folder / "foreign"
        place.mkdir()
        if os.geteuid() == 0:
            subprocess.run(["mount", "-t", "tmpfs", "foreign", place], check=True)
        return process.pid, cgroups, place

    def name(self) -> str:
        """A container's id that is new."""
        self.number += 1
        return f"{self.folder.name}-{self.number}"

    # --- commands

    def command(self, *words: object, root: Path | None = None) -> list[str]:
        return [self.runtime, *self.wide, "--root", str(root or self.root), *map(str, words)]

    def run(self, command: Sequence[str], **popen: Any) -> tuple[int, str]:
        """The exit status of a command, and what it said. One that hangs is killed, and counts."""
        with tempfile.TemporaryFile() as out:
            popen.setdefault("stdin", subprocess.DEVNULL)
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, **popen)
            self.running.add(process.pid)
            until = time.monotonic() + LIMIT
            while (code := process.poll()) is None:
                if time.monotonic() > until:
                    self.fail("hangs", f"{' '.join(command)}: still there after {LIMIT} s")
                    for pid in below(process.pid):
                        end(pid)
                    end(process.pid)
                    until += LIMIT
                self.reap()
                time.sleep(0.002)
            self.running.discard(process.pid)
            out.seek(0)
            said = out.read().decode(errors="replace")
        if any(words in said for words in BROKEN):
            self.fail("tracebacks", f"{' '.join(command)}: {said[-600:]}")
        return code, said

    def verb(self, *words: object, **popen: Any) -> int:
        """Run a command of pyrun's, however it ends."""
        return self.run(self.command(*words), **popen)[0]

    def must(self, *words: object) -> str:
        code, said = self.run(self.command(*words))
        if code:
            raise RuntimeError(f"{words}: {said}")
        return said

    def reap(self) -> None:
        """Orphans that have become our children are waited for, as a machine's init does: until then a pid namespace
        that they are in does not end."""
        for pid in all_children() - self.running - {self.foreign[0] if hasattr(self, "foreign") else 0}:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue

    # --- the judge

    def fail(self, kind: str, what: str) -> None:
        setattr(self.result, kind, getattr(self.result, kind) + 1)
        self.result.bad.append(f"{kind}: {what}")

    def round(self, name: str, act: Callable[[], str], store_only: bool = False) -> None:
        """One round on the container `name`: `act` says what it did. Then nothing of it may be left (`store_only`: in
        the store), and nobody else be harmed."""
        told = act()
        self.result.rounds += 1
        self.clear(name, told, store_only=store_only)
        self.check_others(told)

    def clear(self, name: str, told: str, root: Path | None = None, store_only: bool = False) -> None:
        """`delete --force` must work, and leave nothing."""
        code, said = self.run(self.command("delete", "--force", name, root=root))
        if code:
            self.fail("leftovers", f"{told}: delete --force: {said.strip()[-400:]}")
        left = [str(path) for path in self.traces(name, root) if not store_only or self.root in path.parents]
        # An executor that has lost its runtime ends a moment later, by itself.
        for _ in range(200):
            self.reap()
            pids = children() - self.kept
            if not pids:
                break
            time.sleep(0.01)
        left += [f"process {pid} ({describe(pid)})" for pid in pids]
        left += [f"mount {line}" for line in mounts() - self.mounts]
        if left:
            self.fail("leftovers", f"{told}: {', '.join(left)[:600]}")
        for pid in pids:
            end(pid)
        for line in mounts() - self.mounts:
            subprocess.run(["umount", "-l", line.split()[0]], check=False, stderr=subprocess.DEVNULL)

    def traces(self, name: str, root: Path | None = None) -> list[Path]:
        """Files of the container's that are there."""
        found = [path for path in [(root or self.root) / name] if path.exists()]
        for directory in cgroup_directories():
            found += [path for path in (directory / name, directory / f"pyrun-{name}.scope") if path.exists()]
        return [*found, *Path("/tmp").glob(".pyrun-*")]

    def check_others(self, told: str) -> None:
        pid, cgroups, place = self.foreign
        harmed = []
        if not alive(pid):
            harmed.append("a foreign process")
        if any(str(pid) not in (path / "cgroup.procs").read_text().split() for path in cgroups if path.exists()):
            harmed.append("a foreign cgroup's process")
        if not all(path.exists() for path in cgroups):
            harmed.append("a foreign cgroup")
        if os.geteuid() == 0 and not os.path.ismount(place):
            harmed.append("a foreign mount")
        if '"running"' not in self.run(self.command("state", self.neighbour))[1]:
            harmed.append("the neighbour")
        if harmed:
            self.fail("harm", f"{told}: {', '.join(harmed)}")

    def close(self) -> None:
        self.run(self.command("delete", "--force", self.neighbour))
        pid, cgroups, place = self.foreign
        end(pid)
        os.waitpid(pid, 0)
        self.reap()
        for path in cgroups:
            remove_cgroup(path)
        subprocess.run(["umount", "-l", place], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["rm", "-rf", "--one-file-system", self.folder], check=True)


def remove_cgroup(path: Path) -> None:
    """One whose processes have been killed: they leave it a moment later."""
    for _ in range(500):
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.01)
        else:
            return


def cgroup_directories() -> list[Path]:
    top = Path("/sys/fs/cgroup")
    inside = [path for path in top.iterdir() if (path / "cgroup.procs").exists()] if top.exists() else []
    # On some machines we are ourselves below the top.
    return [top, *inside, *(top / "system.slice", top / "user.slice"), *top.glob("memory/process_api/*")]


def mounts() -> set[str]:
    """Place and source of each mount that we see."""
    with open("/proc/self/mountinfo") as file:
        fields = [line.split() for line in file]
    return {f"{row[4]} {row[row.index('-') + 2]}" for row in fields}


def all_children(pid: int = 0) -> set[int]:
    """Of all threads, zombies too."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid or os.getpid()}/task").glob("*/children"):
        try:
            found.update(map(int, task.read_text().split()))
        except OSError:
            continue
    return found


def children(pid: int = 0) -> set[int]:
    return {child for child in all_children(pid) if is_running(child)}


def below(pid: int) -> set[int]:
    found = children(pid)
    return found.union(*map(below, found)) if found else found


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


alive = is_running


def describe(pid: int) -> str:
    try:
        said = [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "wchan", "cgroup")]
    except OSError:
        return "?"
    return " | ".join(text.replace(b"\0", b" ").decode(errors="replace").strip()[:80] for text in said)


def end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
