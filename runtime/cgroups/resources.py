"""linux.resources → the writes that set it, for cgroup version 1 and version 2 (config-linux.md, "Control groups").

Pure. The order of the writes is the order in which they must happen. What a version can't do is a fault, never dropped
(MUST 80, 111); all else that can be wrong with the values the checks of spec/ have found before.
"""

from __future__ import annotations

from pyrun.cgroups.controller import POINTER, Wanted
from pyrun.cgroups.controllers import controllers
from pyrun.spec.faults import Fault, Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cgroups.controller import Resources, Write


def compile_writes(
    resources: Resources, *, v2: bool, pointer: str = POINTER, warnings: list[Fault] | None = None
) -> list[Write]:
    """The writes, on version 2 without device rules. Raises Invalid with every fault found.

    `pointer` is where `resources` stands in its document; `warnings` gets what a kernel takes without heeding it.
    """
    wanted = Wanted(resources, v2=v2, pointer=pointer)
    for controller in controllers(resources):
        (controller.v2 if v2 else controller.v1)(wanted)
    if wanted.faults:
        raise Invalid(wanted.faults)
    if warnings is not None:
        warnings += wanted.warnings
    return wanted.writes
