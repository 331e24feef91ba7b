"""linux.seccomp: the filter is in force before anybody inside can see the process (seccomp(2), config-linux.md).

A profile speaks of the program, not of the runtime's last steps before it: so the filter begins with a few instructions
that let those through, by a password. The calls of PASSED take fewer than six operands, and the kernel ignores the
sixth: the executor puts a random number there that this container's filter alone knows, and that is gone from memory
with execve. So a profile need allow nothing but execve, and still no step is left for after the filter that would take
a right which the program is not to have.
"""

from __future__ import annotations

from _struct import Struct

from pyrun.kernel import syscalls
from pyrun.kernel.constants import (
    CLONE_PARENT,
    SECCOMP_FILTER_FLAG_NEW_LISTENER,
    SECCOMP_SET_MODE_FILTER,
    TIOCSCTTY,
)
from pyrun.machine.messages import LISTENER
from pyrun.machine.program import PASS, Buffer, Program
from pyrun.spec.rlimits import RLIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.plan.facts import Facts

# What the executor does after the filter, or for it: the calls of its own (executor.c) and those of plan/last.py. None
# of them is one that programs make all the time: the kernel can't remember the verdict on a call whose operands a
# filter looks at.
PASSED = ("capset", "clone", "close_range", "exit_group", "ioctl", "prlimit64", "readv", "setsid", "writev")
# Those with which a program could do more than the runtime does have one operand that must have this value besides: the
# password can be read in /proc by who has CAP_SYS_PTRACE, while the process waits. (name, which operand, its low half)
_PINNED = (
    ("clone", 0, CLONE_PARENT),
    ("ioctl", 1, TIOCSCTTY),
    ("prlimit64", 1, RLIMITS["RLIMIT_NPROC"]),
)

# audit.h
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# struct sock_filter: code, where to go when true and when false, constant (bpf_common.h)
_SOCK_FILTER = Struct("<HBBI")
_LD_ABS, _JEQ, _RET = 0x20, 0x15, 0x06
_ST, _LDX_MEM, _XOR, _OR_X = 0x02, 0x61, 0xA4, 0x4C
# struct seccomp_data: number, architecture, instruction pointer, six operands
_NUMBER_AT, _ARCHITECTURE_AT, _OPERANDS_AT = 0, 4, 16
_ALLOW = 0x7FFF0000

_LISTENER = "EBUSY here means: a filter around us has a listener already, and there can be but one"
_FILTER = "without noNewPrivileges this takes CAP_SYS_ADMIN"


def load(p: Program, facts: Facts) -> None:
    """Load the filter, if there is one; a listener goes to the runtime, and is closed here."""
    if not facts.seccomp:
        return
    with p.at("/linux/seccomp"):
        filter_ = _guarded(p, facts.seccomp)
        # struct sock_fprog: how many, where
        fprog = p.buffer(16)
        p.store(fprog, 0, 2, filter_.size // _SOCK_FILTER.size)
        p.store(fprog, 8, 8, filter_)
        operands = SECCOMP_SET_MODE_FILTER, facts.seccomp_flags, fprog
        if not notifies(facts):
            p.call("seccomp", *operands, note=_FILTER)
            return
        listener = p.call("seccomp", *operands, result=True, note=_LISTENER)
        if facts.privileged:
            p.say(LISTENER, listener)
        else:
            # Without privilege nobody can take it (pidfd_getfd(2)).
            p.say_with(facts.layout.init, LISTENER, listener)
        p.heed(LISTENER)
        p.call("close_range", listener, listener, 0, 0, 0, PASS)
        p.free(listener)


def notifies(facts: Facts) -> bool:
    """Calls are told to an agent, which gets a listener."""
    return bool(facts.seccomp_flags & SECCOMP_FILTER_FLAG_NEW_LISTENER)


def _guarded(p: Program, program: bytes) -> Buffer:
    """The filter with the password before it. The password is not known yet: it is stored when the program runs."""
    machine = syscalls.here()
    numbers = syscalls.numbers(machine)
    pins = len(_PINNED)
    last = len(PASSED) - 1
    end = 3 + len(PASSED) + 9 + 3 * pins + 1  # where the profile begins
    low, high = 3 + len(PASSED) + 1, 3 + len(PASSED) + 4
    code = [
        (_LD_ABS, 0, 0, _ARCHITECTURE_AT),
        (_JEQ, 0, end - 2, _ARCHITECTURES[machine]),
        (_LD_ABS, 0, 0, _NUMBER_AT),
        *((_JEQ, last - i, end - 4 - i if i == last else 0, numbers[name]) for i, name in enumerate(PASSED)),
        # Both halves at once: a comparison that ends early would tell by its time which of them is right.
        (_LD_ABS, 0, 0, _OPERANDS_AT + 5 * 8),
        (_XOR, 0, 0, 0),
        (_ST, 0, 0, 0),
        (_LD_ABS, 0, 0, _OPERANDS_AT + 5 * 8 + 4),
        (_XOR, 0, 0, 0),
        (_LDX_MEM, 0, 0, 0),
        (_OR_X, 0, 0, 0),
        (_JEQ, 0, 3 * pins + 2, 0),
        (_LD_ABS, 0, 0, _NUMBER_AT),
    ]
    for i, (name, operand, value) in enumerate(_PINNED):
        code += [
            (_JEQ, 0, 2, numbers[name]),
            (_LD_ABS, 0, 0, _OPERANDS_AT + 8 * operand),
            (_JEQ, 3 * (pins - i - 1), 3 * (pins - i - 1) + 1, value),
        ]
    code.append((_RET, 0, 0, _ALLOW))
    assert len(code) == end
    filter_ = p.buffer(b"".join(_SOCK_FILTER.pack(*step) for step in code) + program)
    constant = 4
    p.store(filter_, low * _SOCK_FILTER.size + constant, 4, PASS)
    both = p.buffer(8)
    p.store(both, 0, 8, PASS)
    upper = p.load(both, 4, 4)
    p.store(filter_, high * _SOCK_FILTER.size + constant, 4, upper)
    p.free(upper)
    return filter_
