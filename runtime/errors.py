"""The tree of errors that reach a user. An error is a value; its text is made at the edge.

    Error                      what was asked, and why it could not be done
    ├── ConfigError            the config, or another document of the caller's, breaks rules
    ├── ExecutableError        args[0] is not there (127), or cannot be executed (126)
    ├── DoesNotExistError      no container of this name
    ├── NotRunningError        the container has no process any more
    ├── CgroupError            the host refused a cgroup operation
    │   └── InUseError         processes of others keep a cgroup from being removed
    └── UsageError             a command line that cannot be understood (cli/parse.py)

Two more never leave the runtime, which says what they mean: ProgramError, an instruction failed, and EndedError, the
executor ended in silence (machine/launch.py). spec/ knows nothing of the runtime and raises Invalid (spec/faults.py),
which is a ConfigError by the time that it reaches a user.

Callers see one line, because containerd and Podman show only the last line of a log:

    mount /dev/shm (/mounts/3/options/2): fsconfig size=64x: EINVAL (invalid argument), kernel says "tmpfs: Bad value
    for 'size'": use a number with k, m, g or %
"""

from __future__ import annotations

import posix
from errno import ENOENT, ENOTDIR, errorcode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.machine.program import Program
    from pyrun.spec.faults import Fault


_SHOWN = 20  # faults of a document in one line


class Error(Exception):
    """What was asked, and why it could not be done.

    what    -- what was asked: "mount /dev/shm"
    pointer -- JSON pointer of the part of the config that asked for it, or ""
    call    -- the system call that failed with its operands, or ""
    errno   -- its errno, or 0
    detail  -- the kernel's own words, or those of another program, or ""
    hint    -- what to do about it, or ""
    code    -- the exit status of a command that ends so (exec's is always 255)
    step    -- of a program, the instruction that failed, and the call that it belongs to (else -1); None: of no program
    """

    code = 1
    step: tuple[Program, int, int] | None = None

    def __init__(
        self,
        what: str,
        *,
        pointer: str = "",
        call: str = "",
        errno: int | None = 0,
        detail: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(what)
        self.what = what
        self.pointer = pointer
        self.call = call
        self.errno = errno or 0
        self.detail = detail
        self.hint = hint

    def fields(self) -> dict[str, str]:
        """Its parts, but for those that are empty: what the JSON log has beside the text. errno: by name. path: what
        the system call was about, where that is a path."""
        path = self.call.partition(" ")[2]
        found = {
            "pointer": self.pointer,
            "call": self.call,
            "errno": errorcode.get(self.errno, str(self.errno)) if self.errno else "",
            "path": path if path.startswith("/") else "",
            "detail": self.detail,
            "hint": self.hint,
        }
        return {name: one_line(value) for name, value in found.items() if value}

    def __str__(self) -> str:
        parts = [f"{self.what} ({self.pointer})" if self.pointer else self.what]
        if self.call:
            parts.append(self.call)
        if self.errno:
            reason = f"{errorcode.get(self.errno, self.errno)} ({strerror(self.errno)})"
            if self.detail:
                reason += f', kernel says "{self.detail}"'
            parts.append(reason)
        elif self.detail:
            parts.append(self.detail)
        if self.hint:
            parts.append(self.hint)
        return one_line(": ".join(parts))


class ConfigError(Error):
    """The config, or another document of the caller's, breaks rules: `faults` are all of them, in the order found."""

    def __init__(self, faults: list[Fault], what: str = "invalid config") -> None:
        self.faults = faults
        text = "; ".join(str(fault) for fault in faults[:_SHOWN])
        if len(faults) > _SHOWN:
            text += f"; and {len(faults) - _SHOWN} more, which `pyrun check` shows"
        super().__init__(f"{what}: {text}" if what else text)

    def fields(self) -> dict[str, str]:
        """The pointer and the hint of the first fault: the text has all."""
        found = {"pointer": self.faults[0].pointer, "hint": self.faults[0].hint} if self.faults else {}
        return {name: one_line(value) for name, value in found.items() if value}


class ExecutableError(Error):
    """The program of process.args is not there, or cannot be executed."""

    @property
    def status(self) -> int:
        """How shells and the managers above us report it: 127 for not found, 126 for found but not executable. Podman
        and Docker know which by the words of errno, "no such file or directory" or "permission denied", with which the
        text always comes."""
        return 127 if self.errno in (ENOENT, ENOTDIR) else 126


class DoesNotExistError(Error):
    """There is no such container. containerd and Podman look for these words."""

    def __init__(self) -> None:
        super().__init__("container does not exist")


class NotRunningError(Error):
    """The container has no process any more. containerd looks for these words."""

    def __init__(self) -> None:
        super().__init__("container not running")


class CgroupError(Error):
    """The host refused a cgroup operation."""


class InUseError(CgroupError):
    """A cgroup cannot be removed, since there are processes in it."""


def strerror(errno: int) -> str:
    """The C library's words for an errno, in lower case as Go's programs print them."""
    return posix.strerror(errno).lower()


def one_line(text: str) -> str:
    """`text` without line ends and control characters, which a log's reader would stumble over."""
    return "".join(c if c.isprintable() else " " for c in text.replace("\n", "; ")).rstrip("; ")
