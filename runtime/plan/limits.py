"""process.rlimits (getrlimit(2)): set by the half of the program that stays on the host.

From inside, a limit can't be raised in a user namespace (EPERM), and a low one (NOFILE, AS, FSIZE) would hit the set-up
itself; so they are set on init from outside when all else is done.
"""

from __future__ import annotations

from _struct import Struct

from pyrun.runtime.executor.messages import LIMITS
from pyrun.runtime.program import Program
from pyrun.spec.rlimits import RLIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import Config

_RLIMIT64 = Struct("<QQ")
_INFINITY = 0xFFFFFFFFFFFFFFFF


def serve(p: Program, config: Config) -> None:
    """Wait to be told init's pid, and set its limits."""
    rlimits = config.get("process", {}).get("rlimits", [])
    if rlimits:
        pid = p.await_(LIMITS)
        for i, rlimit in enumerate(rlimits):
            value = _RLIMIT64.pack(rlimit["soft"] & _INFINITY, rlimit["hard"] & _INFINITY)
            with p.source(f"/process/rlimits/{i}"):
                p.call("prlimit64", pid, RLIMITS[rlimit["type"]], value, 0, note=_HARD)
        p.say(LIMITS)
    p.call("exit_group", 0)


_HARD = "raising a hard limit takes CAP_SYS_RESOURCE"
