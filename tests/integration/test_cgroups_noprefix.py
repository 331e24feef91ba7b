"""cpuset of version 1 mounted noprefix: its files have bare names (cgroup_parse_param of kernel/cgroup/cgroup-v1.c)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from harness import Container

from conformance.harness import V2

pytestmark = pytest.mark.guest

TOP = "/sys/fs/cgroup"
# In a mount namespace of its own; the kernel gives the controller to version 1 when no cgroup of version 2 uses it.
MOUNT = f"""
echo -cpuset > {TOP}/cgroup.subtree_control 2> /dev/null
mount -t tmpfs tops {TOP} && mkdir {TOP}/cpuset && mount -t cgroup -o cpuset,noprefix cpuset {TOP}/cpuset || exit 99
"$@"
code=$?
umount {TOP}/cpuset
exit $code
"""


def test_limits_and_figures(container: Container) -> None:
    if not V2 or "cpuset" not in Path(f"{TOP}/cgroup.controllers").read_text():
        pytest.skip("this host has cpuset mounted already, or this kernel has none")
    container.linux["cgroupsPath"] = f"/{container.id}"
    container.linux["resources"] = {"cpu": {"cpus": "0", "mems": "0"}}
    container.without_mount("/sys/fs/cgroup")
    container.hook("poststart", f"cat {TOP}/cpuset/{container.id}/cpus {TOP}/cpuset/{container.id}/mems > found")
    container.sh("cat /proc/self/cgroup")
    container.write()
    command = container.runtime.command("run", "--bundle", container.path, container.id)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", MOUNT, "-", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done
    assert f"cpuset:/{container.id}" in done.stdout
    assert (container.path / "found").read_text() == "0\n0\n"
