"""`pyrun plan`: what each part of a config becomes, in a screenful."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness import PYRUN

from pyrun.machine.launch import Layout
from pyrun.plan.create import compile_container
from pyrun.plan.facts import Facts
from pyrun.plan.summary import Line, summary
from pyrun.spec.example import example


def of(config: Any) -> list[Line]:
    facts = Facts(
        layout=Layout(["fifo", "status"]), bundle="/bundle", container="box", cgroups=[("", "/sys/fs/cgroup", "/box")]
    )
    return summary(compile_container(config, facts), config)


def test_each_part_has_a_line_by_stages() -> None:
    config = example()
    config["mounts"].append({"destination": "/data", "source": "/srv", "options": ["rbind", "ro"]})
    lines = of(config)
    stages = list(dict.fromkeys(line.stage for line in lines))
    assert stages == [
        "cgroup",
        "namespaces",
        "root",
        "mounts",
        "devices",
        "kernel",
        "masks",
        "process",
        "limits",
        "identity",
        "exec",
    ]
    by_pointer = {line.pointer: line for line in lines}
    assert len(by_pointer) == len(lines) < 30
    assert by_pointer["/mounts/7"].becomes == "/data: bind /srv (rbind,ro)"
    assert {"open_tree", "move_mount"} <= {*by_pointer["/mounts/7"].calls}
    assert by_pointer["/linux/namespaces"].becomes == "pid, network, ipc, uts, mount"
    assert by_pointer["/process/args"] == Line("exec", "/process/args", "sh", ["execve"])
    assert by_pointer["/linux/maskedPaths"].becomes.startswith("mask paths (")
    assert [line.pointer for line in lines if line.stage == "mounts"] == [f"/mounts/{i}" for i in range(8)]


@pytest.mark.parametrize(
    "edit",
    [
        lambda c: c["process"].update(terminal=True, consoleSize={"height": 1, "width": 2}),
        lambda c: c.pop("process"),
        lambda c: c.update(hooks={"prestart": [{"path": "/x"}]}, domainname="d"),
        lambda c: c["linux"].update(sysctl={"net.ipv4.ip_forward": "1"}, personality={"domain": "LINUX32"}),
        lambda c: c["linux"]["namespaces"].append({"type": "user", "path": "/proc/1/ns/user"}),
        lambda c: c["process"].update(scheduler={"policy": "SCHED_BATCH"}, selinuxLabel="a:b:c:d"),
    ],
)
def test_whatever_a_config_has(edit: Any) -> None:
    config: Any = example()
    edit(config)
    lines = of(config)
    assert all(line.becomes for line in lines)
    assert any("execve" in line.calls for line in lines) == ("process" in config)


def test_the_command(tmp_path: Path) -> None:
    subprocess.run([PYRUN, "spec", "--bundle", tmp_path], check=True)
    short = subprocess.run([PYRUN, "plan", "--bundle", tmp_path], capture_output=True, text=True, check=True).stdout
    whole = subprocess.run(
        [PYRUN, "plan", "--all", "--bundle", tmp_path], capture_output=True, text=True, check=True
    ).stdout
    assert len(short.splitlines()) < 60 < 300 < len(whole.splitlines())
    count = int(short.splitlines()[-1].split()[0])
    assert whole.splitlines()[-1].split()[0] == str(count - 1)
    for words in ("/mounts/0", "clone3", "execve", "pivot_root"):
        assert words in short
