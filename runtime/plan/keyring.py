"""A session keyring of the container's own: else it would hold the keys of whoever called us (keyctl(2))."""

from __future__ import annotations

from errno import ENOSYS, EPERM

from pyrun.kernel.constants import KEYCTL_JOIN_SESSION_KEYRING
from pyrun.machine.program import Program, Register
from pyrun.plan import labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import Process


def join(p: Program, container: str, proc: Register | None = None, process: Process | None = None) -> None:
    """`proc`: to label it by, where `process` has a SELinux label."""
    labels.of_keys(p, proc, process, True)
    # Without keyrings in the kernel, or where a seccomp profile around us hides them, there are no keys to leak.
    p.call("keyctl", KEYCTL_JOIN_SESSION_KEYRING, f"_ses.{container}", 0, 0, 0, ignore=(ENOSYS, EPERM))
    labels.of_keys(p, proc, process, False)
