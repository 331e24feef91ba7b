"""The program builder: writing a plan reads like doing it, but each step is only noted.

A `Program` is a flat list of instructions for the executor (runtime/machine/executor.c).  Every instruction
remembers the JSON pointer into config.json that asked for it, so that an error can name it and `pyrun plan` can print
it.  Operands are plain Python values: an int is an immediate, str and bytes become data (a str
ends in NUL, as the kernel wants its paths), a `Register` holds what an earlier call returned, a `Buffer` is memory
that the kernel fills.

A shape that repeats is a *routine*: `p.do(function, operand, …)` compiles the function once, behind the program, with
parameters in place of the operands, and calls it. A routine calls no other; inside one, `do` compiles in place.
"""

from __future__ import annotations

from _struct import Struct

from pyrun.kernel import syscalls
from pyrun.kernel.constants import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_FLAG,
    FSCONFIG_SET_STRING,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_T_EMPTY_PATH,
    O_CLOEXEC,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
    SCM_RIGHTS,
    SOL_SOCKET,
    STATX_BASIC_STATS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import TypeAlias

    Operand: TypeAlias = "int | str | bytes | Register | Buffer"
    Rules: TypeAlias = "Mapping[int, Label]"

SYSCALL, STORE, LOAD, BRANCH, SAY, AWAIT, FAIL, CHANNEL, MOVE, LEAVE, CALL, RETURN = range(12)
DATA, REGISTER = 1, 2
# Of 240 registers the last is PASS, the six before it are the parameters of routines, and those before these are for
# what goes on in a routine.
REGISTERS = 239
PARAMETERS = 233
ROUTINE = 200
NONE = 0xFF
NO_FD = 0xFFFFFFFF
ERROR = 0xFFFFFFFF
ANY_ERROR = 0xFFFF
MAX_DATA = 1 << 22
MAX_INSTRUCTIONS = 0xFFFF

# struct statx, struct statfs, and a path from getcwd
SCRATCH_SIZE = 4096

_HEADER = Struct("<IHHIIIIIIQ")
_INSTRUCTION = Struct("<BBBBHH6HI6Q")
_HOW = Struct("<QQQ")
_ATTR = Struct("<QQQQ")
MAGIC = 0x4E525950
VERSION = 5
_U64 = 0xFFFFFFFFFFFFFFFF


class Register:
    """What an instruction returned: a file descriptor, a pid, a field that was loaded."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class Buffer:
    """`size` bytes of the program's own memory, at `offset` of its data."""

    __slots__ = ("offset", "size")

    def __init__(self, offset: int, size: int) -> None:
        self.offset = offset
        self.size = size


class Label:
    """A place further down in the program; unknown until it is placed."""

    __slots__ = ("index",)

    def __init__(self) -> None:
        self.index = -1


class Instruction:
    """One step. operands: as the plan gave them, so that a listing can show them; pointer: what asked for it, in a
    routine relative to the call's; note: explains a failure."""

    __slots__ = ("destination", "log", "name", "note", "op", "operands", "pointer", "retries", "rules")

    def __init__(
        self,
        op: int,
        name: str | int,
        operands: tuple[Operand, ...],
        pointer: str,
        destination: Register | None = None,
        rules: Rules | None = None,
        log: Register | None = None,
        retries: int = 0,
        note: str = "",
    ) -> None:
        self.op = op
        self.name = name
        self.operands = operands
        self.pointer = pointer
        self.destination = destination
        self.rules = rules
        self.log = log
        self.retries = retries
        self.note = note


class _At:
    """Restores the builder's previous pointer at the end of a `with` block."""

    __slots__ = ("before", "program")

    def __init__(self, program: Program, before: str) -> None:
        self.program = program
        self.before = before

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.program.pointer = self.before


class _Held:
    """A register for the length of a `with` block, and with `close` the file descriptor in it."""

    __slots__ = ("close", "program", "register")

    def __init__(self, program: Program, register: Register, close: bool) -> None:
        self.program = program
        self.register = register
        self.close = close

    def __enter__(self) -> Register:
        return self.register

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.close:
            self.program.close(self.register)
        else:
            self.program.free(self.register)


