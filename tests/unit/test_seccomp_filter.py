"""Seccomp profiles as BPF: what the filter answers, by an interpreter of the few instructions that filters use."""

from __future__ import annotations

import resource
import struct
from pathlib import Path
from typing import Any

import pytest

from pyrun.errors import Error
from pyrun.host import seccomp
from pyrun.kernel.syscalls import NUMBERS, here
from pyrun.log import Log
from pyrun.machine.program import STORE, Buffer, Program
from pyrun.plan import seccomp as plan
from pyrun.spec.seccomp import ACTIONS
from tests.docker_profile import profile

pytestmark = pytest.mark.skipif(here() != "x86_64", reason="the numbers below are x86_64's")

ALLOW, ENOSYS, EPERM = 0x7FFF0000, 0x00050000 | 38, 0x00050000 | 1
X86_64, I386, AARCH64, X32_BIT = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000000
# x86_64
READ, OPENAT, MKDIR, EXECVE, CLONE3, FUTEX_WAITV = 0, 257, 83, 59, 435, 449


def answer(program: bytes, number: int, arguments: tuple[int, ...] = (), arch: int = X86_64) -> int:
    """What the filter returns for a system call (classic BPF over struct seccomp_data)."""
    data = struct.pack("<iIQ6Q", number, arch, 0, *arguments, *(0,) * (6 - len(arguments)))
    code = list(struct.iter_unpack("<HBBI", program))
    at = accumulator = index = 0
    memory = [0] * 16
    while True:
        operation, when_true, when_false, k = code[at]
        at += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif operation == 0x06:
            return int(k)
        elif operation == 0x05:
            at += k
        elif operation == 0x54:
            accumulator &= k
        elif operation == 0xA4:
            accumulator ^= k
        elif operation == 0x4C:
            accumulator |= index
        elif operation == 0x02:
            memory[k] = accumulator
        elif operation == 0x61:
            index = memory[k]
        else:
            taken = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k}[operation]
            at += when_true if taken else when_false


def compiled(default: str, *rules: dict[str, Any], **more: Any) -> bytes:
    profile: Any = {"defaultAction": default, "syscalls": list(rules), **more}
    return seccomp.program(profile, "", Log())


def test_a_list_of_what_is_denied() -> None:
    program = compiled("SCMP_ACT_ALLOW", {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13})
    assert answer(program, MKDIR) == 0x00050000 | 13
    assert answer(program, READ) == ALLOW
    # Nothing is said of what is newer: it is allowed.
    assert answer(program, FUTEX_WAITV) == ALLOW


def test_a_list_of_what_is_allowed() -> None:
    program = compiled("SCMP_ACT_ERRNO", {"names": ["read", "openat"], "action": "SCMP_ACT_ALLOW"})
    assert answer(program, READ) == answer(program, OPENAT) == ALLOW
    assert answer(program, MKDIR) == EPERM
    # Above all that it names: the program is told that there is no such call, and falls back.
    assert answer(program, CLONE3) == ENOSYS


def test_the_default_errno() -> None:
    rule = {"names": ["clone3"], "action": "SCMP_ACT_ALLOW"}
    assert answer(compiled("SCMP_ACT_ERRNO", rule, defaultErrnoRet=95), MKDIR) == 0x00050000 | 95


