"""Through a program, forward: each instruction once, with what is known before it."""

from __future__ import annotations

from errno import EINVAL

from pyrun.kernel import constants as linux
from pyrun.machine.program import (
    BRANCH,
    CALL,
    FAIL,
    LOAD,
    MOVE,
    PASS,
    RETURN,
    STORE,
    SYSCALL,
    Buffer,
    Instruction,
    Program,
    Register,
)
from pyrun.prove.state import ERRNO, HOST, IMAGE, OWN, Fd, Field, Site, State, Value, join
from pyrun.spec.namespaces import CLONE_NEWNS, CLONE_NEWPID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Effect = Callable[["Step"], None]

_ENDS = ("execve", "exit_group")
_MOST = 0xFFFFFFFF
# Failures that are ignored since the effect is there all the same: a capability that the kernel doesn't know.
_AS_GOOD = {("prctl", EINVAL)}


class Step:
    """One instruction about to be executed. index: its number; caller: of the call of the routine that it is in."""

    __slots__ = ("caller", "index", "instruction", "state", "values")

    def __init__(self, index: int, caller: int, instruction: Instruction, state: State) -> None:
        self.index = index
        self.caller = caller
        self.instruction = instruction
        self.state = state
        self.values = [value_of(state, operand) for operand in instruction.operands]

    @property
    def site(self) -> Site:
        """Where a descriptor that this opens comes from."""
        return self.index, self.caller

    def has_password(self) -> bool:
        """It passes the filter (plan/seccomp.py)."""
        return len(self.instruction.operands) == 6 and self.instruction.operands[5] is PASS


class Walk:
    """before: what is known before each instruction that is still to come. ways: which come right before it."""

    def __init__(self, program: Program, numbers: frozenset[int]) -> None:
        program.link()
        self.program = program
        self.before: dict[Site, State] = {(0, -1): State(numbers)}
        self.ways: dict[Site, list[Site]] = {}

    def steps(self) -> Iterator[Step]:
        """Each instruction that can be reached, in order, those of a routine at each of its calls."""
        for index in range(self.program.main):
            if (index, -1) not in self.before:
                continue
            yield from self._step(index, -1)

    def path(self, site: Site) -> list[Site]:
        """One way that leads there."""
        found = [site]
        while ways := self.ways.get(found[-1]):
            found.append(ways[0])
        return found[::-1]

    def _flow(self, site: Site, state: State, origin: Site) -> None:
        known = self.before.get(site)
        self.before[site] = join(known, state) if known else state
        self.ways.setdefault(site, []).append(origin)

    def _step(self, index: int, caller: int) -> Iterator[Step]:
        instruction = self.program.resolve(index, caller)
        step = Step(index, caller, instruction, self.before.pop((index, caller)))
        if instruction.op == CALL:
            yield from self._routine(step)
            return
        yield step
        if instruction.op == FAIL or (instruction.op == SYSCALL and instruction.name in _ENDS):
            self._failures(step, index, caller)
            return
        if instruction.op == BRANCH:
            self._branch(step, caller)
            return
        if instruction.op == SYSCALL:
            self._failures(step, index, caller)
        _execute(step)
        self._flow((index + 1, caller), step.state, step.site)

    def _failures(self, step: Step, index: int, caller: int) -> None:
        rules = step.instruction.rules or {}
        for error, label in rules.items():
            if (step.instruction.name, error) in _AS_GOOD:
                continue
            failed = step.state.copy()
            if step.instruction.destination:
                failed.registers[step.instruction.destination.index] = ERRNO
            self._flow((label.index, caller), failed, step.site)

    def _branch(self, step: Step, caller: int) -> None:
        instruction, state = step.instruction, step.state
        value, mask, other = step.values
        assert instruction.rules
        target = instruction.rules[1].index
        constant = isinstance(value, int) and isinstance(other, int)
        for equal in (True, False):
            if constant and (value == other) != equal:
                continue
            after = state if constant else state.copy()
            _tell(after, value, mask, other, equal)
            jumps = equal != bool(instruction.name)
            self._flow((target if jumps else step.index + 1, caller), after, step.site)

    def _routine(self, step: Step) -> Iterator[Step]:
        instruction = step.instruction
        assert instruction.rules
        first = index = instruction.rules[1].index
        self._flow((first, step.index), step.state, step.site)
        while True:
            op = self.program.instructions[index].op
            if op == RETURN:
                break
            if (index, step.index) in self.before:
                yield from self._step(index, step.index)
            index += 1
        state = self.before.pop((index, step.index), None)
        if state is None:
            return  # it fails in any case
        returned = self.program.resolve(index, step.index).operands
        if instruction.destination:
            state.registers[instruction.destination.index] = value_of(state, returned[0]) if returned else None
        self._flow((step.index + 1, -1), state, (index, step.index))


def value_of(state: State, operand: object) -> Value:
    """What an operand is, as far as it is known."""
    if isinstance(operand, Register):
        return state.registers.get(operand.index)
    return operand if isinstance(operand, int | str) else None


