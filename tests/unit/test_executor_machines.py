"""The executor itself, on this machine and, emulated, on the other one: a program that uses every instruction."""

from __future__ import annotations

import itertools
import os
import platform
import shutil
import socket
import time
from dataclasses import dataclass
from errno import EBADF, ENOENT, ENOTDIR, EPERM
from pathlib import Path
from signal import SIGTERM

import pytest

from pyrun.kernel.constants import AT_FDCWD
from pyrun.machine import steps
from pyrun.machine.launch import PROGRAM_FD, parse_message
from pyrun.machine.program import ANY_ERROR, ERROR, NO_FD, Program, Register

CHECKOUT = Path(__file__).parents[2]
CHANNEL, PIPE, OTHER, TRACE = range(PROGRAM_FD + 1, PROGRAM_FD + 5)
REFUSED, NOT_THERE = 2, 3  # exit statuses

HERE = platform.machine()
COMMANDS = {
    HERE: [str(CHECKOUT / "runtime/machine/executor")],
    "aarch64": ["qemu-aarch64-static", str(CHECKOUT / "build/executor.aarch64")],
}
if HERE == "aarch64":
    COMMANDS["aarch64"] = [str(CHECKOUT / "runtime/machine/executor")]


@dataclass
class Running:
    """An executor, and the other ends of its descriptors."""

    pid: int
    channel: socket.socket
    other: socket.socket
    pipe: int
    trace: int

    def hears(self, channel: socket.socket | None = None) -> tuple[int, int, int, str]:
        return parse_message((channel or self.channel).recv(1024))

    def tell(self, code: int, value: int) -> None:
        self.channel.send(code.to_bytes(4, "little") + bytes(4) + value.to_bytes(8, "little"))

    def end(self) -> int:
        """Hang up; the exit status."""
        self.channel.close()
        self.other.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture(params=sorted(COMMANDS))
def machine(request: pytest.FixtureRequest) -> str:
    command = COMMANDS[request.param]
    if not shutil.which(command[0]) or not Path(command[-1]).exists():
        pytest.skip(f"{' '.join(command)} is not there: make test builds and installs what is needed")
    return str(request.param)


def start(machine: str, program: Program | bytes, trace: bool = False) -> Running:
    room = 0
    if isinstance(program, Program):
        room = steps.size(program)
        program = program.encode(CHANNEL, TRACE if trace else NO_FD, machine)
    image, traced = os.memfd_create("program"), os.memfd_create("trace")
    os.write(image, program)
    os.ftruncate(traced, room)
    channel, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other, far_other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    read, write = os.pipe()
    sources = [image, far.fileno(), write, far_other.fileno(), traced]
    # First out of the way of the targets, as in launch.py.
    above = [os.dup2(fd, 100 + i) for i, fd in enumerate(sources)]
    actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, fd, PROGRAM_FD + i) for i, fd in enumerate(above)]
    actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in above]
    command = [shutil.which(COMMANDS[machine][0]) or "", *COMMANDS[machine][1:]]
    pid = os.posix_spawn(command[0], command, {}, file_actions=actions)
    for fd in (*above, image, write):
        os.close(fd)
    far.close()
    far_other.close()
    return Running(pid, channel, other, read, traced)


def close(running: Running) -> None:
    os.close(running.pipe)
    os.close(running.trace)


