"""A program in words: what `pyrun plan` prints, and unit tests compare. Cold."""

from __future__ import annotations

from errno import errorcode

from pyrun.kernel import constants as linux
from pyrun.machine.messages import NAMES
from pyrun.machine.program import (
    ANY_ERROR,
    AWAIT,
    BRANCH,
    CALL,
    CHANNEL,
    FAIL,
    LEAVE,
    LOAD,
    MOVE,
    PARAMETERS,
    PASS,
    RETURN,
    SAY,
    STORE,
    SYSCALL,
    Buffer,
    Instruction,
    Program,
    Register,
)
from pyrun.spec import capabilities, mount_options, namespaces, rlimits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.machine.program import Operand

# (system call, operand) -> the constants it may be: bits by prefix, or one value out of a table.
_FLAGS = {
    ("openat", 2): ("O_",),
    ("openat2", 2): ("O_",),
    ("open_tree", 2): ("OPEN_TREE_", "AT_"),
    ("move_mount", 4): ("MOVE_MOUNT_",),
    ("mount_setattr", 2): ("AT_",),
    ("statx", 2): ("AT_",),
    ("faccessat2", 3): ("AT_",),
    ("fsmount", 2): ("MOUNT_ATTR_",),
    ("setns", 1): ("CLONE_",),
    ("unshare", 0): ("CLONE_",),
    ("umount2", 1): ("MNT_",),
    ("mount", 3): ("MS_",),
}
_VALUES = {
    ("fsconfig", 1): ("FSCONFIG_",),
    ("prctl", 0): ("PR_",),
    ("ioctl", 1): ("TIOC", "SIOC", "NS_GET"),
    ("fspick", 2): ("FSPICK_",),
    ("bpf", 0): ("BPF_PROG_",),
    ("keyctl", 0): ("KEYCTL_",),
}
_CONSTANTS = {
    name.replace("__", "_"): value
    for module in (linux, mount_options, namespaces)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, int)
}
_CAPABILITY_NAMES = {number: name for name, number in capabilities.CAPABILITIES.items()}
_RLIMIT_NAMES = {number: name for name, number in rlimits.RLIMITS.items()}


def lines(program: Program) -> list[tuple[str, str]]:
    """(what, pointer) of each instruction, in order; a label is shown by the number of its instruction. In a routine,
    whose pointers are relative to its call's, p0 … p5 are the operands of that."""
    program.link()
    return [(describe(instruction), instruction.pointer) for instruction in program.instructions]


def executed(program: Program) -> list[tuple[str, str]]:
    """The same as they are executed: a routine's in place of each call of it, with the call's operands and pointer."""
    program.link()
    found = []
    for index, instruction in enumerate(program.instructions[: program.main]):
        if instruction.op != CALL:
            found.append((describe(instruction), instruction.pointer))
            continue
        assert instruction.rules
        step = instruction.rules[1].index
        while program.instructions[step].op != RETURN:
            inside = program.resolve(step, index)
            found.append((describe(inside), inside.pointer))
            step += 1
    return found


def text(program: Program) -> str:
    """The whole listing: number, instruction, and the place in the config that asked for it."""
    rows = lines(program)
    return "\n".join(f"{i:4}  {what:<90}  {source}".rstrip() for i, (what, source) in enumerate(rows))


def describe(i: Instruction) -> str:
    """One instruction, without its number and source."""
    result = f"{_operand(i.destination)} = " if i.destination else ""
    shown = [_operand(o) for o in i.operands]
    target = f" -> {next(iter(i.rules.values())).index}" if i.rules else ""
    if i.op == SYSCALL:
        return f"{result}{_call(i)}{_rules(i)}"
    if i.op == STORE:
        return f"store{8 * int(i.name)} {shown[0]}, {shown[1]}"
    if i.op == LOAD:
        return f"{result}load{8 * int(i.name)} {shown[0]}"
    if i.op == BRANCH:
        value, mask, equals = i.operands
        if value == 0 and equals == 0:
            return f"jump{target}"
        masked = f"({shown[0]} & {_number(mask)})" if mask != 0xFFFFFFFFFFFFFFFF else shown[0]
        return f"if {masked} {'!=' if i.name else '=='} {_number(equals)}{target}"
    if i.op == SAY:
        return f"say {NAMES.get(int(i.name), i.name)} {shown[0]}"
    if i.op == AWAIT:
        return f"{result}await {NAMES.get(int(i.name), i.name)}"
    if i.op == FAIL:
        return f"fail {errorcode[int(i.name)]}: {i.note}"
    if i.op == CALL:
        return f"{result}call {i.name}({', '.join(shown)}){target}"
    if i.op == RETURN:
        return f"return {shown[0]}" if shown else "return"
    if i.op == LEAVE:
        return f"leave on signal {i.name}"
    if i.op == CHANNEL:
        return f"talk on {shown[0]}"
    assert i.op == MOVE
    return f"{result}{shown[0]}"


