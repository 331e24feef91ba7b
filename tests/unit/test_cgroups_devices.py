"""Device rules: the eBPF program and the version 1 lines against a plain evaluation of the ordered rules."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from examples import many
from hypothesis import given
from hypothesis import strategies as st

from pyrun.cgroups.controllers.devices import (
    DEFAULT_RULES,
    MKNOD,
    READ,
    WRITE,
    parse,
    v1_device_writes,
    v2_device_program,
)
from pyrun.spec.faults import Invalid

LETTERS = {"r": READ, "w": WRITE, "m": MKNOD}
DENY_ALL = {"allow": False, "access": "rwm"}

numbers = st.sampled_from([-1, 0, 1, 3, 5, 10, 136, 0xFFFFFFFF])
rules = st.lists(
    st.fixed_dictionaries(
        {"allow": st.booleans()},
        optional={
            "type": st.sampled_from(["a", "b", "c"]),
            "major": numbers,
            "minor": numbers,
            "access": st.sampled_from(["r", "w", "m", "rw", "wm", "rm", "rwm", "mrr"]),
        },
    ),
    max_size=8,
)
requests = st.tuples(
    st.sampled_from(["b", "c"]),
    st.sampled_from([0, 1, 3, 5, 10, 136, 0xFFFFFFFF]),
    st.sampled_from([0, 1, 3, 5, 10, 0xFFFFFFFF]),
    st.integers(1, 7),
)
Request = tuple[str, int, int, int]


def granted(rules: list[dict[str, Any]], request: Request) -> bool:
    """The meaning: go through the rules in order, each sets what it names; all bits asked for must be allowed."""
    kind, major, minor, access = request
    allowed = 0
    for allow, rule_kind, rule_major, rule_minor, rule_access in [*parse(rules), *DEFAULT_RULES]:
        if rule_kind in ("a", kind) and rule_major in (-1, major) and rule_minor in (-1, minor):
            allowed = allowed | rule_access if allow else allowed & ~rule_access
    return access & ~allowed == 0


def run(program: bytes, request: Request) -> int:
    """An interpreter of the instructions that the program uses (RFC 9669)."""
    kind, major, minor, access = request
    context = struct.pack("=III", access << 16 | {"b": 1, "c": 2}[kind], major, minor)
    registers: dict[int, int] = {}
    at = 0
    while True:
        opcode, operands, offset, immediate = struct.unpack_from("=BBhI", program, at * 8)
        destination, source = operands & 15, operands >> 4
        at += 1
        if opcode == 0x61:  # *(u32 *)(r1 + offset)
            assert source == 1
            registers[destination] = struct.unpack_from("=I", context, offset)[0]
        elif opcode == 0x54:
            registers[destination] &= immediate
        elif opcode == 0x74:
            registers[destination] >>= immediate
        elif opcode == 0xB4:
            registers[destination] = immediate
        elif opcode == 0x05:
            at += offset
        elif opcode == 0x46:
            at += offset if registers[destination] & immediate else 0
        elif opcode == 0x56:
            at += offset if registers[destination] != immediate else 0
        elif opcode == 0x95:
            return registers[0]
        else:
            raise AssertionError(hex(opcode))


def unreachable(program: bytes) -> set[int]:
    """Indexes of instructions that no path reaches: the kernel's verifier refuses those."""
    code = [struct.unpack_from("=BBhI", program, at) for at in range(0, len(program), 8)]
    seen: set[int] = set()
    todo = [0]
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        opcode, _, offset, _ = code[at]
        if opcode == 0x05:
            todo.append(at + 1 + offset)
        elif opcode in (0x46, 0x56):
            todo += [at + 1, at + 1 + offset]
        elif opcode != 0x95:
            todo.append(at + 1)
    return set(range(len(code))) - seen


@given(rules.filter(bool), st.lists(requests, min_size=1, max_size=20))
@many(400)
def test_program_means_the_rules(rules: list[dict[str, Any]], requests: list[Request]) -> None:
    program = v2_device_program(rules)
    assert not unreachable(program)
    for request in requests:
        assert run(program, request) == granted(rules, request)


