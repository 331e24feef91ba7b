"""The builder and its encoding: what the executor will read is what the plan said."""

from __future__ import annotations

import struct
from errno import EEXIST, ENOENT

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun.kernel.constants import AT_FDCWD
from pyrun.kernel.syscalls import MACHINES, NUMBERS, numbers
from pyrun.machine import program as p

HEADER = struct.Struct("<IHHIIIIIIQ")
INSTRUCTION = struct.Struct("<BBBBHH6HI6Q")


def decode(raw: bytes) -> tuple[dict[str, int], list[tuple[int, ...]], bytes]:
    magic, version, count, size, channel, trace, steps, _, _, password = HEADER.unpack_from(raw)
    header = {"magic": magic, "version": version, "size": size, "channel": channel, "trace": trace, "steps": steps}
    header["password"] = password
    code = [INSTRUCTION.unpack_from(raw, HEADER.size + i * INSTRUCTION.size) for i in range(count)]
    data = raw[HEADER.size + count * INSTRUCTION.size :]
    assert len(data) == size
    return header, code, data


def test_header_names_the_descriptors() -> None:
    header, code, data = decode(p.Program().encode(4, trace=9, password=7))
    numbers = {"magic": p.MAGIC, "version": p.VERSION, "size": 0, "channel": 4, "trace": 9, "steps": 0, "password": 7}
    assert header == numbers
    assert code == []
    assert data == b""


def test_operands_by_kind() -> None:
    program = p.Program()
    fd = program.openat(AT_FDCWD, "/x", 0)
    buffer = program.buffer(16)
    program.call("read", fd, buffer, 16)
    _, code, data = decode(program.encode(4, machine="x86_64"))
    op, destination, log, _, kinds, number, *rest = code[0]
    operands = rest[7:]
    assert (op, destination, log, number) == (p.SYSCALL, 0, p.NONE, NUMBERS["openat"][0])
    assert operands[0] == 2**64 - 100  # AT_FDCWD, sign-extended
    assert kinds >> 2 & 3 == p.DATA
    assert data[operands[1] : operands[1] + 3] == b"/x\0"
    kinds, operands = code[1][4], code[1][13:]
    assert [kinds >> 2 * i & 3 for i in range(3)] == [p.REGISTER, p.DATA, 0]
    assert operands[1] == buffer.offset


def test_equal_constants_share_their_place_but_buffers_do_not() -> None:
    program = p.Program()
    program.call("mkdirat", 3, "name", 0)
    program.call("unlinkat", 3, "name", 0)
    one, other = program.buffer(8), program.buffer(8)
    _, code, data = decode(program.encode(4))
    assert code[0][14] == code[1][14]
    assert one.offset != other.offset
    assert data.count(b"name\0") == 1


def test_buffers_are_aligned() -> None:
    program = p.Program()
    program.buffer(b"x")
    assert program.buffer(8).offset % 8 == 0


def test_rules_and_labels() -> None:
    program = p.Program()
    exists, gone = program.label(), program.label()
    program.call("mkdirat", 3, "a", 0, errors={EEXIST: exists, ENOENT: gone})
    program.place(exists)
    program.call("setsid")
    program.place(gone)
    _, code, _ = decode(program.encode(4))
    assert code[0][6:10] == (EEXIST, 1, ENOENT, 2)


def test_pointers_nest_and_end() -> None:
    program = p.Program()
    with program.at("/mounts/3"):
        program.call("setsid")
        with program.at("options/1"):
            program.call("setsid")
        with program.at("/root/path"):
            program.call("setsid")
    program.call("setsid")
    assert [i.pointer for i in program.instructions] == ["/mounts/3", "/mounts/3/options/1", "/root/path", ""]


def test_registers_are_used_again_once_closed() -> None:
    program = p.Program()
    first = program.openat(AT_FDCWD, "/", 0)
    program.close(first)
    assert program.openat(AT_FDCWD, "/", 0).index == first.index


def routine(program: p.Program, fd: p.Register, name: p.Register, mode: int) -> p.Register:
    with program.at("name"):
        program.call("mkdirat", fd, name, mode)
    return program.openat(fd, name, 0)


def test_a_routine_is_compiled_once_for_each_of_its_constants() -> None:
    program = p.Program()
    fd = program.openat(AT_FDCWD, "/", 0)
    for name, mode in (("a", 0o755), ("b", 0o755), ("c", 0o700)):
        with program.at(f"/{name}"):
            program.close(program.do(routine, fd, name, constants=(mode,)))
    program.link()
    assert program.main == 7
    assert [i.op for i in program.instructions[7:]] == [p.SYSCALL, p.SYSCALL, p.RETURN] * 2
    # An error in one is about the call.
    there = program.resolve(7, 3)
    assert (there.pointer, there.operands) == ("/b/name", (fd, "b", 0o755))
    # What is alive around the call is not touched by it.
    assert {i.destination.index for i in program.instructions[7:] if i.destination} == {p.ROUTINE}


def test_a_routine_that_calls_one_has_it_in_place() -> None:
    def outer(program: p.Program, fd: p.Register) -> None:
        program.close(program.do(routine, fd, "x", constants=(1,)))

    program = p.Program()
    program.do(outer, AT_FDCWD)
    program.link()
    assert [i.op for i in program.instructions] == [p.CALL, *[p.SYSCALL] * 3, p.RETURN]


def test_labels_in_a_routine_are_where_it_is() -> None:
    def jumping(program: p.Program, value: p.Register) -> None:
        with program.when(value, 1):
            program.call("setsid")

    program = p.Program()
    program.call("setsid")
    program.do(jumping, 1)
    program.link()
    branch = program.instructions[2]
    assert branch.op == p.BRANCH and branch.rules
    assert branch.rules[1].index == 4
    assert program.instructions[4].op == p.RETURN


def test_what_may_fail_goes_on() -> None:
    program = p.Program()
    program.call("setsid", ignore=(1, 2))
    rules = program.instructions[0].rules
    assert rules and {error: label.index for error, label in rules.items()} == {1: 1, 2: 1}


def test_too_many_open_at_once_is_an_error() -> None:
    program = p.Program()
    with pytest.raises(OverflowError):
        for _ in range(p.ROUTINE + 1):
            program.register()


def test_too_much_data_is_an_error() -> None:
    program = p.Program()
    program.buffer(p.MAX_DATA + 1)
    with pytest.raises(OverflowError):
        program.encode(4)


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_are_distinct(machine: str) -> None:
    table = numbers(machine)
    assert len(set(table.values())) == len(table)


def test_an_unknown_machine_is_named() -> None:
    with pytest.raises(LookupError, match="riscv64"):
        numbers("riscv64")


@given(st.lists(st.one_of(st.integers(-(2**63), 2**64 - 1), st.binary(max_size=64), st.text(max_size=64)), max_size=6))
def test_any_operands_encode_and_are_found_again(operands: list[int | bytes | str]) -> None:
    operands = [o.replace("\ud800", "") if isinstance(o, str) else o for o in operands]
    program = p.Program()
    program.call("bpf", *operands)
    _, code, data = decode(program.encode(4))
    for i, operand in enumerate(operands):
        value = code[0][13 + i]
        if isinstance(operand, int):
            assert value == operand % 2**64
        else:
            wanted = operand if isinstance(operand, bytes) else operand.encode() + b"\0"
            assert data[value : value + len(wanted)] == wanted