class _Skipped:
    """Ends a `with` block that is executed in one case only."""

    __slots__ = ("label", "program")

    def __init__(self, program: Program, label: Label) -> None:
        self.program = program
        self.label = label

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.program.place(self.label)


class _Routine:
    """label: its first instruction. code: all of them; labels: those placed in it, relative until they are linked."""

    __slots__ = ("code", "label", "labels")

    def __init__(self) -> None:
        self.code: list[Instruction] = []
        self.label = Label()
        self.labels: list[Label] = [self.label]


class Program:
    """Collects instructions; `encode()` turns them into the executor's format.

    instructions  in order; those of the routines come behind the others once the program is linked
    main          how many there are without the routines', once it is linked
    pointer       the JSON pointer of what is being compiled
    """

    __slots__ = (
        "_data",
        "_free",
        "_interned",
        "_next",
        "_routine",
        "_routines",
        "_scratch",
        "instructions",
        "main",
        "pointer",
    )

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self.pointer = ""
        self._data = bytearray()
        self._interned: dict[bytes, int] = {}
        self._free: list[int] = []
        self._next = 0
        self._scratch: Buffer | None = None
        self._routines: dict[tuple[object, ...], _Routine] = {}
        self._routine: _Routine | None = None
        self.main = -1

    # --- where we are

    def at(self, pointer: str) -> _At:
        """Until the end of the block, `pointer` is what asks for the instructions: absolute ("/mounts/3"), or relative
        to the enclosing one ("options/1"), as it must be in a routine."""
        before = self.pointer
        self.pointer = pointer if pointer[:1] == "/" else f"{before}/{pointer}"
        return _At(self, before)

    def label(self) -> Label:
        """A place that is to be placed further down."""
        return Label()

    def place(self, label: Label) -> None:
        """`label` is the next instruction."""
        label.index = len(self.instructions)
        if self._routine:
            self._routine.labels.append(label)

    # --- routines

    def do(
        self,
        body: Callable[..., Operand | None],
        *operands: Operand,
        into: Register | None = None,
        constants: tuple[object, ...] = (),
    ) -> Register:
        """Call the routine that `body` compiles: body(program, *parameters, *constants), which returns what the call
        does, if anything. There is one for each `constants`; operands are at most six. The result is `into`, or a new
        register when `body` returns one."""
        if self._routine:
            found = body(self, *operands, *constants)
            if into:
                assert found is not None
                self.move(into, found)
                if isinstance(found, Register):
                    self.free(found)
                return into
            return found if isinstance(found, Register) else _NOWHERE
        key = (body, *constants)
        routine = self._routines.get(key)
        if routine is None:
            routine = self._routines[key] = self._compile(body, len(operands), constants)
        returns = bool(routine.code[-1].operands)
        destination = into or (self.register() if returns else None)
        name = body.__name__.strip("_")
        self.instructions.append(Instruction(CALL, name, operands, self.pointer, destination, rules={1: routine.label}))
        return destination or _NOWHERE

    def _compile(self, body: Callable[..., Operand | None], count: int, constants: tuple[object, ...]) -> _Routine:
        routine = _Routine()
        outside = self.instructions, self.pointer, self._free, self._next
        self.instructions, self.pointer, self._free, self._next = routine.code, "", [], ROUTINE
        routine.label.index = 0
        self._routine = routine
        try:
            parameters = [Register(PARAMETERS + i) for i in range(count)]
            result = body(self, *parameters, *constants)
            operands = () if result is None else (result,)
            self.instructions.append(Instruction(RETURN, 0, operands, self.pointer))
        finally:
            self._routine = None
            self.instructions, self.pointer, self._free, self._next = outside
        return routine

    def link(self) -> None:
        """Put the routines behind the rest. Nothing can be added then."""
        if self.main >= 0:
            return
        self.main = len(self.instructions)
        for routine in self._routines.values():
            for label in routine.labels:
                label.index += len(self.instructions)
            self.instructions += routine.code

    def steps(self) -> int:
        """As many instructions as one process can execute: jumps only go forward."""
        self.link()
        called = [self.instructions[i].rules for i in range(self.main) if self.instructions[i].op == CALL]
        lengths = {routine.label.index: len(routine.code) for routine in self._routines.values()}
        return self.main + sum(lengths[rules[1].index] for rules in called if rules)

    def resolve(self, index: int, caller: int) -> Instruction:
        """The instruction at `index` as it was meant when the call at `caller` (-1: none) had it run: with its whole
        pointer, and the call's operands for the parameters."""
        instruction = self.instructions[index]
        if caller < 0:
            return instruction
        call = self.instructions[caller]
        operands = tuple(
            call.operands[o.index - PARAMETERS]
            if isinstance(o, Register) and 0 <= o.index - PARAMETERS < len(call.operands)
            else o
            for o in instruction.operands
        )
        pointer = call.pointer + instruction.pointer
        found = Instruction(instruction.op, instruction.name, operands, pointer, instruction.destination)
        found.rules = instruction.rules
        found.note = instruction.note
        return found

    # --- memory and registers

    def register(self) -> Register:
        """A register that nothing else uses. Raises OverflowError when there is none left."""
        if self._free:
            return Register(self._free.pop())
        if self._next == (PARAMETERS if self._routine else ROUTINE):
            raise OverflowError(f"this bundle needs more than {ROUTINE} files open at once")
        self._next += 1
        return Register(self._next - 1)

    def free(self, register: Register) -> None:
        """Nothing reads the register any more."""
        self._free.append(register.index)

    def keep(self, register: Register) -> Buffer:
        """Where the register's value is kept, for as long as there may be hundreds like it: see `fetch`."""
        kept = self.buffer(8)
        self.store(kept, 0, 8, register)
        self.free(register)
        return kept

    def fetch(self, kept: Buffer) -> Register:
        """What is kept, in a register again."""
        return self.load(kept, 0, 8)

    def held(self, register: Register) -> _Held:
        """The register is free at the end of the block."""
        return _Held(self, register, close=False)

    def opened(self, fd: Register) -> _Held:
        """The file descriptor is closed, and the register free, at the end of the block."""
        return _Held(self, fd, close=True)

    def buffer(self, content: int | bytes) -> Buffer:
        """Writable memory: so many zero bytes, or a copy of `content`; 8-byte aligned, as structs want it."""
        data = self._data
        data.extend(bytes(-len(data) % 8))
        offset = len(data)
        data.extend(bytes(content) if isinstance(content, int) else content)
        return Buffer(offset, len(data) - offset)

    def _constant(self, value: bytes) -> int:
        """Offset of read-only data; equal constants share one place."""
        offset = self._interned.get(value)
        if offset is None:
            offset = self._interned[value] = self.buffer(value).offset
        return offset

    # --- the instruction set

    def call(
        self,
        name: str,
        *operands: Operand,
        errors: Rules | None = None,
        ignore: Sequence[int] = (),
        log: Register | None = None,
        retries: int = 4,
        result: bool = False,
        into: Register | None = None,
        note: str = "",
    ) -> Register:
        """A system call. A failure ends the program with a report, unless its errno is one to `ignore`, or `errors`
        says where it goes on. With `result`, what it returns (or -errno, when that is ignored or has a rule) is kept in
        the register that this returns: `into`, or a new one."""
        destination = into or (self.register() if result else None)
        following = None
        if ignore:
            following = Label()
            errors = {**(errors or {}), **dict.fromkeys(ignore, following)}
        self.instructions.append(
            Instruction(SYSCALL, name, operands, self.pointer, destination, errors, log, retries, note)
        )
        if following:
            self.place(following)
        return destination or _NOWHERE

    def store(self, buffer: Buffer, offset: int, width: int, value: Operand) -> None:
        """Write `width` bytes of `value`, little-endian, at `offset` of the buffer: 1, 2, 4 or 8."""
        at = Buffer(buffer.offset + offset, width)
        self.instructions.append(Instruction(STORE, width, (at, value), self.pointer))

    def load(self, buffer: Buffer, offset: int, width: int) -> Register:
        """Read `width` bytes, little-endian, at `offset` of the buffer into a new register: 1, 2, 4 or 8."""
        at = Buffer(buffer.offset + offset, width)
        destination = self.register()
        self.instructions.append(Instruction(LOAD, width, (at,), self.pointer, destination))
        return destination

    def branch(self, value: Operand, equals: int | Register, target: Label, mask: int = _U64) -> None:
        """Go to `target` when (value & mask) == equals."""
        self.instructions.append(Instruction(BRANCH, 0, (value, mask, equals), self.pointer, rules={1: target}))

    def branch_unless(self, value: Operand, equals: int | Register, target: Label, mask: int = _U64) -> None:
        """Go to `target` when (value & mask) != equals."""
        self.instructions.append(Instruction(BRANCH, 1, (value, mask, equals), self.pointer, rules={1: target}))

    def when(self, value: Operand, equals: int | Register, mask: int = _U64) -> _Skipped:
        """The block is executed only when (value & mask) == equals."""
        end = Label()
        self.branch_unless(value, equals, end, mask)
        return _Skipped(self, end)

    def unless(self, value: Operand, equals: int | Register, mask: int = _U64) -> _Skipped:
        """The block is executed only when (value & mask) != equals."""
        end = Label()
        self.branch(value, equals, end, mask)
        return _Skipped(self, end)

    def jump(self, target: Label) -> None:
        """Go to `target`."""
        self.branch(0, 0, target)

    def say(self, code: int, value: Operand = 0) -> None:
        """Send (code, value) to the runtime."""
        self.instructions.append(Instruction(SAY, code, (value,), self.pointer))

    def say_with(self, to: Operand, code: int, fd: Register) -> None:
        """Say `code` on the socket `to`, with a descriptor in tow (sendmsg(2); unix(7), SCM_RIGHTS)."""
        message = code.to_bytes(4, "little") + bytes(12)
        vector = self.buffer(16)
        self.store(vector, 0, 8, message)
        self.store(vector, 8, 8, len(message))
        # struct cmsghdr: length 20 (with one int), level, type; the int; padding
        control = self.buffer(24)
        self.store(control, 0, 8, 20)
        self.store(control, 8, 4, SOL_SOCKET)
        self.store(control, 12, 4, SCM_RIGHTS)
        self.store(control, 16, 4, fd)
        # struct msghdr: name, namelen, iov, iovlen, control, controllen, flags
        header = self.buffer(56)
        self.store(header, 16, 8, vector)
        self.store(header, 24, 8, 1)
        self.store(header, 32, 8, control)
        self.store(header, 40, 8, 24)
        self.call("sendmsg", to, header, 0)

    def await_(self, code: int) -> Register:
        """Wait for `code` from the runtime, and return the value that came with it; the runtime's end is ours."""
        value = self.register()
        self.instructions.append(Instruction(AWAIT, code, (), self.pointer, value))
        return value

    def ask(self, code: int, value: Operand = 0) -> None:
        """Say (code, value), and wait for the answer."""
        self.say(code, value)
        self.heed(code)

    def heed(self, code: int) -> None:
        """Wait for `code` from the runtime, whose value says nothing."""
        self.free(self.await_(code))

    def fail(self, error: int, note: str) -> None:
        """End here with `error`; `note` says in plain words why."""
        self.instructions.append(Instruction(FAIL, error, (), self.pointer, note=note))

    def leave_on(self, *signals: int) -> None:
        """Until execve, each of the signals ends the process, with the exit status 128 + its number: also as the first
        one of a pid namespace, where the kernel drops what has no handler (pid_namespaces(7))."""
        for signal in signals:
            self.instructions.append(Instruction(LEAVE, signal, (), self.pointer))

    def channel(self, fd: Operand) -> None:
        """Talk on `fd` from here on."""
        self.instructions.append(Instruction(CHANNEL, 0, (fd,), self.pointer))

    def move(self, to: Register, value: Operand) -> None:
        """Copy `value` to the register."""
        self.instructions.append(Instruction(MOVE, 0, (value,), self.pointer, to))

    # --- thin verbs, one system call each

    def openat(
        self,
        directory: Operand,
        path: str | Register,
        flags: int,
        mode: int = 0,
        errors: Rules | None = None,
        ignore: Sequence[int] = (),
    ) -> Register:
        """openat(2), with O_CLOEXEC."""
        return self.call("openat", directory, path, flags | O_CLOEXEC, mode, errors=errors, ignore=ignore, result=True)

    def openat2(
        self,
        directory: Operand,
        path: str | Register,
        flags: int,
        resolve: int,
        errors: Rules | None = None,
        mode: int = 0,
        note: str = "",
        into: Register | None = None,
    ) -> Register:
        """openat2(2), with O_CLOEXEC."""
        how = _HOW.pack(flags | O_CLOEXEC, mode, resolve)
        # EAGAIN: something was renamed during the walk and ".." could not be trusted; openat2(2) says to try again.
        return self.call(
            "openat2", directory, path, how, len(how), errors=errors, retries=128, result=True, into=into, note=note
        )

    def close(self, fd: Register) -> None:
        """close(2), and free the register."""
        self.call("close", fd)
        self.free(fd)

    def fsopen(self, kind: str, errors: Rules | None = None) -> Register:
        """fsopen(2): a file system context."""
        return self.call("fsopen", kind, FSOPEN_CLOEXEC, errors=errors, result=True)

    def fsconfig_set_string(self, fs: Register, key: str, value: str) -> None:
        """fsconfig(2); what the kernel says of a failure is reported."""
        self.call("fsconfig", fs, FSCONFIG_SET_STRING, key, value, 0, log=fs)

    def fsconfig_set_flag(self, fs: Register, key: str) -> None:
        """fsconfig(2), an option without a value."""
        self.call("fsconfig", fs, FSCONFIG_SET_FLAG, key, 0, 0, log=fs)

    def fsconfig_create(self, fs: Register, errors: Rules | None = None, note: str = "") -> None:
        """fsconfig(2): the file system, now that all options are set."""
        self.call("fsconfig", fs, FSCONFIG_CMD_CREATE, 0, 0, 0, errors=errors, log=fs, note=note)

    def fsmount(self, fs: Register, attributes: int) -> Register:
        """fsmount(2): its mount, detached, with these MOUNT_ATTR_ bits."""
        return self.call("fsmount", fs, FSMOUNT_CLOEXEC, attributes, log=fs, result=True)

    def file_system(self, kind: str, source: str, options: Mapping[str, str | None], attributes: int) -> Register:
        """A new file system of this kind, not attached anywhere yet; an option without a value is a flag."""
        with self.opened(self.fsopen(kind)) as fs:
            self.fsconfig_set_string(fs, "source", source)
            for key, value in options.items():
                if value is None:
                    self.fsconfig_set_flag(fs, key)
                else:
                    self.fsconfig_set_string(fs, key, value)
            self.fsconfig_create(fs)
            return self.fsmount(fs, attributes)

    def open_tree(
        self,
        directory: Operand,
        path: str | Register,
        flags: int,
        into: Register | None = None,
        errors: Rules | None = None,
    ) -> Register:
        """open_tree(2)."""
        return self.call("open_tree", directory, path, flags | OPEN_TREE_CLOEXEC, result=True, into=into, errors=errors)

    def clone_tree(
        self, directory: Operand, path: str | Register = "", recursive: bool = False, into: Register | None = None
    ) -> Register:
        """A detached copy of the mount (tree) at `path` below `directory`, or of what `directory` itself is."""
        flags = OPEN_TREE_CLONE | (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
        return self.open_tree(directory, path, flags, into)

    def move_mount(self, tree: Register, target: Operand, errors: Rules | None = None) -> None:
        """Attach the detached `tree` at `target`, a file descriptor."""
        self.call("move_mount", tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH, errors=errors)

    def mount_setattr(
        self,
        tree: Operand,
        attr_set: int = 0,
        attr_clr: int = 0,
        propagation: int = 0,
        recursive: bool = False,
        path: str = "",
        userns: int = 0,
        errors: Rules | None = None,
        note: str = "",
    ) -> None:
        """mount_setattr(2). tree: the mount, or with `path` what that is relative to."""
        flags = (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
        attr = _ATTR.pack(attr_set, attr_clr, propagation, userns)
        self.call("mount_setattr", tree, path, flags, attr, len(attr), errors=errors, note=note)

    def statx(self, fd: Operand, path: str | Register = "", errors: Rules | None = None, more: int = 0) -> Buffer:
        """The scratch memory with a struct statx of `fd`, or of `path` below it (symlinks are followed), with the basic
        fields and `more`."""
        into = self.scratch()
        self.call("statx", fd, path, 0 if path else AT_EMPTY_PATH, STATX_BASIC_STATS | more, into, errors=errors)
        return into

    def fstatfs(self, fd: Operand) -> Buffer:
        """The scratch memory with a struct statfs of `fd`."""
        into = self.scratch()
        self.call("fstatfs", fd, into)
        return into

    def scratch(self) -> Buffer:
        """Memory for what the kernel returns in structs, the same for all: load the fields before the next call."""
        if self._scratch is None:
            self._scratch = self.buffer(SCRATCH_SIZE)
        return self._scratch

    def prctl(self, option: int, *values: int, ignore: Sequence[int] = ()) -> None:
        """prctl(2), the operands that aren't given being 0, as it insists on."""
        padding = (0,) * (4 - len(values))
        self.call("prctl", option, *values, *padding, ignore=ignore)

    def write(self, fd: Operand, content: str, ignore: Sequence[int] = (), note: str = "") -> None:
        """write(2), in one piece."""
        # The NUL that ends the constant is not written.
        self.call("write", fd, content, len(content.encode()), ignore=ignore, note=note)

    def chdir(self, path: str) -> None:
        """chdir(2)."""
        self.call("chdir", path)

    def strings(self, values: Sequence[str]) -> Buffer:
        """A NULL-terminated array of C strings, as execve wants its argv and envp; its pointers are stored when the
        program runs, since only then its address is known."""
        array = self.buffer(8 * (len(values) + 1))
        for i, value in enumerate(values):
            self.store(array, 8 * i, 8, value)
        return array

    # --- encoding

    def encode(self, channel: int, trace: int = NO_FD, machine: str | None = None, password: int = 0) -> bytes:
        """The program as the executor reads it: struct header, instructions, data, all little-endian.

        `channel` is the file descriptor on which it talks first, `trace` one for what it does (steps.py), `password`
        what the register PASS holds. Raises OverflowError when the program is larger than its format allows."""
        self.link()
        # Before packing: beyond that, the targets of jumps have no room either.
        if len(self.instructions) > MAX_INSTRUCTIONS:
            raise OverflowError(_TOO_LARGE)
        numbers = syscalls.numbers(machine or syscalls.here())
        code = pack(self.instructions, numbers, self._constant)
        if len(self._data) > MAX_DATA:
            raise OverflowError(_TOO_LARGE)
        count = len(self.instructions)
        steps = 0 if trace == NO_FD else self.steps()
        header = _HEADER.pack(MAGIC, VERSION, count, len(self._data), channel, trace, steps, self.main, 0, password)
        return b"".join((header, code, self._data))


def pack(instructions: list[Instruction], numbers: Mapping[str, int], constant: Callable[[bytes], int]) -> bytes:
    """The instructions in the executor's format. numbers: of system calls; constant: where to put read-only data."""
    one = _INSTRUCTION.pack
    code = []
    for i in instructions:
        kinds = 0
        values = [0, 0, 0, 0, 0, 0]
        shift = 0
        for operand in i.operands:
            if isinstance(operand, int):
                values[shift >> 1] = operand & _U64
            elif isinstance(operand, Register):
                values[shift >> 1] = operand.index
                kinds |= REGISTER << shift
            else:
                if isinstance(operand, str):
                    values[shift >> 1] = constant(operand.encode("utf-8", "surrogateescape") + b"\0")
                elif isinstance(operand, bytes):
                    values[shift >> 1] = constant(operand)
                else:
                    values[shift >> 1] = operand.offset
                kinds |= DATA << shift
            shift += 2
        rules = [0, 0, 0, 0, 0, 0]
        if i.rules:
            at = 0
            for error, label in i.rules.items():
                rules[at] = error
                rules[at + 1] = label.index
                at += 2
        code.append(
            one(
                i.op,
                NONE if i.destination is None else i.destination.index,
                NONE if i.log is None else i.log.index,
                i.retries,
                kinds,
                numbers[i.name] if isinstance(i.name, str) and i.op == SYSCALL else 0 if i.op >= CALL else i.name,
                *rules,
                0,
                *values,
            )
        )
    return b"".join(code)


_NOWHERE = Register(NONE)
# Holds a random number from the start: as the sixth operand of a call it passes the seccomp filter (plan/seccomp.py).
PASS = Register(REGISTERS)
_TOO_LARGE = "this bundle compiles to a program larger than the executor takes"
