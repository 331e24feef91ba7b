"""linux.sysctl: which ones may be set is decided in spec/; here they are written."""

from __future__ import annotations

from pyrun.kernel.constants import (
    O_WRONLY,
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
)
from pyrun.machine.program import Program, Register
from pyrun.spec import sysctls
from pyrun.spec.faults import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import Config

# Within one procfs, by nothing but names: a mount or a symlink in the way is an error (CVE-2025-52881).
_STRICT = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS


def write(p: Program, proc: Register, config: Config) -> None:
    """Write each through `proc`, the runtime's own procfs, which shows the writer's namespaces."""
    for key, value in config.get("linux", {}).get("sysctl", {}).items():
        with p.at(f"/linux/sysctl/{escape(key)}"):
            file = p.openat2(proc, f"sys/{sysctls.path(key)}", O_WRONLY, _STRICT)
            with p.opened(file):
                p.write(file, value)
