"""linux.personality and linux.memoryPolicy: how the kernel runs the program (personality(2), set_mempolicy(2))."""

from __future__ import annotations

from pyrun.machine.program import Program
from pyrun.spec import ranges
from pyrun.spec.execution import DOMAINS, MODE_FLAGS, MODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import Linux


def set_up(p: Program, linux: Linux) -> None:
    """For the process that runs this, and what it executes."""
    personality = linux.get("personality")
    if personality:
        with p.at("/linux/personality"):
            p.call("personality", DOMAINS[personality["domain"]])
    policy = linux.get("memoryPolicy")
    if policy:
        with p.at("/linux/memoryPolicy"):
            mode = MODES[policy["mode"]] | sum({MODE_FLAGS[flag] for flag in policy.get("flags", [])})
            nodes = ranges.parse(policy.get("nodes", ""))
            if nodes:
                bits = sum(1 << node for node in set(nodes))
                size = (max(nodes) // 64 + 1) * 8
                # The kernel reads one bit less than it is told to.
                p.call("set_mempolicy", mode, bits.to_bytes(size, "little"), size * 8 + 1)
            else:
                p.call("set_mempolicy", mode, 0, 0)