def _call(i: Instruction) -> str:
    name = str(i.name)
    parts = []
    for position, operand in enumerate(i.operands):
        if isinstance(operand, int):
            parts.append(_constant(name, position, operand))
        elif name == "openat2" and position == 2 and isinstance(operand, bytes):
            flags, mode, resolve = (int.from_bytes(operand[n : n + 8], "little") for n in (0, 8, 16))
            made = f"mode={mode:#o}, " if mode else ""
            parts.append(f"{{flags={_bits(flags, ('O_',))}, {made}resolve={_bits(resolve, ('RESOLVE_',))}}}")
        elif name == "mount_setattr" and position == 3 and isinstance(operand, bytes):
            fields = [int.from_bytes(operand[n : n + 8], "little") for n in (0, 8, 16)]
            shown = [
                f"{field}={_bits(value, prefixes)}"
                for field, value, prefixes in zip(
                    ("attr_set", "attr_clr", "propagation"),
                    fields,
                    (("MOUNT_ATTR_",), ("MOUNT_ATTR_",), ("MS_",)),
                    strict=True,
                )
                if value
            ]
            parts.append(f"{{{', '.join(shown)}}}")
        elif name == "clone3" and isinstance(operand, bytes):
            parts.append(f"{{flags={_bits(int.from_bytes(operand[:8], 'little'), ('CLONE_',))}}}")
        else:
            parts.append(_operand(operand))
    if name in ("prctl", "openat2", "mount_setattr", "clone3"):
        while parts and (parts[-1] == "0" or (name != "prctl" and parts[-1].isdigit())):
            parts.pop()
    return f"{name}({', '.join(parts)})"


def _constant(name: str, position: int, value: int) -> str:
    if value == linux.AT_FDCWD and position in (0, 2) and name != "prctl":
        return "AT_FDCWD"
    if name == "prctl" and position == 1 and value in _CAPABILITY_NAMES:
        return str(value)
    if name == "prlimit64" and position == 1:
        return _RLIMIT_NAMES.get(value, str(value))
    if name in ("mknodat", "mkdirat", "umask", "fchmodat") and value > 7:
        return f"{value:#o}"
    prefixes = _FLAGS.get((name, position))
    if prefixes:
        return _bits(value, prefixes)
    prefix = _VALUES.get((name, position))
    if prefix:
        return next((n for n, v in _CONSTANTS.items() if v == value and n.startswith(prefix)), _number(value))
    return _number(value)


def _bits(value: int, prefixes: tuple[str, ...]) -> str:
    """`value` as names of single bits joined with |; what has no name stays a number."""
    found = []
    for name, bit in _CONSTANTS.items():
        if bit and bit & (bit - 1) == 0 and value & bit and name.startswith(prefixes):
            value &= ~bit
            found.append(name)
    if value or not found:
        found.append(_number(value))
    return "|".join(found)


def _number(value: Operand) -> str:
    if not isinstance(value, int):
        return _operand(value)
    return str(value) if -4096 < value < 4096 else f"{value:#x}"


def _operand(operand: Operand | None) -> str:
    if operand is PASS:
        return "PASS"
    if isinstance(operand, Register):
        inside = operand.index - PARAMETERS
        return f"r{operand.index}" if inside < 0 else f"p{inside}"
    if isinstance(operand, Buffer):
        return f"[{operand.offset}:{operand.size}]"
    if isinstance(operand, str):
        return '"' + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in operand) + '"'
    if isinstance(operand, bytes):
        return f"<{operand[:12].hex()}{'…' if len(operand) > 12 else ''}>"
    return _number(operand or 0)


def _rules(i: Instruction) -> str:
    if not i.rules:
        return ""
    shown = [
        f"{'error' if error == ANY_ERROR else errorcode.get(error, error)} -> {label.index}"
        for error, label in i.rules.items()
    ]
    return f"  [{', '.join(shown)}]"