class DeviceCgroup:
    """What security/device_cgroup.c does with the lines."""

    def __init__(self) -> None:
        self.allow = True
        self.exceptions: dict[tuple[str, str, str], int] = {}

    def write(self, file: str, line: str) -> None:
        kind, device, letters = line.split()
        if kind == "a":
            self.allow = file == "devices.allow"
            self.exceptions.clear()
            return
        major, minor = device.split(":")
        key, bits = (kind, major, minor), sum(LETTERS[letter] for letter in letters)
        if (file == "devices.allow") != self.allow:
            self.exceptions[key] = self.exceptions.get(key, 0) | bits
        elif key in self.exceptions:
            self.exceptions[key] &= ~bits

    def granted_bits(self, kind: str, major: int, minor: int) -> int:
        bits = 0
        for (k, a, b), exception in self.exceptions.items():
            if k == kind and a in ("*", str(major)) and b in ("*", str(minor)):
                bits |= exception
        return 7 & ~bits if self.allow else bits


@given(rules.filter(bool), st.lists(requests, min_size=1, max_size=20))
@many(400)
def test_version_1_lines_mean_the_rules_or_are_refused(rules: list[dict[str, Any]], requests: list[Request]) -> None:
    try:
        writes = v1_device_writes(rules)
    except Invalid as error:
        assert error.faults[0].rule == "MUST 103"
        return
    kernel = DeviceCgroup()
    for write in writes:
        kernel.write(write.file, write.value)
    for kind, major, minor, access in requests:
        for bit in (bit for bit in (1, 2, 4) if access & bit):
            assert bool(kernel.granted_bits(kind, major, minor) & bit) == granted(rules, (kind, major, minor, bit))


def test_no_rules_ask_for_nothing() -> None:
    assert v1_device_writes([]) == []
    assert v2_device_program([]) == b""


@pytest.mark.parametrize(
    ("access", "asked", "expected"), [("rw", READ | WRITE, 1), ("rw", READ, 1), ("r", READ | WRITE, 0), ("rwm", 7, 1)]
)
def test_allow_one_device(access: str, asked: int, expected: int) -> None:
    program = v2_device_program([DENY_ALL, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": access}])
    assert run(program, ("c", 10, 229, asked)) == expected
    assert run(program, ("c", 10, 228, asked)) == 0
    assert run(program, ("b", 10, 229, asked)) == 0


def test_two_rules_grant_one_open() -> None:
    device = {"allow": True, "type": "c", "major": 9, "minor": 9}
    program = v2_device_program([DENY_ALL, {**device, "access": "r"}, {**device, "access": "w"}])
    assert run(program, ("c", 9, 9, READ | WRITE)) == 1


def test_allow_all_ends_the_program() -> None:
    short = v2_device_program([{"allow": True}])
    assert short == v2_device_program([DENY_ALL, {"allow": False, "type": "b"}, {"allow": True}])
    assert run(short, ("b", 8, 0, 7)) == 1


def test_v1_lines_of_a_usual_bundle() -> None:
    writes = v1_device_writes([DENY_ALL, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}])
    assert [(w.file, w.value, w.pointer) for w in writes[:3]] == [
        ("devices.deny", "a *:* rwm", "/linux/resources/devices/0"),
        ("devices.allow", "c 10:229 rw", "/linux/resources/devices/1"),
        ("devices.allow", "c *:* m", "/linux/resources/devices"),
    ]
    assert writes[-1].value == "c 136:* rwm"


def test_v1_denies_what_no_rule_names() -> None:
    assert v1_device_writes([{"allow": True, "type": "c", "major": 1}])[0].value == "a *:* rwm"


def test_v1_all_types_with_numbers_is_two_lines() -> None:
    writes = v1_device_writes([DENY_ALL, {"allow": True, "type": "a", "major": 7, "access": "r"}])
    assert [w.value for w in writes[1:3]] == ["b 7:* r", "c 7:* r"]


def test_v1_refuses_a_hole_in_a_wildcard() -> None:
    rules = [DENY_ALL, {"allow": True, "type": "c", "major": 1}, {"allow": False, "type": "c", "major": 1, "minor": 3}]
    with pytest.raises(Invalid) as caught:
        v1_device_writes(rules)
    assert caught.value.faults[0].pointer == "/linux/resources/devices/2"
    assert v2_device_program(rules)
