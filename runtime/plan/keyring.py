"""A session keyring of the container's own: else it would hold the keys of whoever called us (keyctl(2))."""

from __future__ import annotations

from errno import ENOSYS, EPERM

from pyrun.runtime.linux import KEYCTL_JOIN_SESSION_KEYRING
from pyrun.runtime.program import Program


def join(p: Program, container: str) -> None:
    # Without keyrings in the kernel, or where a seccomp profile around us hides them, there are no keys to leak.
    without = p.label()
    name = f"_ses.{container}"
    p.call("keyctl", KEYCTL_JOIN_SESSION_KEYRING, name, 0, 0, 0, errors={ENOSYS: without, EPERM: without})
    p.place(without)
