"""Run OCI hooks: state on stdin, a timeout, and what a failing one said.

A hook is a process group of its own, so that a timeout ends what it started too. What it writes is read through one
pipe and only shown when it fails.
"""

from __future__ import annotations

import posix
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun.spec.config import Hook

    # Starts the hook's program: (hook, stdin, stdout, stderr) -> pid
    Spawn = Callable[[Hook, int, int, int], int]
    # poll(2): (descriptors, seconds at most) -> {descriptor: events}
    Wait = Callable[[select.poll, float | None], dict[int, int]]

_OUTPUT = 8192
_SIGKILL = 9


class HookError(Exception):
    """A hook that could not be run or that failed. path: the hook's program; detail: why, on one line; call: the system
    call that failed, and errno: what it said."""

    def __init__(self, path: str, detail: str = "", *, call: str = "", errno: int | None = 0) -> None:
        super().__init__(path, detail or call)
        self.path = path
        self.detail = detail
        self.call = call
        self.errno = errno or 0


def run(hook: Hook, state: bytes, start: Spawn, wait: Wait, files: tuple[str, str] = ("", "")) -> str:
    """Run one hook to its end. files: what gets its stdout and its stderr, "": they are kept, and their end is
    returned. Raises HookError when it can't be run, fails, or takes longer than its timeout; and what `wait` raises:
    the hook is killed then."""
    read_state, write_state = posix.pipe2(posix.O_CLOEXEC)
    read_output, write_output = posix.pipe2(posix.O_CLOEXEC)
    try:
        opened = [read_state, write_output]
        try:
            targets = []
            for file in files:
                targets.append(_open(file, hook) if file else write_output)
                opened += targets[-1:] if file else []
            pid = start(hook, read_state, *targets)
        finally:
            for fd in opened:
                posix.close(fd)
        deadline = time.monotonic() + hook["timeout"] if "timeout" in hook else None
        try:
            output, timed_out = _talk(pid, write_state, state, read_output, deadline, wait)
        except BaseException:
            # It must not outlive whoever would have listened to it. Nor may it stay unreaped: until it is gone, a pid
            # namespace that it is in doesn't end, and neither does that one's init.
            _kill(pid)
            posix.waitpid(pid, 0)
            raise
        status = posix.waitstatus_to_exitcode(posix.waitpid(pid, 0)[1])
    finally:
        posix.close(read_output)
        posix.close(write_state)
    said = output.decode(errors="replace").strip()
    if timed_out:
        raise HookError(hook["path"], f"took longer than its timeout of {hook['timeout']} s and was killed")
    if status:
        how = f"exit status {status}" if status > 0 else f"killed by signal {-status}"
        raise HookError(hook["path"], f'{how}, output "{said}"' if said else how)
    return said


def _talk(pid: int, stdin: int, state: bytes, output: int, deadline: float | None, wait: Wait) -> tuple[bytes, bool]:
    """Feed the hook and listen to it until it ends: (what it said, whether its time ran out).

    A hook may leave a child that keeps the pipe open, so its end is known by its pidfd, not by the end of file."""
    pidfd = posix.pidfd_open(pid)
    said = b""
    timed_out = False
    posix.set_blocking(stdin, False)
    posix.set_blocking(output, False)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(output, select.POLLIN)
    poll.register(stdin, select.POLLOUT)
    ended = False
    listening = True
    try:
        while not ended:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            events = wait(poll, left)
            if not events:
                timed_out = True
                _kill(pid)
                break
            ended = pidfd in events
            if stdin in events:
                try:
                    state = state[posix.write(stdin, state) :]
                except BrokenPipeError:
                    state = b""  # it doesn't care about its state
                if not state:
                    poll.unregister(stdin)
                    _end_of_file(stdin)
            while listening and (output in events or ended):
                chunk = _read(output)
                if not chunk:
                    if chunk is None:
                        poll.unregister(output)
                        listening = False
                    break
                said = (said + chunk)[-_OUTPUT:]
    finally:
        posix.close(pidfd)
    return said, timed_out


def _open(file: str, hook: Hook) -> int:
    try:
        return posix.open(file, posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_CLOEXEC, 0o600)
    except OSError as e:
        raise HookError(hook["path"], call=f"open {file}", errno=e.errno) from None


def _kill(pid: int) -> None:
    """The hook, which is not reaped yet, and what it started."""
    try:
        posix.kill(-pid, _SIGKILL)
    except ProcessLookupError:  # it has not come to be a group of its own
        posix.kill(pid, _SIGKILL)


def _end_of_file(pipe: int) -> None:
    """Close the pipe's end, but keep the number: it is closed for good with the others."""
    null = posix.open("/dev/null", posix.O_RDONLY | posix.O_CLOEXEC)
    posix.dup2(null, pipe, inheritable=False)
    posix.close(null)


def _read(fd: int) -> bytes | None:
    """What can be read now; None at the end of file."""
    try:
        return posix.read(fd, _OUTPUT) or None
    except BlockingIOError:
        return b""
