"""linux.personality and linux.memoryPolicy: how the kernel runs the program (personality(2), set_mempolicy(2))."""

from __future__ import annotations

from pyrun.machine.program import Program
from pyrun.spec import ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import Config

# linux/personality.h
DOMAINS = {"LINUX": 0, "LINUX32": 0x0008}

# linux/mempolicy.h
MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MODE_FLAGS = {
    "MPOL_F_STATIC_NODES": 1 << 15,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_NUMA_BALANCING": 1 << 13,
}


def set_up(p: Program, config: Config) -> None:
    linux = config.get("linux", {})
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