def _tell(state: State, value: Value, mask: Value, other: Value, equal: bool) -> None:
    """What is known when `value` and `other` are equal, or are not."""
    if not isinstance(value, Field):
        return
    if isinstance(other, Field):
        if not equal and value.call == other.call == "statx":
            if "root" in state.about(Fd(other.sites)):
                state.add(value.sites, "not the root")
            if "root" in state.about(Fd(value.sites)):
                state.add(other.sites, "not the root")
        return
    if not isinstance(other, int):
        return
    if value.call == "getcwd":
        if equal and other == ord("/"):
            state.learn("cwd inside")
    elif value.call == "fstatfs" and value.offset == 0:
        state.add(value.sites, f"{'' if equal else 'not '}magic {other:#x}")
    elif equal and value.call == "statx":
        if value.offset == linux.STATX_RDEV:
            state.add(value.sites, f"rdev {other & _MOST}:{other >> 32}")
        elif value.offset == linux.STATX_MODE and mask == linux.S_IFMT:
            state.add(value.sites, f"type {other:#o}")


def _execute(step: Step) -> None:
    instruction, state = step.instruction, step.state
    if instruction.op == SYSCALL:
        effect = EFFECTS.get(str(instruction.name))
        if instruction.destination:
            state.registers[instruction.destination.index] = None
        if effect:
            effect(step)
        return
    if instruction.op == STORE:
        at = instruction.operands[0]
        assert isinstance(at, Buffer)
        # Of less than eight bytes only numbers are asked for again.
        state.memory[at.offset] = step.values[1]
    elif instruction.op == LOAD:
        at = instruction.operands[0]
        assert isinstance(at, Buffer)
        assert instruction.destination
        state.registers[instruction.destination.index] = _loaded(state, at.offset)
    elif instruction.op == MOVE:
        assert instruction.destination
        state.registers[instruction.destination.index] = step.values[0]
    elif instruction.destination:
        state.registers[instruction.destination.index] = None


def _loaded(state: State, offset: int) -> Value:
    call, sites = state.filled
    if call:
        name, _, start = call.partition("@")
        if int(start) <= offset < int(start) + 4096:
            return Field(name, offset - int(start), sites)
    return state.memory.get(offset)


# --- what system calls change


def _opened(step: Step, *facts: str) -> None:
    state = step.state
    if step.instruction.destination:
        state.registers[step.instruction.destination.index] = Fd(frozenset((step.site,)))
    state.files[step.site] = frozenset(facts)
    state.open |= {step.site}
    state.swept = ()


def _whose(step: Step, directory: Value) -> str:
    """Whose a file is that is opened in this directory."""
    if directory == linux.AT_FDCWD:
        return IMAGE if step.state.knows("root inside") else HOST
    found = step.state.about(directory)
    return next((owner for owner in (IMAGE, OWN, HOST) if owner in found), HOST)


def _openat(step: Step) -> None:
    directory, path, flags = step.values[:3]
    facts = [_whose(step, directory)]
    if path == "/" and facts == [IMAGE]:
        facts.append("root")
    if isinstance(path, str) and path.startswith("/proc"):
        facts.append("by a path of /proc")
    if isinstance(flags, int) and flags & linux.O_NOFOLLOW and isinstance(path, str) and "/" not in path:
        facts += ["one step", "inside"]
    _opened(step, *facts)


def resolution(step: Step) -> int:
    """The RESOLVE_* bits of an openat2."""
    how = step.instruction.operands[2]
    return int.from_bytes(how[16:24], "little") if isinstance(how, bytes) else 0


def _openat2(step: Step) -> None:
    directory = step.values[0]
    about, resolve = step.state.about(directory), resolution(step)
    facts = [_whose(step, directory)]
    if resolve & linux.RESOLVE_IN_ROOT and "root" in about:
        facts.append("inside")
    if resolve & linux.RESOLVE_BENEATH and resolve & linux.RESOLVE_NO_SYMLINKS:
        facts += ["one step", "inside"]
    if resolve & linux.RESOLVE_NO_SYMLINKS:
        facts.append("no symlink")
    if resolve & linux.RESOLVE_BENEATH and resolve & linux.RESOLVE_NO_XDEV and is_procfs(about):
        facts.append("in a procfs")
    _opened(step, *facts)


def is_procfs(about: frozenset[str]) -> bool:
    """The descriptor is of a procfs: one of the program's own, or one that it has looked at."""
    return "fs proc" in about or f"magic {linux.PROC_SUPER_MAGIC:#x}" in about


def _open_tree(step: Step) -> None:
    directory, path = step.values[:2]
    about = step.state.about(directory)
    whose = _whose(step, directory)
    facts = {whose, *(fact for fact in about if fact.startswith(("rdev", "type", "magic", "fs ")))}
    # The root's own tree, when it is opened and when it is picked up again (plan/staging.py).
    if step.instruction.pointer.startswith("/root") and path in ("", "root"):
        facts = {IMAGE, "root"}
    _opened(step, *facts)


def _fsopen(step: Step) -> None:
    _opened(step, OWN, f"fs {step.values[0]}")


