"""A program that has ended by SIGSYS: for which system call, and what of the profile forbids that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrun.host.audit import forbidden_call
from pyrun.spec.seccomp import killing

if TYPE_CHECKING:
    from pyrun.spec.config import Config


def explained(pid: int, config: Config, since: float) -> str:
    """In words; pid: whose end it was; since: when it was not there yet, by CLOCK_MONOTONIC."""
    call = forbidden_call(pid, since)
    if not call:
        return "SIGSYS: a seccomp filter forbids a system call that it made; the kernel's log may say which (type=1326)"
    pointer = killing(config.get("linux", {}).get("seccomp"), call)
    whose = f"the seccomp profile ({pointer})" if pointer else "a seccomp filter of its own"
    return f"SIGSYS: {whose} forbids {call}"
