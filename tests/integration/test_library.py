"""`import pyrun`: what docs/library.md promises, in one process with threads and signals of its own."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness import CHECKOUT

import pyrun

pytestmark = [pytest.mark.pyrun_only("a library"), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
PIPE = subprocess.PIPE


@pytest.fixture
def bundle(tmp_path: Path, image: Path) -> pyrun.Bundle:
    shutil.copytree(image, tmp_path / "box/rootfs", symlinks=True)
    return pyrun.Bundle.new(tmp_path / "box", "/bin/sh", "-c", "echo out; echo err >&2; cat; exit 3")


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "store")


def test_what_there_is() -> None:
    assert set(dir(pyrun)) == {*pyrun.__all__, "__version__"}
    for name in dir(pyrun):
        assert getattr(pyrun, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pyrun.nothing  # type: ignore[attr-defined]


def test_run(bundle: pyrun.Bundle, root: str) -> None:
    done = pyrun.run(bundle, data=b"in", root=root)
    assert done == pyrun.Completed(3, b"out\nin", b"err\n")
    assert pyrun.Container.all(root=root) == []


def test_run_ends_in_time(bundle: pyrun.Bundle, root: str) -> None:
    with pytest.raises(TimeoutError):
        pyrun.run(bundle, "/bin/sleep", "1000", timeout=0.2, root=root)
    assert pyrun.Container.all(root=root) == []


def test_a_life(bundle: pyrun.Bundle, root: str) -> None:
    bundle.run("/bin/sh", "-c", 'trap "exit 7" TERM; echo up; while :; do sleep 0.01; done').limit(
        pids=50, memory=64 << 20
    )
    with pyrun.Container.create(bundle, "life", root=root, stdout=PIPE) as box:
        assert box.status == "created" and box.init
        box.start()
        assert box.init.stdout and box.init.stdout.readline() == b"up\n"
        assert box.status == "running" and box.state["id"] == "life"
        box.pause()
        assert box.status == "paused"
        box.resume()
        with box.exec(
            "/bin/sh", "-c", "echo $A; pwd; id -u", env={"A": "b"}, cwd="/tmp", user=(5, 6), stdout=PIPE
        ) as one:
            assert one.communicate() == pyrun.Completed(0, b"b\n/tmp\n5\n", b"")
        assert box.init.pid in box.processes()
        box.update({"pids": {"limit": 60}})
        stats: Any = box.stats()
        assert stats["pids"]["limit"] == 60 and stats["memory"]["usage"]["limit"] == 64 << 20
        found = pyrun.Container.open("life", root=root)
        assert [c.id for c in pyrun.Container.all(root=root)] == ["life"] and found.status == "running"
        with pytest.raises(pyrun.Error, match="told to who made it"):
            found.wait()
        box.kill(signal.SIGTERM)
        assert box.wait(30) == 7
        assert box.status == "stopped"
        with pytest.raises(pyrun.NotRunningError):
            box.kill()
    with pytest.raises(pyrun.DoesNotExistError):
        pyrun.Container.open("life", root=root)


def test_watch(bundle: pyrun.Bundle, root: str) -> None:
    with pyrun.Container.create(bundle.run("/bin/sleep", "0.5"), root=root) as box:
        box.start()
        assert len(list(box.watch(0.1))) >= 2


def test_a_terminal(bundle: pyrun.Bundle, root: str) -> None:
    bundle.run("/bin/tty")
    bundle.config["process"]["terminal"] = True
    with pyrun.Container.create(bundle, root=root) as box:
        box.start()
        assert box.init and box.init.terminal
        assert box.init.terminal.read(100).strip() == b"/dev/pts/0"
        assert box.wait() == 0


def test_streams(bundle: pyrun.Bundle, root: str, tmp_path: Path) -> None:
    with (tmp_path / "said").open("w+b") as file:
        with pyrun.Container.create(
            bundle, root=root, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        ) as box:
            box.start()
            assert box.wait() == 3
        assert (tmp_path / "said").read_bytes() == b"out\nerr\n"


def test_errors(bundle: pyrun.Bundle, root: str) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(pyrun.ExecutableError) as caught:
        pyrun.run(bundle, "/nowhere", root=root)
    assert caught.value.status == 127 and caught.value.pointer == "/process/args/0"
    bundle.config["hostname"] = 7  # type: ignore[typeddict-item]
    with pytest.raises(pyrun.ConfigError) as wrong:
        pyrun.Container.create(bundle, root=root, stdin=PIPE, stdout=PIPE)
    assert [fault.pointer for fault in wrong.value.faults] == ["/hostname"]
    del caught, wrong
    assert os.listdir("/proc/self/fd") == before
    assert pyrun.Container.all(root=root) == []


def test_transforms(bundle: pyrun.Bundle, tmp_path: Path, root: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("there")
    bundle.mount("/data", str(tmp_path / "data"), options=["bind", "ro"]).tmpfs("/scratch", 1 << 20)
    bundle.environment(A="1", B="2").environment(A="3").user(5, groups=[7]).without_namespace("network").limit(cpus=0.5)
    bundle.hook("poststop", "/bin/true", "x", timeout=5).writable().namespace("uts")
    script = "cat /data/file; df -k /scratch | tail -1 | cut -c1-5; echo $A$B; id -u; id -G; touch /new 2>&1 | wc -l"
    done = pyrun.run(bundle, "/bin/sh", "-c", script, root=root)
    assert done.stdout.split() == [b"theretmpfs", b"32", b"5", b"5", b"7", b"1"]
    assert bundle.check().errors == [] and bundle.check(host=True).errors == []
    copied = bundle.copy(tmp_path / "other").environment(A="4")
    assert copied.config != bundle.config
    copied.save()
    assert pyrun.Bundle.load(tmp_path / "other").config == copied.config


def test_check_and_plan(bundle: pyrun.Bundle) -> None:
    plan = bundle.plan("box")
    assert len(plan.digest) == 64 and plan.digest == bundle.plan("box").digest
    assert any("pivot_root" in step.what and step.pointer.startswith("/root") for step in plan.steps())
    assert [row.becomes for row in plan.summary() if row.pointer == "/hostname"] == ["pyrun"]
    bundle.config["hostname"] = "other"
    assert plan.difference(bundle.plan("box")) == ["- kernel: /hostname pyrun", "+ kernel: /hostname other"]
    bundle.run("/nowhere")
    [fault] = bundle.check().errors
    assert fault.pointer == "/process/args/0"


def test_threads(bundle: pyrun.Bundle, tmp_path: Path, root: str) -> None:
    """Eight at once, and whoever else the process has a child of loses nothing."""
    other = subprocess.Popen(["sleep", "2"])

    def one(number: int) -> bytes:
        mine = bundle.copy(tmp_path / f"b{number}").run("/bin/sh", "-c", f"sleep 0.1; echo {number}")
        return pyrun.run(mine, root=root).stdout

    with ThreadPoolExecutor(8) as workers:
        assert [*workers.map(one, range(24))] == [b"%d\n" % number for number in range(24)]
    assert other.poll() is None or other.returncode == 0
    assert other.wait() == 0


def test_times_that_are_over(bundle: pyrun.Bundle, root: str) -> None:
    """Also when the program does not read, or leaves its pipe to another one."""
    with pyrun.Container.create(bundle.run("/bin/sleep", "1000"), root=root) as box:
        box.start()
        for script, data in (("while :; do sleep 0.01; done", b"x" * (1 << 20)), ("echo a; sleep 1000 & exit 0", b"")):
            with box.exec("/bin/sh", "-c", script, stdin=PIPE, stdout=PIPE) as process:
                began = time.monotonic()
                with pytest.raises(TimeoutError):
                    process.communicate(data, timeout=0.3)
                assert time.monotonic() - began < 20


def test_much_both_ways(bundle: pyrun.Bundle, root: str) -> None:
    data = bytes(range(256)) * 4096
    done = pyrun.run(bundle, "/bin/cat", data=data, root=root, timeout=60)
    assert done.stdout == data


def test_threads_that_wait_for_one(bundle: pyrun.Bundle, root: str) -> None:
    with pyrun.Container.create(bundle.run("/bin/sh", "-c", "sleep 0.2; exit 3"), root=root) as box:
        box.start()
        with ThreadPoolExecutor(4) as workers:
            assert [*workers.map(lambda _: box.wait(), range(4))] == [3] * 4


def test_streams_that_are_none(bundle: pyrun.Bundle, root: str) -> None:
    before = os.listdir("/proc/self/fd")
    for wrong in ({"stdout": subprocess.STDOUT}, {"stdin": PIPE, "stderr": "oops"}):
        with pytest.raises((ValueError, AttributeError)):
            pyrun.Container.create(bundle, root=root, **wrong)  # type: ignore[arg-type]
    assert os.listdir("/proc/self/fd") == before


def test_asyncio(bundle: pyrun.Bundle, root: str) -> None:
    async def both() -> list[pyrun.Completed]:
        run = (asyncio.to_thread(pyrun.run, bundle, "/bin/pwd", root=root) for _ in range(2))
        return await asyncio.gather(*run)

    assert [done.stdout for done in asyncio.run(both())] == [b"/\n", b"/\n"]


def test_nothing_of_the_process_is_changed(bundle: pyrun.Bundle, root: str) -> None:
    def habits() -> list[object]:
        umask = os.umask(0o22)
        os.umask(umask)
        handlers: list[object] = [signal.getsignal(number) for number in signal.valid_signals()]
        return [
            *handlers,
            umask,
            os.getcwd(),
            dict(os.environ),
            threading.active_count(),
            sys.stdout,
            os.listdir("/proc/self/fd"),
        ]

    before = habits()
    pyrun.run(bundle, root=root)
    assert habits() == before


def test_the_command_line_loads_none_of_it() -> None:
    code = "import pyrun, sys; print(*sorted(name for name in sys.modules if name.startswith('pyrun')))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["pyrun"]


def test_what_types_say(tmp_path: Path) -> None:
    """No public signature has Any, and a user's program is judged by them."""
    program = tmp_path / "user.py"
    program.write_text(
        "import pyrun\n"
        "box = pyrun.Bundle.new('/x').limit(memory=1)\n"
        "code: int = pyrun.run(box).code\n"
        "reveal_type(pyrun.Container.open('x').status)\n"
        "pyrun.run(5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--disallow-any-expr", "--cache-dir", tmp_path / "cache", program],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.stdout.count("error:") == 1 and 'incompatible type "int"; expected "Bundle"' in done.stdout, done
    assert "Literal['creating'" in done.stdout or "str" in done.stdout


def test_a_created_one_is_removed(bundle: pyrun.Bundle, root: str) -> None:
    started = time.monotonic()
    with pyrun.Container.create(bundle, root=root):
        pass
    assert pyrun.Container.all(root=root) == [] and time.monotonic() - started < 20


EXAMPLES = re.findall(r"^```python\n(.*?)^```", (CHECKOUT / "docs/library.md").read_text(), re.M | re.S)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples(example: str, image: Path, tmp_path: Path) -> None:
    """Those with a test of their own by pytest, the others as they are."""
    program = tmp_path / "test_example.py"
    program.write_text(re.sub('"/tmp/(?=[a-z])', f'"{tmp_path}/', example).replace("/srv/busybox", str(image)))
    command = [sys.executable, program]
    if "pytest" in example:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, cwd=tmp_path)
    assert done.returncode == 0, done
