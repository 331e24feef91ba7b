"""How long managers take with each runtime below them, end to end: `make bench-managers`.

No test: `make test-managers` does not collect it. It shares their daemons and images, and what it writes,
bench/managers.json, is a part of bench/RESULTS.md.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import STAGE
from containerd import IMAGE, Containerd
from cri import Kubelet
from harness import CHECKOUT
from managers import eventually
from test_cri import Pod, remove_parent
from test_podman import IMAGE as FILES
from test_podman import Podman

ROUNDS = int(os.environ.get("ROUNDS", "10"))
RECORD = "--record" in os.environ.get("BENCH", "")
EXECS = 50
RUNTIMES = {
    "pyrun": str(STAGE),
    **{name: str(shutil.which(name, path="/usr/sbin:/usr/bin")) for name in ("runc", "crun")},
}
ROWS = ("podman run --rm", "ctr run --rm", f"{EXECS} execs by CRI")


@pytest.fixture
def handlers(archive: Callable[[str, list[str]], Path], tmp_path: Path) -> Iterator[Containerd]:
    """A containerd with a handler for each runtime."""
    with Containerd(RUNTIMES, tmp_path).serving(archive) as made:
        yield made


def milliseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def test_end_to_end(handlers: Containerd, rootfs_tar: Path, tmp_path: Path) -> None:
    kubelet = Kubelet(handlers.address)
    assert eventually(lambda: bool(kubelet("Version").get("runtime_name")))
    engines, pods, calls = {}, {}, {}
    for name, path in RUNTIMES.items():
        (tmp_path / name).mkdir()
        engines[name] = Podman(path, tmp_path / name)
        pods[name] = Pod(kubelet, name, tmp_path / name)
        container = pods[name].run(["sleep", "100000"])

        def executes(pod: Pod = pods[name], container: str = container) -> None:
            for _ in range(EXECS):
                assert pod.sync(container, "true")[0] == 0

        def by_podman(podman: Podman = engines[name]) -> None:
            podman.ok("run", "--rm", "--network", "none", FILES, "true")

        def by_ctr(path: str = path) -> None:
            handlers.ok("run", "--rm", "--runc-binary", path, IMAGE, "one", "true")

        calls[name] = dict(zip(ROWS, (by_podman, by_ctr, executes), strict=True))
    next(iter(engines.values())).ok("import", "--change", "ENV=PATH=/bin", rootfs_tar, FILES)
    found: dict[str, dict[str, list[float]]] = {row: {name: [] for name in RUNTIMES} for row in ROWS}
    try:
        for number in range(-1, ROUNDS):
            for row in ROWS:
                for name in RUNTIMES:
                    taken = milliseconds(calls[name][row])
                    if number >= 0:  # the first warms
                        found[row][name].append(round(taken, 2))
    finally:
        for pod in pods.values():
            pod.close()
        remove_parent()
    for row, times in found.items():
        print(row, {name: (min(taken), statistics.median(taken)) for name, taken in times.items()})
    if RECORD:
        date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
        text = json.dumps({"date": date, "rounds": ROUNDS, "times": found}, indent=1)
        (CHECKOUT / "bench/managers.json").write_text(f"{text}\n")
