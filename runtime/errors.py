"""The one error of the runtime: a value whose text is made at the edge.

Callers see one line, because containerd and Podman show only the last line of a log:

    mount /dev/shm (/mounts/3/options/2): fsconfig size=64x: EINVAL (invalid argument), kernel says "tmpfs: Bad value
    for 'size'": use a number with k, m, g or %
"""

from __future__ import annotations

import posix
from errno import errorcode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.faults import Fault


class Error(Exception):
    """What was asked (`what`), where in the config (`pointer`, a JSON pointer), what was `tried`, errno (`error`, 0 for
    none), the `words` of the kernel or of another program, a `hint`, and the process's exit `code`."""

    def __init__(
        self,
        what: str,
        *,
        pointer: str = "",
        tried: str = "",
        error: int | None = 0,
        words: str = "",
        hint: str = "",
        code: int = 1,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.pointer = pointer
        self.tried = tried
        self.error = error or 0
        self.words = words
        self.hint = hint
        self.code = code

    def __str__(self) -> str:
        parts = [f"{self.what} ({self.pointer})" if self.pointer else self.what]
        if self.tried:
            parts.append(self.tried)
        if self.error:
            # The words of strerror too, in lower case as Go prints them: podman's exit codes 126 and 127 hang on
            # "permission denied" and "no such file or directory".
            reason = f"{errorcode.get(self.error, self.error)} ({posix.strerror(self.error).lower()})"
            if self.words:
                reason += f', kernel says "{self.words}"'
            parts.append(reason)
        elif self.words:
            parts.append(self.words)
        if self.hint:
            parts.append(self.hint)
        return one_line(": ".join(parts))


def one_line(text: str) -> str:
    """`text` without line ends and control characters, which a log's reader would stumble over."""
    return "".join(c if c.isprintable() else " " for c in text.replace("\n", "; ")).rstrip("; ")


class DoesNotExistError(Error):
    """There is no such container. containerd and podman look for these words."""

    def __init__(self) -> None:
        super().__init__("container does not exist")


class NotRunningError(Error):
    """The container has no process any more. containerd looks for these words."""

    def __init__(self) -> None:
        super().__init__("container not running")


def from_faults(faults: list[Fault], what: str = "invalid config") -> Error:
    """All faults of a document in one line, in the order found."""
    text = "; ".join(str(f) for f in faults)
    return Error(f"{what}: {text}" if what else text)
