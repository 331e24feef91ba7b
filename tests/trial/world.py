"""Where the trial takes place: a store, a cache, a part of the cgroup tree and an image of its own; and what is looked
at when a round is over."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

from conformance.harness import MNT_DETACH, libc

from . import bundles
from .cgroups import Tree
from .images import Course, Images
from .judge import Verdict, is_traceback
from .processes import below, describe, end, reap, settle
from .sentinels import Sentinels

GUARD = 60  # seconds after which a command hangs; nothing else is judged by time
_PAUSE = 0.02
_CACHE = Path("/run/pyrun.cache")


class World:
    """pyrun: the program under trial. wide: options for all of its commands. user: its caller isn't root. shift: how
    far this seed's places are from another's. home: all files are in here. calls: how many system calls a scene has,
    once they were counted. call: the one to be hit, whatever the round says; 0: as that says. verdict: what is bad in
    the present round. spared: processes that stay. images: of checkpoint, and the CRIU that makes them. criu: a path of
    CRIU itself. courses: of verbs, by their names."""

    def __init__(
        self, pyrun: str, *, wide: tuple[str, ...] = (), user: bool = False, seed: int = 1, criu: str = ""
    ) -> None:
        self.pyrun = pyrun
        self.criu = criu
        self.courses: dict[str, Course] = {}
        self.wide = wide
        self.user = user
        self._identity: dict[str, Any] = {}
        if user:
            self._identity = {"user": bundles.NOBODY, "group": bundles.NOBODY, "extra_groups": []}
        self.shift = Random(seed).random()
        self.home = Path(mkdtemp(prefix="trial-")) / "home"
        self.root = self.home / "state"
        self.name = f"trial-{os.getpid()}"
        self.tree = Tree(self.name, systemd="--systemd-cgroup" in wide)
        self.calls: dict[tuple[str, int], tuple[int, int]] = {}
        self.call = 0
        self.ids: list[str] = []
        self.verdict = Verdict()
        self._numbers = 0
        self.spared: set[int] = set()
        self._callers: set[int] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> World:
        with contextlib.ExitStack() as undo:
            undo.callback(shutil.rmtree, self.home.parent)
            self.home.parent.chmod(0o711)
            self.home.mkdir()
            if not _CACHE.exists():
                _CACHE.mkdir(mode=0o700)
                undo.callback(_remove_empty, _CACHE)
            for point, mode in ((self.home, 0o711), (_CACHE, 0o700)):
                _tmpfs(point, mode)
                undo.callback(libc.umount2, bytes(point), MNT_DETACH)
            undo.callback(self.tree.unmake)
            self.tree.make()
            bundles.image(self.home / "bundle/rootfs")
            self.root.mkdir(mode=0o700)
            self.images = Images(self.home / "criu", self.criu)
            if self.user:
                for path in (self.home, self.root):
                    os.chown(path, bundles.NOBODY, bundles.NOBODY)
            undo.callback(self._leave)
            self._meet()
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _leave(self) -> None:
        """Nobody of ours lives on."""
        self.sentinels.remove()
        self.spared.clear()
        self._sweep()

    def _meet(self) -> None:
        self.sentinels = Sentinels(self)
        self.mounts = _mounts()
        # Records of failures are kept, the last of them.
        self.files = set(os.listdir(self.home)) | {"pyrun.cache"}

    # --- containers and commands

    def new(self, *, kind: int, brief: bool) -> str:
        """The id of a container to be made, whose config is there: of the kind-th kind, by turns. brief: its program
        ends by itself."""
        with self._lock:
            self._numbers += 1
            name = f"{self.name}-{self._numbers}"
            self.ids.append(name)
        self.write(name, kind=kind, brief=brief)
        return name

    def write(self, name: str, *, kind: int, brief: bool) -> None:
        """Its config."""
        config = bundles.config(kind, self.tree.path(name), brief=brief, user=self.user)
        (self.home / f"{name}.json").write_text(json.dumps(config))

    def bundle(self, name: str) -> tuple[str, ...]:
        """The options that name its bundle."""
        return "--bundle", str(self.home / "bundle"), "--config", str(self.home / f"{name}.json")

    def words(self, name: str, words: tuple[str, ...]) -> tuple[str, ...]:
        """A command line with ID and BUNDLE filled in."""
        filled = {"ID": (name,), "BUNDLE": self.bundle(name), "IMAGE": ("--image-path", str(self.images.path(name)))}
        return tuple(part for word in words for part in filled.get(word, (word,)))

    def run(
        self,
        *words: str,
        before: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        plain: Callable[[], None] | None = None,
        within: contextlib.AbstractContextManager[None] | None = None,
        **popen: Any,
    ) -> int:
        """Run a command to its end; what is bad about that goes to the verdict. before: words of a program that starts
        it. plain: what the process does to itself before. within: what is so meanwhile."""
        wide = ("--root", str(self.root), "--criu", str(self.images.criu), *self.wide)
        line = [*before, self.pyrun, *wide, *words]
        out = self.home / f"out-{threading.get_ident()}"
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, **self._identity}
        with open(out, "wb") as file, within or contextlib.nullcontext():
            streams |= {"stdout": file, "stderr": file, "env": env if env is not None else self.environment()}
            if self.criu and words[0] == "create":  # its streams are the container's: CRIU takes no file of the host's
                popen = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **popen}
            with self._lock:
                process = subprocess.Popen(line, preexec_fn=plain, **{**streams, **popen})
                self._callers.add(process.pid)
            code = self._wait(process)
        self._callers.discard(process.pid)
        said = out.read_text(errors="replace")
        out.unlink()
        self.verdict.log(shlex.join(line), code, said)
        if is_traceback(said):
            self.verdict.add("tracebacks", shlex.join(words)[-200:])
        return code

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        """Its exit code. Meanwhile the dead are buried, as by any manager."""
        last = time.monotonic() + GUARD
        while time.monotonic() < last:
            try:
                return process.wait(_PAUSE)
            except subprocess.TimeoutExpired:
                with self._lock:
                    reap(self._callers | self.spared)
        self.verdict.add("hangs", shlex.join(map(str, process.args))[-200:])  # type: ignore[arg-type]
        end({process.pid, *below(process.pid)} - self.spared)
        return process.wait()

    def callers(self) -> set[int]:
        """The commands that run."""
        return set(self._callers)

    def environment(self) -> dict[str, str]:
        """The caller's."""
        here = {"PATH": os.environ.get("PATH", "/bin")}
        return here | {"XDG_RUNTIME_DIR": str(self.home)} if self.user else here

    def prepare(self, *words: str) -> None:
        """A command that nothing is done to: when it fails, something done before has harmed it."""
        if self.run(*words):
            self.verdict.add("harm", f"fails without a reason: {shlex.join(words)[-200:]}")

    def status(self, name: str) -> str:
        """Of a container, as `state` has it; "gone" without one."""
        line = [self.pyrun, "--root", str(self.root), *self.wide, "state", name]
        with self._lock:  # nobody else may reap it
            done = subprocess.run(line, capture_output=True, text=True, check=False, **self._identity)
        return str(json.loads(done.stdout)["status"]) if done.returncode == 0 else "gone"

    def note(self, text: str) -> None:
        """What is special about this round."""
        self.verdict.notes.append(text)

    # --- after a round

    def aftercare(self, *, knows: bool = True) -> Verdict:
        """`delete --force`, and the verdict on what is left. knows: the states are whole, so that it can know."""
        self.forget()
        left = list(self._leftovers(knows))
        for what in left:
            self.verdict.add("leftovers", what)
        harm = self.sentinels.harm()
        for what in harm:
            self.verdict.add("harm", what)
        if left or not knows:
            self._sweep()
        verdict, self.verdict = self.verdict, Verdict()
        if harm:
            self.sentinels.remove()
            self._meet()
        return verdict

    def forget(self) -> None:
        """delete --force of all containers of the round, and their configs."""
        for name in self.ids:
            if self.run("delete", "--force", name):
                self.verdict.add("leftovers", f"delete --force {name} fails")
            (self.home / f"{name}.json").unlink(missing_ok=True)
            self.images.forget(name)
        self.ids = []

    def _leftovers(self, knows: bool) -> Iterator[str]:
        for name in sorted(set(os.listdir(self.root)) - {self.sentinels.neighbour}):
            yield f"state directory {name}: {' '.join(os.listdir(self.root / name))}"
        for name in sorted(set(os.listdir(self.home)) - self.files):
            yield f"file {name}"
        for line in sorted(_mounts() - self.mounts):
            yield f"mount {line}"
        if not knows:
            return
        for pid in sorted(settle(self.spared)):
            yield f"process {describe(pid)}"
        for path in sorted(self.tree.made() - self.sentinels.cgroups):
            yield f"cgroup {path}"

    def _sweep(self) -> None:
        """One round's leftovers must not be the next one's."""
        self.tree.sweep(self.sentinels.cgroups)
        end(below(os.getpid()) - self.spared)
        settle(self.spared)
        self.tree.remove(self.sentinels.cgroups)
        for line in sorted(_mounts() - self.mounts, key=lambda line: int(line.split()[0]), reverse=True):
            libc.umount2(line.split()[4].encode(), MNT_DETACH)
        for name in set(os.listdir(self.root)) - {self.sentinels.neighbour}:
            shutil.rmtree(self.root / name)
        for name in set(os.listdir(self.home)) - self.files:
            (self.home / name).unlink()

    # --- what may not grow

    def measure(self) -> dict[str, int]:
        """What a life may use, but not keep."""
        shutil.rmtree(self.home / "pyrun.cache", ignore_errors=True)
        about = os.statvfs(self.home)
        return {
            "inodes": about.f_files - about.f_ffree,
            "pages": about.f_blocks - about.f_bfree,
            "states": len(os.listdir(self.root)),
            "cgroups": len(self.tree.made()),
            "mounts": len(_mounts()),
            "processes": len(below(os.getpid())),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "the neighbour's descriptors": len(os.listdir(f"/proc/{self.sentinels.init}/fd")),
            "temporary files of the cache": self._temporaries(),
        }

    def _temporaries(self) -> int:
        """A writer that was killed leaves one in the cache; the next one removes it."""
        cache = (self.home / "pyrun.cache" if self.user else _CACHE) / "seccomp"
        if not cache.exists() or self.user:
            return 0
        for kept in cache.iterdir():
            if "." not in kept.name:
                kept.unlink()
        for kind in range(len(bundles.KINDS)):
            name = self.new(kind=kind, brief=True)
            self.prepare("run", *self.bundle(name), name)
        self.forget()
        return sum("." in kept.name for kept in cache.iterdir())


def _tmpfs(point: Path, mode: int) -> Path:
    if libc.mount(b"trial", bytes(point), b"tmpfs", 0, f"mode={mode:o}".encode()):
        raise OSError(f"no tmpfs at {point}")
    return point


def _remove_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):  # somebody else has come to use it
        directory.rmdir()


def _mounts() -> set[str]:
    """Of cgroup2's without the options: a pyrun that is killed can't give back what CRIU takes from the host's own."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.rpartition(" ")[0] if " - cgroup2 " in line else line for line in lines}