def every_instruction() -> Program:
    p = Program()
    wrong = p.label()
    # store and load, of each width, and part of what was stored
    memory = p.buffer(16)
    for width in (1, 2, 4, 8):
        p.store(memory, 0, width, 0x1122334455667788)
        p.say(width, p.load(memory, 0, width))
    p.say(9, p.load(memory, 2, 4))
    # branch: taken and not taken, with and without a mask
    right, far, past = p.label(), p.label(), p.label()
    value = p.load(memory, 0, 8)
    p.branch(value, 0x1122334455667788, right)
    p.jump(wrong)
    p.place(right)
    p.branch(value, 0x99, wrong, mask=0xFF)
    p.branch(value, 0x88, far, mask=0xFF)
    p.jump(wrong)
    p.place(far)
    p.branch_unless(value, 0x88, wrong, mask=0xFF)
    p.branch_unless(value, 0x99, past, mask=0xFF)
    p.jump(wrong)
    p.place(past)
    # a system call that works, and one with rules for how it may fail
    p.write(PIPE, "from data, ")
    text = p.strings(["from a pointer"])
    p.call("write", PIPE, p.load(text, 0, 8), len("from a pointer"))
    missing, closed = p.label(), p.label()
    p.openat(AT_FDCWD, "/does/not/exist", 0, errors={EPERM: wrong, ENOENT: missing})
    p.jump(wrong)
    p.place(missing)
    result = p.call("write", -1, "x", 1, errors={ANY_ERROR: closed}, result=True)
    p.jump(wrong)
    p.place(closed)
    p.say(10, result)
    # the runtime's turn, a register, and another channel
    answer = p.await_(11)
    copy = p.register()
    p.move(copy, answer)
    p.say(12, copy)
    p.leave_on(SIGTERM)
    # a routine, called twice: its parameters, its result, and what is alive around it
    double = p.register()
    p.do(chosen, copy, 1, into=double)
    p.say(14, double)
    p.do(chosen, double, 2, into=double)
    p.say(15, double)
    p.say(16, copy)
    p.channel(OTHER)
    p.say(13)
    p.fail(ENOTDIR, "the end")
    p.place(wrong)
    p.fail(EPERM, "a wrong turn")
    return p


def chosen(p: Program, value: Register, by: Register) -> Register:
    """`value` for 1, what the kernel returns for 2."""
    two, others = p.label(), p.label()
    found = p.register()
    p.move(found, value)
    p.branch(by, 2, two)
    p.branch(by, 1, others)
    p.fail(EPERM, "another parameter")
    p.place(two)
    p.move(found, p.call("write", PIPE, "ab", by, result=True))
    p.place(others)
    return found


def test_a_signal_that_it_leaves_on(machine: str) -> None:
    p = Program()
    p.leave_on(SIGTERM)
    p.ask(1)
    running = start(machine, p)
    running.hears()
    os.kill(running.pid, SIGTERM)
    assert running.end() == 128 + SIGTERM
    close(running)


def test_a_failure_in_a_routine_tells_which_call(machine: str) -> None:
    p = Program()
    for by in (1, 2, 3):
        with p.at(f"/calls/{by}"):
            p.do(chosen, 7, by, into=p.register())
    running = start(machine, p)
    code, index, value, _ = running.hears()
    assert (code, value & 0xFFFFFFFF, (value >> 32) - 1) == (ERROR, EPERM, 2)
    assert p.resolve(index, 2).pointer == "/calls/3"
    assert running.end() == 1
    close(running)


@pytest.mark.parametrize("wrong", ["into", "out", "call inside", "return outside"])
def test_what_would_not_end_is_refused(machine: str, wrong: str) -> None:
    """Nothing jumps into a routine or out of one; none calls another; only one returns."""
    p = Program()
    away = p.label()
    if wrong == "out":
        p.place(away)
    p.call("umask", 0)
    p.do(lambda p: p.branch(0, 0, away) if wrong == "out" else p.call("umask", 0))
    if wrong == "into":
        p.jump(away)
    p.link()
    if wrong == "into":
        away.index = p.main + 1
    elif wrong == "call inside":
        p.instructions[p.main] = p.instructions[1]
    elif wrong == "return outside":
        p.instructions[0] = p.instructions[-1]
    if wrong == "out":
        away.index = 0
    running = start(machine, p)
    assert running.end() == 2
    close(running)


