"""Processes: known by more than a number that may be given to another (proc(5), pidfd_open(2))."""

from __future__ import annotations

import posix

from pyrun.kernel.files import read_bytes
from pyrun.kernel.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.caller import Caller

_PF_FORKNOEXEC = 0x40
# What is read of a process that has ended says so. Any other failure (EMFILE, ENOMEM, EIO) must not be taken for that.
_GONE = (FileNotFoundError, ProcessLookupError)


def start_time(pid: int) -> int:
    """When the process began, in clock ticks after boot (proc(5), stat field 22); 0 when it has ended or is a zombie.

    With it a pid is known again although its number may have been given to another process since."""
    try:
        stat = read_bytes(f"/proc/{pid}/stat")
    except _GONE:
        return 0
    # The second field is a name in parentheses, which may hold anything.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return 0 if fields[0] in (b"Z", b"X", b"x") else int(fields[19])


def child_pids(pid: int) -> list[int]:
    """The children of a process of one thread (proc(5), task/TID/children); none, when it has ended. Of our own the
    numbers are theirs until we have waited for them."""
    try:
        return [*map(int, read_bytes(f"/proc/{pid}/task/{pid}/children").split())]
    except _GONE:
        return []


def children(pid: int) -> list[int]:
    """Pidfds of the children of another process of one thread, those that can be known."""
    found = []
    for number in child_pids(pid):
        try:
            pidfd = posix.pidfd_open(number)
        except OSError:
            continue
        # Asked after it is open: then the number is still this one's.
        if parent(number) == pid:
            found.append(pidfd)
        else:
            posix.close(pidfd)
    return found


def parent(pid: int) -> int:
    """The process's parent (proc(5), stat field 4); 0 when it has none that can be seen, or has ended."""
    try:
        stat = read_bytes(f"/proc/{pid}/stat")
    except _GONE:
        return 0
    return int(stat[stat.rindex(b")") + 2 :].split()[1])


def tracer(pid: int) -> int:
    """Who traces the process (ptrace(2); proc(5), TracerPid in status); 0 for nobody, or when it has ended."""
    try:
        status = read_bytes(f"/proc/{pid}/status")
    except _GONE:
        return 0
    return int(status.partition(b"\nTracerPid:")[2].split(maxsplit=1)[0])


def is_there(pid: int) -> bool:
    """There is a process, or a zombie, of this number (kill(2), signal 0)."""
    try:
        posix.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def has_executed(pid: int) -> bool:
    """The process has called execve(2) since it was forked: PF_FORKNOEXEC of the kernel is not set (proc(5), stat field
    9; include/linux/sched.h). True for one that is gone, of which nothing can be known."""
    try:
        stat = read_bytes(f"/proc/{pid}/stat")
    except _GONE:
        return True
    return not int(stat[stat.rindex(b")") + 2 :].split()[6]) & _PF_FORKNOEXEC


def is_child(pid: int) -> bool:
    """The process is a child of ours that has not been waited for (waitid(2))."""
    try:
        posix.waitid(posix.P_PID, pid, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT)
    except (ChildProcessError, OverflowError):
        return False
    return True


def reap(pid: int) -> int | None:
    """Wait for a child to end: its wait status, or None when it isn't ours (any more)."""
    try:
        return posix.waitpid(pid, 0)[1]
    except ChildProcessError:
        return None


def end_child(pid: int) -> int | None:
    """Kill a child of ours (0: none), with the process group that it may lead, and wait for it; its wait status, or
    None when there is none to be waited for.

    With its group, for it may have become a program that has children, and we not have heard of its execve yet."""
    if not pid or not is_child(pid):
        return None
    posix.kill(pid, SIGKILL)  # ours, and not waited for: nobody else has its number, nor its group's
    try:
        posix.kill(-pid, SIGKILL)
    except ProcessLookupError:
        pass  # it leads none
    return reap(pid)


def await_child(pid: int, caller: Caller) -> int:
    """Wait for a child of ours to end: its wait status. It does not outlive an Interrupt, which is raised."""
    pidfd = posix.pidfd_open(pid)
    try:
        caller.wait_for(pidfd)
    except BaseException:
        posix.kill(pid, SIGKILL)
        raise
    finally:
        posix.close(pidfd)
        status = posix.waitpid(pid, 0)[1]
    return status


def has_ended(pidfd: int, seconds: float) -> bool:
    """Wait for the process to end, at most so long."""
    import select  # lazy: `state` waits for nobody

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
