"""What is known at one point of a program, whichever way led there."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

# Whose an open file is. OWN: a file system that the program has made itself, or one of the runtime's descriptors.
HOST, IMAGE, OWN = "the host's", "the image's", "the runtime's own"

Site: TypeAlias = "tuple[int, int]"
"""The instruction that opened a descriptor, and the call of the routine that it is in (-1: none). None runs twice."""


class Fd(NamedTuple):
    """A value: a descriptor that was opened at one of these sites."""

    sites: frozenset[Site]


class Field(NamedTuple):
    """A value: what `call` (statx, fstatfs, getcwd) has said at `offset` about the descriptor of these sites."""

    call: str
    offset: int
    sites: frozenset[Site]


# A value: what a system call that failed has returned, below zero. As a descriptor it is none: EBADF.
ERRNO = "an errno"

Value: TypeAlias = "Fd | Field | str | int | None"
"""None: it can be anything."""


class State:
    """What holds on every path to a point of a program (facts, files), and what may be so on one (open, numbers).

    facts      of the process
    files      of each descriptor: whose it is, and what has been looked at
    registers  what each holds; memory the same, by the offset in the program's data
    open       sites of the descriptors that may be open, by numbers that the kernel has chosen
    numbers    of those that the layout has fixed, which may be open; fixed: which are
    swept      numbers that have been closed since the last descriptor was opened, as intervals
    capset     what was asked for last: effective, permitted, inheritable; None: nothing yet
    dropped    capabilities that are in no bounding set
    ids        user and group, as set last
    filled     what the kernel has written to the scratch memory
    """

    __slots__ = (
        "capset", "dropped", "facts", "files", "filled", "fixed",
        "ids", "memory", "numbers", "open", "registers", "swept",
    )  # fmt: skip

    def __init__(self, numbers: frozenset[int] = frozenset()) -> None:
        self.facts: frozenset[str] = frozenset()
        self.files: dict[Site, frozenset[str]] = {}
        self.registers: dict[int, Value] = {}
        self.memory: dict[int, Value] = {}
        self.open: frozenset[Site] = frozenset()
        self.numbers = self.fixed = numbers
        self.swept: tuple[tuple[int, int], ...] = ()
        self.capset: tuple[int, int, int] | None = None
        self.dropped: frozenset[int] = frozenset()
        self.ids: tuple[tuple[str, int], ...] = ()
        self.filled: tuple[str, frozenset[Site]] = ("", frozenset())

    def copy(self) -> State:
        """One that can be changed by itself."""
        found = State()
        for name in State.__slots__:
            value = getattr(self, name)
            setattr(found, name, dict(value) if isinstance(value, dict) else value)
        return found

    def knows(self, *facts: str) -> bool:
        """All of them hold."""
        return self.facts.issuperset(facts)

    def learn(self, *facts: str) -> None:
        """They hold from here on."""
        self.facts |= frozenset(facts)

    def forget(self, *facts: str) -> None:
        """They need not hold any more."""
        self.facts -= frozenset(facts)

    def about(self, value: Value) -> frozenset[str]:
        """What is known of the descriptor that a value is; nothing for what is none."""
        if not isinstance(value, Fd) or not value.sites:
            return frozenset()
        return frozenset.intersection(*(self.files.get(site, frozenset()) for site in value.sites))

    def add(self, sites: frozenset[Site], *facts: str) -> None:
        """Note facts of the descriptor of these sites."""
        for site in sites:
            self.files[site] = self.files.get(site, frozenset()) | frozenset(facts)


def join(one: State, other: State) -> State:
    """Where two paths meet."""
    found = State(one.numbers | other.numbers)
    found.fixed = one.fixed & other.fixed
    found.facts = one.facts & other.facts
    found.files = {
        site: one.files[site] & other.files[site] if site in one.files and site in other.files else facts
        for site, facts in {**one.files, **other.files}.items()
    }
    found.registers = _values(one.registers, other.registers)
    found.memory = _values(one.memory, other.memory)
    found.open = one.open | other.open
    found.swept = one.swept if one.swept == other.swept else ()
    found.capset = _both(one.capset, other.capset)
    found.dropped = one.dropped & other.dropped
    found.ids = one.ids if one.ids == other.ids else ()
    found.filled = one.filled if one.filled == other.filled else ("", frozenset())
    return found


def _both(one: tuple[int, int, int] | None, other: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    """As many capabilities as either has."""
    if one is None or other is None:
        return None
    return one[0] | other[0], one[1] | other[1], one[2] | other[2]


def _values(one: dict[int, Value], other: dict[int, Value]) -> dict[int, Value]:
    found: dict[int, Value] = {}
    for at in one.keys() & other.keys():
        here, there = one[at], other[at]
        if here == there:
            found[at] = here
        elif isinstance(here, Fd) and isinstance(there, Fd):
            found[at] = Fd(here.sites | there.sites)
        elif ERRNO in (here, there) and isinstance(fd := here if there == ERRNO else there, Fd):
            found[at] = fd
    return found