def test_other_architectures() -> None:
    rule = {"names": ["execve"], "action": "SCMP_ACT_ALLOW"}
    program = compiled("SCMP_ACT_ERRNO", rule, architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"])
    assert answer(program, 11, arch=I386) == ALLOW  # execve there
    assert answer(program, 400, arch=I386) == ENOSYS
    assert answer(compiled("SCMP_ACT_ERRNO", rule), 11, arch=I386) == 0  # killed: not an architecture of the profile


def at_once(profile: Any) -> bytes:
    """The profile by libseccomp, all architectures in one filter."""
    library, default = seccomp._library(), ACTIONS[profile["defaultAction"]]
    context = library.seccomp_init(default)
    for name in profile["architectures"]:
        token = library.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
        library.seccomp_arch_add(context, token)
    for _, _, action, number, count, comparisons in seccomp._rules(library, profile, default, Log(), strict=False):
        assert library.seccomp_rule_add_array(context, action, number, count, comparisons) == 0
    found = seccomp._export(library, context)
    library.seccomp_release(context)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("names", [["X86_64", "X86", "X32"], ["X32", "AARCH64", "X86"], ["X86"], []])
def test_it_answers_as_one_that_is_compiled_at_once(names: list[str]) -> None:
    """Docker's profile, as a list of exceptions from what is logged, so that nothing stands before it: each call of
    x86's architectures, some of others, and those that look at arguments with values around theirs."""
    architectures = [f"SCMP_ARCH_{name}" for name in names]
    asked: Any = {"defaultAction": "SCMP_ACT_LOG", "syscalls": profile()["syscalls"], "architectures": architectures}
    programs = compiled("SCMP_ACT_LOG", *asked["syscalls"], architectures=architectures), at_once(asked)
    compared = [row["args"][0]["value"] for row in asked["syscalls"] if "args" in row]
    values = {0, 1, 39, 40, 1 << 17, 1 << 40, *compared, *(value | 1 << 32 for value in compared)}
    differ = 0
    for arch in (X86_64, I386, AARCH64, 0x4000003E, 0):
        step = 1 if arch in (X86_64, I386) else 31
        for number in (*range(0, 500, step), *range(X32_BIT - 1, X32_BIT + 560, step), 0xF0005, -1):
            looks = {answer(programs[1], number, (value, value), arch) for value in (0, 40, 1 << 25)}
            differ += len(looks) > 1
            for value in values if len(looks) > 1 else (0,):
                one, other = (answer(program, number, (value, value), arch) for program in programs)
                assert one == other, (hex(arch), number, value)
    assert differ >= 3  # clone, personality and socket


@pytest.mark.parametrize(
    ("op", "value", "second", "given", "taken"),
    [
        ("EQ", 5, 0, 5, True), ("EQ", 5, 0, 6, False), ("NE", 5, 0, 6, True), ("LT", 5, 0, 4, True),
        ("LE", 5, 0, 5, True), ("GE", 5, 0, 4, False), ("GT", 5, 0, 6, True), ("MASKED_EQ", 0xF0, 0x10, 0x1F, True),
        ("MASKED_EQ", 0xF0, 0x10, 0x2F, False), ("EQ", 1 << 40, 0, 1 << 40, True), ("EQ", 1 << 40, 0, 0, False),
    ],
)  # fmt: skip
def test_arguments(op: str, value: int, second: int, given: int, taken: bool) -> None:
    condition = {"index": 1, "value": value, "valueTwo": second, "op": f"SCMP_CMP_{op}"}
    program = compiled("SCMP_ACT_ALLOW", {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [condition]})
    assert answer(program, MKDIR, (0, given)) == (EPERM if taken else ALLOW)


def test_two_conditions_on_one_argument_are_either() -> None:
    conditions = [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in (1, 2)]
    program = compiled("SCMP_ACT_ALLOW", {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": conditions})
    assert [answer(program, MKDIR, (n,)) for n in (1, 2, 3)] == [EPERM, EPERM, ALLOW]


def test_unknown_names_are_passed_over() -> None:
    program = compiled("SCMP_ACT_ALLOW", {"names": ["no_such_call", "mkdir"], "action": "SCMP_ACT_ERRNO"})
    assert answer(program, MKDIR) == EPERM


@pytest.mark.parametrize(("name", "value"), sorted(ACTIONS.items()))
def test_actions(name: str, value: int) -> None:
    default = "SCMP_ACT_LOG" if name == "SCMP_ACT_ALLOW" else "SCMP_ACT_ALLOW"
    found = answer(compiled(default, {"names": ["mkdir"], "action": name}), MKDIR)
    assert found & 0xFFFF0000 == value


def test_it_is_compiled_once(tmp_path: Path) -> None:
    profile: Any = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}
    first = seccomp.program(profile, str(tmp_path / "cache"), Log())
    (kept,) = (tmp_path / "cache").iterdir()
    before = kept.stat().st_mtime_ns
    assert seccomp.program({**profile, "listenerMetadata": "x", "flags": []}, str(tmp_path / "cache"), Log()) == first
    assert kept.stat().st_mtime_ns == before
    # What is damaged, or was cut short, is compiled again.
    for content in (b"", kept.read_bytes()[:-8], kept.read_bytes() + bytes(8)):
        kept.write_bytes(content)
        assert seccomp.program(profile, str(tmp_path / "cache"), Log()) == first
    profile["syscalls"][0]["names"] = ["read"]
    assert seccomp.program(profile, str(tmp_path / "cache"), Log()) != first


def test_the_cache_stays_small(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    (cache / "0123.99999999").write_bytes(b"of a writer that was killed")
    for number in range(70):
        profile: Any = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": number}
        seccomp.program(profile, str(cache), Log())
    assert len(list(cache.iterdir())) == 64
    assert not list(cache.glob("*.*"))


def test_a_file_that_cannot_be_written_whole_is_not_kept(tmp_path: Path) -> None:
    """RLIMIT_FSIZE cuts a write short before it refuses one."""
    profile: Any = {"defaultAction": "SCMP_ACT_ALLOW"}
    whole = seccomp.program(profile, "", Log())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
    try:
        with pytest.raises(Error, match="cut short"):
            seccomp.program(profile, str(tmp_path / "cache"), Log())
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 8, before[1]))
        assert seccomp.program(profile, str(tmp_path / "cache"), Log()) == whole
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("profile", "pointer"),
    [
        ({"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_NONE"]}, "/architectures/1"),
    ],
)
def test_what_is_refused_is_named(profile: Any, pointer: str) -> None:
    with pytest.raises(Error) as caught:
        seccomp.program({"defaultAction": "SCMP_ACT_ALLOW", **profile}, "", Log())
    assert caught.value.pointer == f"/linux/seccomp{pointer}"


