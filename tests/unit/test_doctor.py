"""What `doctor` says of hosts that this one is not."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness import PYRUN

from pyrun.caller import Caller
from pyrun.check import doctor

V2 = "30 20 0:25 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Has files and facts of another host looked at: found(about, files, **facts) is the finding about that."""

    def found(about: str, files: dict[str, str] | None = None, **facts: Any) -> doctor.Finding | None:
        real, there = doctor._text, files or {}
        monkeypatch.setattr(doctor, "_text", lambda path: there[path] if path in there else real(path))
        monkeypatch.setattr(doctor, "exists", lambda path: bool(there[path]) if path in there else Path(path).exists())
        if "uid" in facts:
            monkeypatch.setattr("os.geteuid", lambda: facts["uid"])
        if "release" in facts:
            monkeypatch.setattr("os.uname", lambda: type("uname", (), {"release": facts["release"]}))
        if "writable" in facts:
            monkeypatch.setattr("os.access", lambda path, mode: facts["writable"])
        rows = doctor.examine(Caller(), str(tmp_path / "store"))
        return next((row for row in rows if row.about == about), None)

    return found


@pytest.mark.parametrize(
    ("about", "files", "facts", "level", "words"),
    [
        ("kernel", {}, {"release": "5.10.0-8-amd64"}, "missing", "5.14"),
        ("kernel", {}, {"release": "6.1.0-8-amd64"}, "ok", "6.3"),
        ("cgroups", {"/proc/self/mountinfo": ""}, {}, "missing", "mount -t cgroup2"),
        (
            "cgroups",
            {
                "/proc/self/mountinfo": V2,
                "/proc/self/cgroup": "0::/u\n",
                "/sys/fs/cgroup/u/cgroup.controllers": "memory pids",
            },
            {"uid": 1000, "writable": True},
            "limited",
            "Delegate=",
        ),
        (
            "cgroups",
            {"/proc/self/mountinfo": V2, "/proc/self/cgroup": "0::/\n"},
            {"uid": 1000, "writable": False},
            "limited",
            "no cgroup of their own",
        ),
        (
            "cgroups",
            {
                "/proc/self/mountinfo": V2,
                "/proc/self/cgroup": "0::/\n",
                "/sys/fs/cgroup/cgroup.controllers": "cpu cpuset io memory pids",
            },
            {"writable": True},
            "ok",
            "memory",
        ),
        ("namespaces", {"/proc/sys/user/max_mnt_namespaces": "0"}, {}, "limited", "no mount namespace"),
        ("namespaces", {"/proc/self/ns/time": ""}, {}, "limited", "none of time"),
        (
            "user",
            {"/proc/sys/kernel/unprivileged_userns_clone": "0"},
            {"uid": 1000},
            "missing",
            "unprivileged_userns_clone=0",
        ),
        ("user", {"/etc/subuid": "x:1:2", "/etc/subgid": "1000:1:2"}, {"uid": 1000}, "limited", "/etc/subuid"),
        ("seccomp", {"/proc/sys/kernel/seccomp/actions_avail": ""}, {}, "missing", "the kernel has none"),
        ("sysctl", {"/proc/sys/vm/memfd_noexec": "2"}, {}, "limited", "memfd_noexec"),
        ("systemd", {"/run/systemd/system": ""}, {}, "limited", "not running"),
        ("store", {}, {"writable": False}, "missing", "choose a --root"),
        ("resctrl", {"/sys/fs/resctrl/tasks": "x"}, {}, "ok", "intelRdt"),
    ],
)
def test_findings(host: Any, about: str, files: dict[str, str], facts: dict[str, Any], level: str, words: str) -> None:
    row = host(about, files, **facts)
    assert row.level == level, row.says
    assert words in f"{row.says} {row.cost} {row.mend}"


def test_what_is_limited_says_what_it_costs(host: Any) -> None:
    host("kernel")
    for row in doctor.examine(Caller(), "/run/pyrun"):
        assert row.level in ("ok", "limited", "missing")
        assert row.level == "ok" or row.cost, row.about
        assert row.level != "missing" or row.mend, row.about


def test_the_command(tmp_path: Path) -> None:
    command = [PYRUN, "--root", tmp_path / "store", "doctor"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    rows = json.loads(done.stdout)
    assert rows[0]["about"] == "kernel"
    assert done.returncode == int(any(row["level"] == "missing" for row in rows))
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    other = subprocess.run([*command[:-1], "info"], capture_output=True, text=True, check=False).stdout
    # What is free changes from one moment to the next.
    assert text.partition(" MiB")[0].rpartition(" ")[0] == other.partition(" MiB")[0].rpartition(" ")[0]
    assert [line.split()[1] for line in text.splitlines() if line[0] != " "] == [row["about"] for row in rows]
    assert not (tmp_path / "store").exists()