def _fsmount(step: Step) -> None:
    about = step.state.about(step.values[0])
    _opened(step, OWN, *(fact for fact in about if fact.startswith("fs ")))


def _file(step: Step) -> None:
    _opened(step, OWN)


def _setns(step: Step) -> None:
    flags = step.values[1]
    if not isinstance(flags, int):
        return
    if flags & CLONE_NEWPID:
        step.state.learn("children visible")
    # All of a container's at once, by init's pidfd: its root is ours then.
    if flags & CLONE_NEWNS and step.instruction.pointer == "/linux/namespaces":
        step.state.learn("root inside", "cwd inside")


def _fchdir(step: Step) -> None:
    about = step.state.about(step.values[0])
    step.state.forget("cwd inside", "cwd is the root")
    given = step.instruction.pointer == "/root/path" and isinstance(step.values[0], int)
    if "root" in about or given:
        step.state.learn("cwd is the root")


def _chroot(step: Step) -> None:
    if step.state.knows("cwd is the root"):
        step.state.learn("root inside", "cwd inside")


def _chdir(step: Step) -> None:
    if step.state.knows("root inside"):
        step.state.learn("cwd inside")


def _prctl(step: Step) -> None:
    option, value = step.values[:2]
    state = step.state
    if option == linux.PR_SET_DUMPABLE:
        (state.learn if value == 0 else state.forget)("not dumpable")
    elif option == linux.PR_SET_NO_NEW_PRIVS:
        state.learn("no new privileges")
    elif option == linux.PR_CAPBSET_DROP and isinstance(value, int):
        state.dropped |= {value}
    elif option == linux.PR_CAP_AMBIENT and value == linux.PR_CAP_AMBIENT_CLEAR_ALL:
        state.learn("ambient set cleared")


def _ids(step: Step) -> None:
    kind = "gid" if step.instruction.name == "setresgid" else "uid"
    value = step.values[0]
    known = {**dict(step.state.ids), kind: value if isinstance(value, int) else -1}
    step.state.ids = tuple(known.items())
    if kind == "uid":
        step.state.forget("not dumpable")


def _capset(step: Step) -> None:
    data = step.instruction.operands[1]
    if isinstance(data, bytes):
        words = [int.from_bytes(data[n : n + 4], "little") for n in range(0, 24, 4)]
        step.state.capset = words[0] | words[3] << 32, words[1] | words[4] << 32, words[2] | words[5] << 32


def _filter(step: Step) -> None:
    step.state.learn("filter")
    if step.instruction.destination:
        _opened(step, OWN)


def _close(step: Step) -> None:
    value = step.values[0]
    if isinstance(value, Fd):
        step.state.open -= value.sites  # whichever it is: no path has opened more than one of them
    elif isinstance(value, int):
        step.state.numbers -= {value}
        step.state.fixed -= {value}


def _close_range(step: Step) -> None:
    first, last, flags = step.values[:3]
    state = step.state
    if isinstance(first, Fd):
        state.open -= first.sites
        return
    if not isinstance(first, int) or not isinstance(last, int):
        return
    if flags == linux.CLOSE_RANGE_CLOEXEC:
        if last == _MOST:
            state.learn(f"from {first} on closed by execve")
        return
    state.numbers = frozenset(n for n in state.numbers if not first <= n <= last)
    state.fixed &= state.numbers
    state.swept = (*state.swept, (first, last))
    # Whatever the kernel has numbered is closed when each number is swept, or surely another's.
    unbounded = [low for low, high in state.swept if high == _MOST]
    if unbounded and all(
        number in state.fixed or any(low <= number <= high for low, high in state.swept)
        for number in range(3, min(unbounded))
    ):
        state.open = frozenset()


def _dup3(step: Step) -> None:
    number = step.values[1]
    if isinstance(number, int):
        step.state.numbers |= {number}
        step.state.fixed |= {number}


def _filled(step: Step) -> None:
    name = str(step.instruction.name)
    into = next((o for o in step.instruction.operands if isinstance(o, Buffer)), None)
    by_path = name == "statx" and step.values[1] != ""
    value = step.values[0]
    sites = value.sites if isinstance(value, Fd) and not by_path else frozenset()
    step.state.filled = (f"{name}@{into.offset}", sites) if into else ("", frozenset())


EFFECTS: dict[str, Effect] = {
    "openat": _openat,
    "openat2": _openat2,
    "open_tree": _open_tree,
    "fsopen": _fsopen,
    "fspick": _file,
    "fsmount": _fsmount,
    "socket": _file,
    "ioctl": lambda step: _file(step) if step.values[1] == linux.TIOCGPTPEER else None,
    "setns": _setns,
    "fchdir": _fchdir,
    "chdir": _chdir,
    "chroot": _chroot,
    "prctl": _prctl,
    "setresuid": _ids,
    "setresgid": _ids,
    "capset": _capset,
    "seccomp": _filter,
    "close": _close,
    "close_range": _close_range,
    "dup3": _dup3,
    "statx": _filled,
    "fstatfs": _filled,
    "getcwd": _filled,
}