def test_flags_of_a_profile_with_a_listener() -> None:
    """TSYNC and a listener exclude each other, WAIT_KILLABLE_RECV goes only with one (seccomp(2))."""
    names = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
    profile: Any = {"defaultAction": "SCMP_ACT_ALLOW", "flags": names}
    assert seccomp.flags(profile) == 0x03
    profile["syscalls"] = [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]
    assert seccomp.flags(profile) == 0x2A


def test_the_password() -> None:
    """Only with it, as the sixth operand, a few calls pass whatever the profile says; all others are the profile's."""
    password = 0x1122334455667788
    program = Program()
    guarded = plan._guarded(program, compiled("SCMP_ACT_KILL_PROCESS", {"names": ["read"], "action": "SCMP_ACT_ALLOW"}))
    data = bytearray(program.encode(4, password=password)[-len(program._data) :])
    # What the two stores of the program do when it runs.
    low, high = (len(plan.PASSED) + 4) * 8 + 4, (len(plan.PASSED) + 7) * 8 + 4
    struct.pack_into("<I", data, guarded.offset + low, password & 0xFFFFFFFF)
    struct.pack_into("<I", data, guarded.offset + high, password >> 32)
    stores = [i.operands for i in program.instructions if i.op == STORE and i.name == 4]
    assert [at.offset - guarded.offset for at, _ in stores if isinstance(at, Buffer)] == [low, high]
    filter_ = bytes(data[guarded.offset : guarded.offset + guarded.size])
    killed = 0x80000000
    for name, (number, _) in NUMBERS.items():
        passes = name in plan.PASSED
        allowed = ALLOW if name == "read" else ENOSYS if number > READ else killed
        pinned = {name: (at, value) for name, at, value in plan._PINNED}
        operands = [0, 0, 0, 0, 0, password]
        if name in pinned:
            assert answer(filter_, number, tuple(operands)) == allowed, name
            operands[pinned[name][0]] = pinned[name][1]
        assert answer(filter_, number, tuple(operands)) == (ALLOW if passes else allowed), name
        for wrong in (0, password ^ 1, password ^ 1 << 40, password & 0xFFFFFFFF, password >> 32):
            assert answer(filter_, number, (0, 0, 0, 0, 0, wrong)) == allowed, name
        assert answer(filter_, number, (password,) * 5) == allowed
        assert answer(filter_, number, (password,) * 6, arch=I386) == 0  # killed, and its own numbers don't count
