"""What a create would do, before anything is done."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, NamedTuple

from pyrun.container.bundle import CreateOptions
from pyrun.container.planned import Planned
from pyrun.machine.listing import executed
from pyrun.plan.summary import summary

if TYPE_CHECKING:
    from pyrun.caller import Caller
    from pyrun.plan.summary import Line
    from pyrun.spec.config import Config


class Step(NamedTuple):
    """what: a system call with its operands, or what is written to a cgroup. pointer: JSON pointer of the part of the
    config that asks for it, "" for what every container needs."""

    what: str
    pointer: str


class Plan:
    """The steps of a create, for one id on this host. `Bundle.plan` makes it; nothing is run, and no root is needed."""

    def __init__(self, config: Config, name: str, bundle: str, caller: Caller) -> None:
        self._planned = Planned(name, config, CreateOptions(bundle=bundle), caller)

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal: `create --expect-plan` refuses any other."""
        return self._planned.digest()

    def steps(self) -> list[Step]:
        """All of them, in order: what is done to the cgroup, then the program's instructions."""
        return [Step(*row) for row in (*self._planned.rows, *executed(self._planned.program))]

    def summary(self) -> list[Line]:
        """A line for each part of the config: its stage, pointer, what it becomes, and the system calls it takes."""
        return summary(self._planned.program, self._planned.config)

    def difference(self, other: Plan) -> list[str]:
        """What only one of the two does, as `plan --diff` says it: "- …" is done by this one, "+ …" by the other."""
        mine, its = ([f"{row.stage}: {row.pointer} {row.becomes}" for row in p.summary()] for p in (self, other))
        return [line for line in difflib.ndiff(mine, its) if line[0] in "+-"]