def test_every_instruction(machine: str) -> None:
    program = every_instruction()
    program.link()
    assert {i.op for i in program.instructions} == set(range(12))
    running = start(machine, program)
    value = 0x1122334455667788
    for width in (1, 2, 4, 8):
        code, _, said, _ = running.hears()
        assert (code, said) == (width, value & (1 << 8 * width) - 1)
    assert running.hears()[::2] == (9, 0x33445566)
    assert running.hears()[::2] == (10, -EBADF)
    assert os.read(running.pipe, 100) == b"from data, from a pointer"
    running.tell(11, 1 << 40)
    assert running.hears()[::2] == (12, 1 << 40)
    assert [running.hears()[::2] for _ in range(3)] == [(14, 1 << 40), (15, 2), (16, 1 << 40)]
    assert running.hears(running.other)[::2] == (13, 0)
    # FAIL reports its own place, and waits for leave to die.
    assert running.hears(running.other)[:3] == (ERROR, program.main - 2, ENOTDIR)
    assert os.waitpid(running.pid, os.WNOHANG) == (0, 0)
    assert running.end() == 1
    close(running)


def test_its_own_end(machine: str) -> None:
    p = Program()
    p.call("umask", 0)
    running = start(machine, p)
    assert running.channel.recv(1024) == b""
    assert running.end() == 0
    close(running)


def test_a_failure_without_a_rule_is_reported(machine: str) -> None:
    p = Program()
    p.call("umask", 0)
    p.openat(AT_FDCWD, "/does/not/exist", 0, errors={EPERM: p.label()})
    p.place(next(iter((p.instructions[-1].rules or {}).values())))
    running = start(machine, p)
    assert running.hears() == (ERROR, 1, ENOENT, "")
    assert running.end() == 1
    close(running)


@pytest.mark.parametrize("message", [b"", b"\x63" + bytes(15), b"\x05" + bytes(14)], ids=["gone", "other", "short"])
def test_awaiting_anything_but_the_code_is_the_end(machine: str, message: bytes) -> None:
    p = Program()
    p.await_(5)
    p.say(6)
    running = start(machine, p)
    if message:
        running.channel.send(message)
        assert running.channel.recv(1024) == b""
    assert running.end() == 1
    close(running)


def test_trace(machine: str) -> None:
    p = Program()
    past = p.label()
    p.call("umask", 0o77)
    p.jump(past)
    p.say(1)
    p.place(past)
    for _ in range(2):
        p.do(twice, -1)
    before = time.time_ns()
    running = start(machine, p, trace=True)
    assert running.end() == 0
    [taken] = steps.read(p, running.trace)
    # What did not run is not there; a routine's are, once for each call.
    calls = [(index, caller) for caller in (3, 4) for index in (caller, 5, 6, 7)]
    assert [(s.at, s.caller if s.at > 4 else s.at) for s in taken] == [(0, 0), (1, 1), *calls]
    assert [taken[3].result, taken[4].result] == [-EBADF, 0o77]
    assert before < taken[0].began and all(a.began <= b.began for a, b in itertools.pairwise(taken))
    close(running)


def twice(p: Program, fd: Register) -> Register:
    p.call("close", fd, ignore=(EBADF,))
    return p.call("umask", 0o77, result=True)


def test_nothing_runs_of_a_program_with_a_fault(machine: str) -> None:
    p = Program()
    p.say(1)
    p.say(2)
    raw = bytearray(p.encode(CHANNEL, NO_FD, machine))
    header, size = 40, 72
    assert len(raw) == header + 2 * size
    raw[header + size] = 200  # the second instruction's opcode
    running = start(machine, bytes(raw))
    assert running.channel.recv(1024) == b""
    assert running.end() == REFUSED
    close(running)


def test_no_program(machine: str) -> None:
    running = start(machine, b"")
    assert running.end() == NOT_THERE
    close(running)


def test_size(machine: str) -> None:
    assert Path(COMMANDS[machine][-1]).stat().st_size < 16384
