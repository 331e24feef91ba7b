"""Containers that are written to files and made anew: `tests/guest/criu` runs these where CRIU can be used."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SECONDS = 40  # of an emulated machine
CGROUP_ROOT = Path("/sys/fs/cgroup")
V1 = not (CGROUP_ROOT / "cgroup.controllers").exists()
CGROUPS = CGROUP_ROOT / "pids" if V1 else CGROUP_ROOT  # the hierarchy in which cgroups are looked for
CARRIED = Path(__file__).parents[2] / "build/carried"  # what the first machine leaves for the second
# What counts shows that it is the same process: it begins once, and goes on from where it was.
COUNT = "echo begun >> /tmp/begun; i=0; while :; do i=$((i+1)); echo $i > /tmp/.n; mv /tmp/.n /tmp/n; sleep 0.05; done"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runtime", default="/usr/local/bin/pyrun")
    parser.addoption("--systemd-cgroup", action="store_true")
    parser.addoption("--second-machine", action="store_true", help="take up what was left for another machine")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "pyrun_only(reason): about what only pyrun does, or does so")
    config.addinivalue_line("markers", "beyond(reason, runc=reason, crun=reason): what runc 1.1 and crun 1.21 can't do")
    config.addinivalue_line("markers", "since(version, reason): what an older CRIU can't do")
    config.addinivalue_line("markers", "second_machine: takes up what was left for another machine")


def criu_version() -> tuple[int, ...]:
    said = subprocess.run(["criu", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in said.split()[1].split("."))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    second = config.getoption("second_machine")
    items[:] = [item for item in items if bool(item.get_closest_marker("second_machine")) == second]
    version = criu_version()
    for item in items:
        if (since := item.get_closest_marker("since")) and version < since.args[0]:
            item.add_marker(pytest.mark.xfail(reason=since.args[1]))
    name = Path(config.getoption("runtime")).name
    if name != "pyrun":
        for item in items:
            if only := item.get_closest_marker("pyrun_only"):
                item.add_marker(pytest.mark.skip(only.args[0]))
            for beyond in item.iter_markers("beyond"):
                if reason := beyond.kwargs.get(name) or next(iter(beyond.args), ""):
                    item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """An emulated machine takes minutes for all: each failure is said at once."""
    if report.failed:
        print(f"\n{report.nodeid}\n{report.longreprtext[-3000:]}", file=sys.__stderr__, flush=True)


def until(what: str, holds: Any) -> Any:
    """What `holds` returns, once that is true."""
    end = time.monotonic() + SECONDS
    while not (found := holds()):
        assert time.monotonic() < end, f"in {SECONDS} s: not {what}"
        time.sleep(0.05)
    return found


class Box:
    """A bundle, its containers, and images of them."""

    def __init__(self, folder: Path, runtime: str, *options: str) -> None:
        self.folder, self.runtime, self.options = folder, runtime, options
        self.root, self.image, self.work = folder / "rootfs", folder / "image", folder / "work"
        self.stderr = folder / "stderr"
        for name in ("bin", "tmp", "dev", "proc", "sys", "usr"):
            (self.root / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", self.root / "bin/busybox")
        for name in ("sh", "sleep", "cat", "mv", "ls", "mknod", "head"):
            (self.root / "bin" / name).symlink_to("busybox")
        subprocess.run([runtime, "spec"], cwd=folder, check=True)
        self.config = json.loads((folder / "config.json").read_text())
        self.config["process"].update(terminal=False, args=["sh", "-c", COUNT])
        self.config["root"]["readonly"] = False
        self.linux = self.config["linux"]
        self.linux["cgroupsPath"] = "system.slice:box:c" if options else "/boxes/c"

    def python(self, program: str, how: str = "bind") -> None:
        """The program, by the guest's Python."""
        for name in ("lib", "lib64"):
            (self.root / name).symlink_to(f"usr/{name}")
        self.config["mounts"].append({"destination": "/usr", "type": "bind", "source": "/usr", "options": [how, "ro"]})
        self.config["process"]["args"] = ["/usr/bin/python3", "-c", program]

    def counting(self, before: str, step: str = "pass", how: str = "bind") -> None:
        """A program in Python that counts as COUNT does: statements before it begins, and one at each step."""
        self.python(
            f"import os, socket, time\n{before}\ni = 0; open('/tmp/begun', 'a').write('begun\\n')\nwhile True:\n"
            f"    {step}\n    i += 1; open('/tmp/.n', 'w').write(str(i)); os.rename('/tmp/.n', '/tmp/n')\n"
            "    time.sleep(0.05)\n",
            how,
        )

    def lets_go(self, *options: object) -> int:
        """Run, written, and where it had come to."""
        self.run()
        self.counts(above=2)
        self.checkpoint(*options)
        return int(self.text("n"))

    def call(self, *arguments: object, fails: bool = False, **others: Any) -> str:
        """Run the runtime. Returns what it says, on both."""
        with self.stderr.open("wb") as file:
            others = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file, **others}
            done = subprocess.run(
                [self.runtime, *self.options, *map(str, arguments)], cwd=self.folder, timeout=SECONDS * 2, **others
            )
        own = self.folder / "log"
        said = self.stderr.read_text() + (own.read_text() if own.exists() else "")
        if (done.returncode != 0) != fails:
            pytest.fail(f"{arguments}: {done.returncode}\n{said}\n{self.log()}", pytrace=False)
        return said

    def log(self) -> str:
        """What went wrong, as CRIU's logs have it."""
        lines = [line for path in self.work.glob("*.log") for line in path.read_text(errors="replace").splitlines()]
        return "\n".join([line for line in lines if "Error" in line or "Warn" in line][-20:])

    def log_of(self, verb: str) -> str:
        """All that CRIU has logged; verb: dump or restore."""
        try:
            return (self.work / f"{verb}.log").read_text(errors="replace")
        except OSError:
            return ""

    def write(self) -> None:
        (self.folder / "config.json").write_text(json.dumps(self.config))

    def run(self, name: str = "c", **others: Any) -> None:
        self.write()
        null = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.call("--log", self.folder / "log", "run", "-d", name, **{**null, **others})
        (self.folder / "log").unlink(missing_ok=True)

    def checkpoint(self, *options: object, name: str = "c", image: str = "image", **others: Any) -> str:
        self.work.mkdir(exist_ok=True)  # crun asks for it
        paths = ("--image-path", self.folder / image, "--work-path", self.work)
        return self.call("checkpoint", *paths, *options, name, **others)

    def restore(self, *options: object, name: str = "c", image: str = "image", **others: Any) -> str:
        paths = ("--image-path", self.folder / image, "--work-path", self.work)
        return self.call("restore", "-d", *paths, *options, name, **others)

    def state(self, name: str = "c") -> dict[str, Any]:
        """{} for one that is not there."""
        done = subprocess.run([self.runtime, "state", name], capture_output=True, timeout=SECONDS)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def status(self, name: str = "c") -> str:
        return self.state(name).get("status", "")

    def execute(self, *arguments: str, name: str = "c") -> str:
        return subprocess.run(
            [self.runtime, "exec", name, *arguments], check=True, capture_output=True, text=True, timeout=SECONDS
        ).stdout

    def text(self, name: str) -> str:
        try:
            return (self.root / "tmp" / name).read_text()
        except OSError:
            return ""

    def counts(self, name: str = "n", above: int = -1) -> int:
        """Wait until the counter is above that, or has gone on. Returns it."""
        floor = above if above >= 0 else int(self.text(name) or 0)
        return until(f"{name} above {floor}", lambda: int(self.text(name) or 0) > floor and int(self.text(name)))

    def went_on(self, before: int) -> None:
        """It counts on from there, and has begun once. One number may have been on its way through a connection."""
        self.counts(above=before + 1)
        assert self.text("begun") == "begun\n"

    def cgroup(self, name: str = "c") -> str:
        lines = Path(f"/proc/{self.state(name)['pid']}/cgroup").read_text().splitlines()
        hierarchy = ":pids:" if V1 else "0::"
        return next(line.partition(hierarchy)[2] for line in lines if hierarchy in line)

    def remnants(self, name: str = "c") -> list[str]:
        """What is left of a container that is to be gone."""
        mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "criu-root" in line]
        stores = [path for path in (f"/run/pyrun/{name}", f"/run/runc/{name}") if os.path.exists(path)]
        return [*mounts, *self.cgroups(name), *stores, *(str(pid) for pid in self.processes())]

    def cgroups(self, name: str) -> list[str]:
        """Those of a container."""
        names = (name, f"box-{name}.scope")
        return [str(path) for path in CGROUP_ROOT.rglob("*") if path.is_dir() and path.name in names]

    def processes(self) -> list[int]:
        """Those whose root or program is this bundle's, or that are CRIU."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (
                    os.readlink(entry / "root").startswith(str(self.root))
                    or (entry / "comm").read_text().strip() == "criu"
                    or os.stat(entry / "root/bin/busybox").st_ino == (self.root / "bin/busybox").stat().st_ino
                ):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def end_criu(self) -> None:
        """Those that serve memory hold the processes of it."""
        subprocess.run(["pkill", "-KILL", "-x", "criu"], check=False)

    def clean(self) -> None:
        for name in ("c", "d"):
            subprocess.run([self.runtime, "delete", "--force", name], capture_output=True, timeout=SECONDS)
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        for name in ("c", "d"):
            for path in self.cgroups(name):
                try:
                    os.rmdir(path)  # for what comes after, whoever has left it
                except OSError:
                    continue


@pytest.fixture
def box(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    options = ["--systemd-cgroup"] if request.config.getoption("systemd_cgroup") else []
    made = Box(tmp_path, request.config.getoption("runtime"), *options)
    yield made
    made.clean()
    until("the end of its processes", lambda: not made.processes())
