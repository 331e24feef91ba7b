"""pyrun seccomp explain: the verdict is the filter's own, and the rule is the one behind it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from docker_profile import profile
from harness import PYRUN

from pyrun.check.filter import judge
from pyrun.log import Log

ALLOW, ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
CONDITION = {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}
MASKED = {"index": 1, "value": 0xFF, "valueTwo": 0x10, "op": "SCMP_CMP_MASKED_EQ"}
SMALL: Any = {
    "defaultAction": ERRNO,
    "syscalls": [
        {"names": ["read", "write"], "action": ALLOW},
        {"names": ["personality"], "action": ALLOW, "args": [CONDITION]},
        {"names": ["ioctl"], "action": "SCMP_ACT_KILL_PROCESS", "args": [MASKED]},
        {"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13, "args": [CONDITION]},
    ],
}


@pytest.mark.parametrize(
    ("call", "args", "action", "number", "pointer", "words"),
    [
        ("read", [], ALLOW, 0, "/linux/seccomp/syscalls/0", "whatever its arguments"),
        ("mkdir", [], ERRNO, 1, "/linux/seccomp/defaultAction", "no rule names it"),
        ("personality", [8], ALLOW, 0, "/linux/seccomp/syscalls/1", "argument 0 (0x8) EQ 0x8"),
        ("personality", [9], ERRNO, 1, "/linux/seccomp/defaultAction", "argument 0 (0x9) EQ 0x8 does not hold"),
        ("ioctl", [1, 0x7710], "SCMP_ACT_KILL_PROCESS", 0, "/linux/seccomp/syscalls/2", "MASKED_EQ 0xff 0x10"),
        ("ioctl", [8, 0x11], ERRNO, 13, "/linux/seccomp/syscalls/3", "EQ 0x8"),
        ("ioctl", [7, 0x11], ERRNO, 1, "/linux/seccomp/defaultAction", "does not hold"),
    ],
)
def test_a_verdict(call: str, args: list[int], action: str, number: int, pointer: str, words: str) -> None:
    found = judge(SMALL, call, args, Log())
    assert (found.action, found.number, found.pointer) == (action, number, pointer) and words in found.why


@pytest.mark.parametrize(
    ("call", "args", "action"),
    [("read", [], ALLOW), ("clone", [0x10000000], ERRNO), ("clone", [0x11], ALLOW), ("reboot", [], ERRNO)],
)
def test_dockers_profile(call: str, args: list[int], action: str) -> None:
    assert judge(profile(), call, args, Log()).action == action


@pytest.mark.parametrize(
    ("named", "call", "pointer", "words"),
    [
        ("read", "mkdir", "/linux/seccomp/syscalls", "it is newer"),
        ("openat2", "mkdir", "/linux/seccomp/defaultAction", "no rule names it"),
    ],
)
def test_no_such_call_for_two_reasons(named: str, call: str, pointer: str, words: str) -> None:
    """The profile says ENOSYS itself, and pyrun does, as runc, of what is newer than the profile."""
    rules: Any = [{"names": [named], "action": ALLOW}]
    found = judge({"defaultAction": ERRNO, "defaultErrnoRet": 38, "syscalls": rules}, call, [], Log())
    assert (found.number, found.pointer) == (38, pointer) and words in found.why


def test_what_there_is_not() -> None:
    with pytest.raises(LookupError):
        judge(SMALL, "reed", [], Log())


def test_the_command(tmp_path: Path) -> None:
    subprocess.run([PYRUN, "spec", "--bundle", tmp_path], check=True)

    def explain(*arguments: str) -> tuple[int, str, str]:
        command = [PYRUN, "seccomp", "explain", tmp_path, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    assert explain("mkdir") == (0, "mkdir: allowed: the bundle has no seccomp profile\n", "")
    config = json.loads((tmp_path / "config.json").read_text())
    config["linux"]["seccomp"] = SMALL
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert explain("mkdir")[1] == "mkdir: SCMP_ACT_ERRNO EPERM  (/linux/seccomp/defaultAction)\n    no rule names it\n"
    assert "did you mean read?" in explain("raed")[2]
    assert explain("read", "x")[0] == 1
