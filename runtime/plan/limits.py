"""process.rlimits (getrlimit(2)).

Without a user namespace init sets its own, as the last thing that it does as root: a low one (NOFILE, AS, FSIZE) would
hit the set-up. In a user namespace none could be raised (EPERM): there the half that stays on the host sets them from
outside, when init is ready.
"""

from __future__ import annotations

from _struct import Struct

from pyrun.runtime.executor.messages import LIMITS
from pyrun.spec.rlimits import RLIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.runtime.program import Operand, Program
    from pyrun.spec.config import Config

_RLIMIT64 = Struct("<QQ")
_INFINITY = 0xFFFFFFFFFFFFFFFF


def set_own(p: Program, config: Config) -> None:
    """Set the limits of the process that runs this."""
    _set(p, config, 0)


def serve(p: Program, config: Config, user: bool) -> None:
    """The host half: with a user namespace, wait to be told init's pid, and set its limits."""
    if user and config.get("process", {}).get("rlimits"):
        _set(p, config, p.await_(LIMITS))
        p.say(LIMITS)
    p.call("exit_group", 0)


def _set(p: Program, config: Config, pid: Operand) -> None:
    for i, rlimit in enumerate(config.get("process", {}).get("rlimits", [])):
        value = _RLIMIT64.pack(rlimit["soft"] & _INFINITY, rlimit["hard"] & _INFINITY)
        with p.source(f"/process/rlimits/{i}"):
            p.call("prlimit64", pid, RLIMITS[rlimit["type"]], value, 0, note=_HARD)


_HARD = "raising a hard limit takes CAP_SYS_RESOURCE"
