"""What the kernel does that one would not expect, and that a container must not suffer from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from harness import Container

pytestmark = pytest.mark.guest

UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers")
NO_EXEC = Path("/proc/sys/vm/memfd_noexec")


@pytest.mark.skipif(not UNIFIED.exists(), reason="cgroup2 is mounted by containers only where the host's is unified")
@pytest.mark.pyrun_only("runc and crun take these flags from the host's mount")
@pytest.mark.parametrize("namespace", [False, True])
def test_the_hosts_cgroup2_keeps_its_flags(container: Container, namespace: bool) -> None:
    def flags() -> str:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return next(line.rpartition(" ")[2] for line in lines if " /sys/fs/cgroup " in line)

    before = flags()
    if namespace:
        container.namespace("cgroup")
    container.sees("true")
    assert flags() == before


@pytest.mark.pyrun_only("a property of pyrun's executor")
@pytest.mark.skipif(not NO_EXEC.exists(), reason="this kernel has no vm.memfd_noexec")
def test_where_memory_files_may_not_be_executed(container: Container) -> None:
    container.sh("echo inside")
    container.write()
    script = (
        f"echo 2 > {NO_EXEC} && exec $0 --root {container.runtime.root} run --bundle {container.path} {container.id}"
    )
    command = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script, container.runtime.binary]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "inside\n", "")
    assert not list(Path("/tmp").glob(".pyrun-*"))
