"""The processes that come from here: whatever a command leaves becomes our child (PR_SET_CHILD_SUBREAPER), so that none
can get out of sight, and no other's is ever looked at."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from conformance.harness import libc

_PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 20  # seconds that the end of what has been killed may take; no longer than that a leftover is waited for
_PAUSE = 0.002


def adopt_orphans() -> None:
    """From now on."""
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(pid: int) -> set[int]:
    """Those of all of its threads."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found.update(map(int, task.read_text().split()))
        except OSError:
            continue
    return found


def below(pid: int) -> set[int]:
    """Its children, and theirs."""
    found = children(pid)
    return found.union(*map(below, found))


def reap(spared: set[int]) -> None:
    """What has ended: a pid namespace doesn't end before its dead are buried, those too whose parent is outside."""
    for pid in children(os.getpid()) - spared:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue


def settle(spared: set[int]) -> set[int]:
    """Reap what ends; returns what of ours goes on living, but for `spared`."""
    end = time.monotonic() + PATIENCE
    while left := below(os.getpid()) - spared:
        reap(spared)
        if time.monotonic() > end:
            return left
        time.sleep(_PAUSE)
    return set()


def end(pids: set[int]) -> None:
    """Kill them: they are ours, so that their numbers can't have come to be others'."""
    for pid in pids & below(os.getpid()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def describe(pid: int) -> str:
    """Its number, state and command line, for a report."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return f"{pid}, gone by now"
    return f"{pid} ({state}) {words[:100]}"


def name(pid: int) -> str:
    """Of its program, "" when it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() if is_well(pid) else ""
    except OSError:
        return ""


def is_well(pid: int) -> bool:
    """It lives, and nobody has stopped it."""
    return (_fields(pid) or ["gone"])[0] in "SRD"


def start_time(pid: int) -> str:
    """Field 22 of its stat (proc(5))."""
    fields = _fields(pid)
    return fields[19] if fields else ""


def _fields(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
