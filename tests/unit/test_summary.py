"""`pyrun plan`: what each part of a config becomes, in a screenful."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness import PYRUN

from pyrun.machine.launch import Layout
from pyrun.plan.create import compile_container
from pyrun.plan.facts import Facts
from pyrun.plan.summary import STAGES, Line, summary
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


def test_a_stage_says_what_it_is_for(tmp_path: Path) -> None:
    subprocess.run([PYRUN, "spec", "--bundle", tmp_path], check=True)
    said = subprocess.run([PYRUN, "plan", "--bundle", tmp_path], capture_output=True, text=True, check=True).stdout
    heads = [line.split()[0] for line in said.splitlines()[:-1] if line[0] != " "]
    assert heads == [stage.name for stage in STAGES if stage.name in heads] and len(heads) > 9
    assert all(f"{stage.why}  ({stage.section})" in said for stage in STAGES if stage.name in heads)


def test_json(tmp_path: Path) -> None:
    subprocess.run([PYRUN, "spec", "--bundle", tmp_path], check=True)
    found = json.loads(subprocess.check_output([PYRUN, "plan", "--json", "--bundle", tmp_path]))
    assert {row["stage"] for row in found["stages"]} <= {stage.name for stage in STAGES}
    assert len(found["program"]) > 300 and found["cgroup"]


@pytest.mark.parametrize(
    ("edit", "lines"),
    [
        (lambda c: None, []),
        (lambda c: c.update(hostname="other"), ["-  /hostname", "+  /hostname"]),
        (lambda c: c["process"].update(noNewPrivileges=False), ["-  /process/noNewPrivileges"]),
        (lambda c: c["mounts"].append({"destination": "/x", "type": "tmpfs"}), ["+  /mounts/7"]),
    ],
)
def test_what_differs(tmp_path: Path, edit: Any, lines: list[str]) -> None:
    """Between two bundles, or two configs of one; exit codes as those of diff(1)."""
    one, two = tmp_path / "one", tmp_path / "two"
    for bundle in (one, two):
        bundle.mkdir()
        subprocess.run([PYRUN, "spec", "--bundle", bundle], check=True)
        (bundle / "rootfs").mkdir()
    config = json.loads((two / "config.json").read_text())
    edit(config)
    (one / "other.json").write_text(json.dumps(config))
    command = [PYRUN, "plan", "--bundle", one, "--diff", one / "other.json", "id"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == bool(lines)
    shown = [line.split() for line in done.stdout.splitlines()]
    assert [f"{row[0]}  {row[2]}" for row in shown] == lines
    whole = subprocess.run([*command, "--all"], capture_output=True, text=True, check=False)
    assert bool(whole.stdout) == bool(lines) and all(line.split()[-1] in whole.stdout for line in lines)
    root = subprocess.run([*command[:-2], two, "id"], capture_output=True, text=True, check=False).stdout
    assert {line.split()[2] for line in root.splitlines()} <= {"/root"}
