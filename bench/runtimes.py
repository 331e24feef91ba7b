"""A runtime under test, its bundles, and what they leave: nothing."""

from __future__ import annotations

import copy
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LIMITS = (128, 192, 256, 320, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)  # KiB
TRIES = 10
PR_SET_CHILD_SUBREAPER = 36
MNT_DETACH = 2

libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """A runtime's command did not exit 0."""


class Runtime:
    """A runtime under test, with a directory of states of its own, in memory."""

    def __init__(self, name: str, binary: str, folder: Path) -> None:
        self.name = name
        self.binary = binary
        self.root = folder / f"{name}-state"
        self.pid_file = folder / "pid"
        self.out = os.open(folder / f"{name}-output", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self.id = f"bench-{os.getpid()}-{name}"
        # Verb -> CPU time of its last command and of what that has waited for, in milliseconds
        self.cpu: dict[str, float] = {}

    def version(self) -> str:
        said = subprocess.run([self.binary, "--version"], capture_output=True, text=True, check=True).stdout
        return said.split("\n")[0]

    def command(self, verb: str, *arguments: str | Path) -> list[str]:
        return [self.binary, "--root", str(self.root), verb, *map(str, arguments)]

    def begin(self, command: list[str]) -> int:
        streams: list[tuple[object, ...]] = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0)]
        streams += [(os.POSIX_SPAWN_DUP2, self.out, 1), (os.POSIX_SPAWN_DUP2, self.out, 2)]
        return os.posix_spawn(command[0], command, os.environ, file_actions=streams)

    def __call__(self, verb: str, *arguments: str | Path, prefix: tuple[str, ...] = ()) -> float:
        """Milliseconds, from spawn to end. Raises Failed with what the command wrote."""
        os.ftruncate(self.out, 0)
        command = [*prefix, *self.command(verb, *arguments)]
        began = time.perf_counter_ns()
        _, status, usage = os.wait4(self.begin(command), 0)
        taken = (time.perf_counter_ns() - began) / 1e6
        if status:
            raise Failed(f"{' '.join(command)}: {self.said()}")
        self.cpu[verb] = (usage.ru_utime + usage.ru_stime) * 1000
        return taken

    def said(self) -> str:
        return os.pread(self.out, 65536, 0).decode(errors="replace").strip()

    def create(self, bundle: Bundle, name: str = "") -> tuple[float, int]:
        """How long it took, and init's pid."""
        taken = self("create", "--bundle", bundle.path, "--pid-file", self.pid_file, name or self.id)
        return taken, int(self.pid_file.read_text())

    def end(self, init: int, name: str = "") -> tuple[float, float]:
        """Milliseconds of kill and of delete."""
        kill = self("kill", name or self.id, "KILL")
        os.waitpid(init, 0)  # ours: this process is the subreaper
        return kill, self("delete", name or self.id)

    @contextmanager
    def running(self, bundle: Bundle) -> Iterator[None]:
        _, init = self.create(bundle)
        self("start", self.id)
        yield
        self.end(init)

    def peak(self, bundle: Bundle) -> int:
        """KiB of the largest process that `create` needs, by /usr/bin/time: a process that this large one spawns itself
        starts its count with this one's memory."""
        self("create", "--bundle", bundle.path, self.id, prefix=("/usr/bin/time", "-f", "%M"))
        peak = int(self.said().split()[-1])
        self("delete", "--force", self.id)
        reap()
        return peak

    def smallest_limit(self, bundle: Bundle) -> int | None:
        """KiB of the smallest memory limit with which `true` runs each time; None when there is none."""
        limited = bundle.other()
        limited.config["process"]["args"] = ["true"]
        for limit in LIMITS:
            limited.config["linux"].setdefault("resources", {})["memory"] = {"limit": limit << 10}
            limited.write()
            try:
                for _ in range(TRIES):
                    self("run", "--bundle", limited.path, self.id)
                return limit
            except Failed:
                if (self.root / self.id).exists():
                    self("delete", "--force", self.id)
                reap()
        return None


class Bundle:
    """Busybox, and the config that `pyrun spec` writes; the program sleeps."""

    def __init__(self, path: Path, pyrun: str) -> None:
        self.path = path
        for name in ("bin", "dev", "proc", "sys", "mnt"):
            (path / "rootfs" / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", path / "rootfs/bin")
        for name in ("true", "sleep"):
            (path / "rootfs/bin" / name).symlink_to("busybox")
        subprocess.run([pyrun, "spec", "--bundle", path], check=True)
        self.config: dict[str, Any] = json.loads((path / "config.json").read_text())
        self.config["ociVersion"] = "1.0.2"  # crun 1.8 takes no newer one
        self.config["process"]["terminal"] = False
        self.config["process"]["args"] = ["sleep", "1000"]
        self.write()

    def other(self) -> Bundle:
        """Another bundle with the same root, its config to be changed."""
        made = object.__new__(Bundle)
        made.config = copy.deepcopy(self.config)
        made.path = Path(f"{self.path}-{len(list(self.path.parent.iterdir()))}")
        made.path.mkdir()
        made.config["root"]["path"] = str(self.path / "rootfs")
        made.write()
        return made

    def brief(self) -> Bundle:
        """One whose program ends at once."""
        made = self.other()
        made.config["process"]["args"] = ["true"]
        made.write()
        return made

    def write(self) -> None:
        (self.path / "config.json").write_text(json.dumps(self.config))


def reap() -> None:
    """Wait for every child there is: each has been killed."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        return


@contextmanager
def tidy() -> Iterator[None]:
    """What commands leave is this process's to wait for, and at the end no cgroup of theirs is left."""
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    hugetlb = separate_hugetlb()
    try:
        yield
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
    if left:
        sys.exit(f"left behind: {' '.join(left)}")


@contextmanager
def on_tmpfs(folder: Path) -> Iterator[None]:
    if libc.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, b"mode=700"):
        sys.exit(f"mount {folder}: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        libc.umount2(bytes(folder), MNT_DETACH)


def separate_hugetlb() -> tuple[Path, bool] | None:
    """crun 1.8 refuses a machine with some controllers on cgroup v1 unless this one is there too: its directory, and
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
