"""What a seccomp profile makes of one system call: its filter is compiled, and run on it as the kernel would
(seccomp(2), Documentation/networking/filter.rst); which rule is behind that is looked up in the profile."""

from __future__ import annotations

import platform
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from pyrun.host.seccomp import call_names, compile_filter
from pyrun.spec.seccomp import ACTIONS, DENYING, WITH_ERRNO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyrun.log import Log
    from pyrun.spec.config import Seccomp, Syscall

_STEP = Struct("<HBBI")
_DATA = Struct("<iIQ6Q")  # struct seccomp_data
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_U64 = (1 << 64) - 1
_ACTION = 0xFFFF0000
# BPF_CLASS and the rest of a code (linux/bpf_common.h), as far as libseccomp uses them.
_LD_ABS, _JA, _JEQ, _JGT, _JGE, _JSET, _AND, _RET = 0x20, 0x05, 0x15, 0x25, 0x35, 0x45, 0x54, 0x06
_OPERATORS = {
    "SCMP_CMP_NE": lambda a, b, c: a != b,
    "SCMP_CMP_LT": lambda a, b, c: a < b,
    "SCMP_CMP_LE": lambda a, b, c: a <= b,
    "SCMP_CMP_EQ": lambda a, b, c: a == b,
    "SCMP_CMP_GE": lambda a, b, c: a >= b,
    "SCMP_CMP_GT": lambda a, b, c: a > b,
    "SCMP_CMP_MASKED_EQ": lambda a, b, c: a & b == c,
}


class Verdict(NamedTuple):
    """action: a name of ACTIONS. number: the errno or the tracer's number that comes with it, else 0. pointer: of the
    rule behind it, or of the default action. why: in words."""

    action: str
    number: int
    pointer: str
    why: str


def judge(profile: Seccomp, call: str, args: Sequence[int], log: Log) -> Verdict:
    """The verdict on a call with these arguments; those that are not given are 0. Raises Error for a profile that can't
    be compiled, LookupError for a call that there is not."""
    numbers = {name: number for number, name in call_names().items()}
    if call not in numbers:
        raise LookupError(call)
    values = [*(value & _U64 for value in args), 0, 0, 0, 0, 0, 0][:6]
    data = _DATA.pack(numbers[call], _AUDIT[platform.machine()], 0, *values)
    result = execute(compile_filter(profile, log), data)
    name = next(name for name, value in ACTIONS.items() if value == result & _ACTION)
    number = result & 0xFFFF if name in WITH_ERRNO else 0
    pointer, why = _behind(profile, call, values, result, numbers)
    return Verdict(name, number, pointer, why)


def execute(program: bytes, data: bytes) -> int:
    """What the filter returns for a struct seccomp_data."""
    steps = list(_STEP.iter_unpack(program))
    at = accumulator = 0
    while True:
        code, true, false, constant = steps[at]
        at += 1
        if code == _LD_ABS:
            accumulator = int.from_bytes(data[constant : constant + 4], "little")
        elif code == _AND:
            accumulator &= constant
        elif code == _RET:
            return int(constant)
        elif code == _JA:
            at += constant
        else:
            holds = {
                _JEQ: accumulator == constant,
                _JGT: accumulator > constant,
                _JGE: accumulator >= constant,
                _JSET: bool(accumulator & constant),
            }[code]
            at += true if holds else false


def _behind(profile: Seccomp, call: str, values: list[int], result: int, numbers: Mapping[str, int]) -> tuple[str, str]:
    """(pointer, words): the rule that fits and has that action; else what decides for all that no rule fits."""
    newest = max((numbers.get(name, -1) for rule in profile.get("syscalls", []) for name in rule["names"]), default=-1)
    if profile["defaultAction"] in DENYING and numbers[call] > newest >= 0:
        words = "it is newer than all that the profile names: programs are told that there is no such call"
        return "/linux/seccomp/syscalls", words
    near = []
    for i, rule in enumerate(profile.get("syscalls", [])):
        if call not in rule["names"]:
            continue
        pointer = f"/linux/seccomp/syscalls/{i}"
        conditions = _conditions(rule, values)
        if all(holds for holds, _ in conditions) and ACTIONS[rule["action"]] == result & _ACTION:
            met = " and ".join(words for _, words in conditions)
            return pointer, f"the rule names it{f', and {met}' if met else ', whatever its arguments'}"
        near += [f"{pointer}: {words} does not hold" for holds, words in conditions if not holds]
    return "/linux/seccomp/defaultAction", "; ".join(near) if near else "no rule names it"


def _conditions(rule: Syscall, values: list[int]) -> list[tuple[bool, str]]:
    """(holds, words) of each condition of a rule."""
    found = []
    for condition in rule.get("args", []):
        index, operator, value = condition["index"], condition["op"], condition["value"]
        second = condition.get("valueTwo", 0)
        more = f" {second:#x}" if operator == "SCMP_CMP_MASKED_EQ" else ""
        holds = _OPERATORS[operator](values[index], value, second)
        found.append((bool(holds), f"argument {index} ({values[index]:#x}) {operator[9:]} {value:#x}{more}"))
    return found
