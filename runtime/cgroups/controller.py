"""What a controller of cgroups has to say, and what it says it with: `Wanted` collects the writes for linux.resources.

Each controller is a module in controllers/, all of them a list there. What none can do without is in the order of that
list: cpuset first, since no process can join before it is set.
"""

from __future__ import annotations

from pyrun.spec.faults import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pyrun.cgroups.properties import Properties
    from pyrun.cgroups.statistics import Figures

    Resources = dict[str, Any]
    Convert = Callable[[Any], str | None]
    """A value as the file takes it; None: it asks for nothing."""

POINTER = "/linux/resources"


class Controller:
    """Of one controller: what may be overridden. What isn't has nothing to say.

    hints       -- (file, errno) → what to advise: the kernel gives a bare number for causes that differ by the file
    annotations -- the properties of systemd that an annotation may set (systemd.resource-control(5)): name, D-Bus type,
                   the file of version 2 that it ends in, that of version 1 ("": it has none)
    decided_by  -- files that decide, or decide too, what another file says: an annotation for that one is contested
    """

    hints: dict[tuple[str, int], str] = {}
    annotations: tuple[tuple[str, str, str, str], ...] = ()
    decided_by: dict[str, str] = {}

    def v1(self, wanted: Wanted) -> None:
        """The writes for its part of linux.resources on cgroup version 1 (Documentation/admin-guide/cgroup-v1/)."""

    def v2(self, wanted: Wanted) -> None:
        """The same for version 2 (Documentation/admin-guide/cgroup-v2.rst)."""

    def properties(self, said: Properties) -> None:
        """What systemd can be told of them."""

    def statistics(self, figures: Figures) -> dict[str, Any]:
        """Its members of what `events --stats` prints, in runc's form."""
        return {}

    def lacks(self, wanted: Wanted) -> Iterator[Fault]:
        """What is asked of it that this host doesn't have: for `check --host`. Nothing is changed to find out."""
        return iter(())


class Write:
    """One write(2) into one file of the container's cgroup.

    pointer: JSON pointer of the property; controller: whose file it is ("" for cgroup.* of version 2); value: the text;
    optional: a missing or retired file is no error;
    pair: name of the file written next, if the kernel checks the two together and so may want the other order: when
    this write gets EINVAL, that one goes first;
    ceiling: name of a file with a number which must not be above value before the write ("": no check);
    otherwise: the write to do if the file is missing.
    """

    __slots__ = ("ceiling", "controller", "file", "optional", "otherwise", "pair", "pointer", "value")

    def __init__(
        self,
        pointer: str,
        controller: str,
        file: str,
        value: str,
        *,
        optional: bool = False,
        pair: str = "",
        ceiling: str = "",
        otherwise: Write | None = None,
    ) -> None:
        self.pointer = pointer
        self.controller = controller
        self.file = file
        self.value = value
        self.optional = optional
        self.pair = pair
        self.ceiling = ceiling
        self.otherwise = otherwise

    def __repr__(self) -> str:
        return f"Write({self.pointer}: {self.value!r} to {self.file})"


class Wanted:
    """A linux.resources, which the checks of spec/ have passed, while its writes are collected.

    pointer: where it stands in its document; v2: of the host; faults: what this host's cgroup version can't do;
    warnings: what a kernel takes without heeding it.
    """

    __slots__ = ("faults", "pointer", "resources", "v2", "warnings", "writes")

    def __init__(self, resources: Resources, *, v2: bool, pointer: str = POINTER) -> None:
        self.resources = resources
        self.v2 = v2
        self.pointer = pointer
        self.writes: list[Write] = []
        self.faults: list[Fault] = []
        self.warnings: list[Fault] = []

    def get(self, section: str, member: str) -> Any:
        """The value, None when it or its section is absent."""
        return (self.resources.get(section) or {}).get(member)

    def items(self, section: str, member: str) -> Iterator[tuple[str, Any]]:
        """(pointer below resources, entry) of an array."""
        for i, entry in enumerate(self.get(section, member) or ()):
            yield f"{section}/{member}/{i}", entry

    def put(
        self,
        section: str,
        member: str,
        controller: str,
        file: str,
        convert: Convert,
        *,
        optional: bool = False,
        pair: str = "",
    ) -> None:
        """A member that has a file of its own."""
        value = self.get(section, member)
        text = None if value is None else convert(value)
        if text is not None:
            self.write(f"{section}/{member}", controller, file, text, optional=optional, pair=pair)

    def write(
        self, where: str, controller: str, file: str, value: str, *, optional: bool = False, pair: str = ""
    ) -> Write:
        """Add a write; where: below the resources' pointer."""
        write = Write(f"{self.pointer}/{where}", controller, file, value, optional=optional, pair=pair)
        self.writes.append(write)
        return write

    def fault(self, where: str, problem: str, rule: str = "MUST 80", hint: str = "") -> Fault:
        """A fault, to be yielded or added."""
        return Fault(f"{self.pointer}/{where}", problem, rule, hint)

    def cannot(self, where: str, hint: str) -> None:
        """A property that this host's version doesn't have is an error, never dropped (MUST 80, 111)."""
        problem = f"can't be set: this host has cgroup version {2 if self.v2 else 1}"
        self.faults.append(self.fault(where, problem, "MUST 111", hint))


def nonzero(value: object) -> str | None:
    """0, and the empty text, is unset where it can't be meant: sizes, cpu.shares, quota, period, weights."""
    return str(value) if value else None


def nonzero_or_max(value: int) -> str | None:
    """The same, -1 being no limit."""
    return "max" if value == -1 else nonzero(value)


def flag(value: bool) -> str:
    """true is 1, false is 0."""
    return "1" if value else "0"
