"""On whose behalf the runtime acts."""

from __future__ import annotations

import posix

from pyrun.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Caller:
    """log: where messages go. environ: the caller's environment, which hooks without one of their own are given."""

    __slots__ = ("environ", "log")

    def __init__(self, log: Log | None = None, environ: Mapping[bytes, bytes] = posix.environ) -> None:
        self.log = log or Log()
        self.environ = environ

    def default_root(self) -> str:
        """Where containers are kept when --root doesn't say: as runc, but for the name."""
        directory = self.environ.get(b"XDG_RUNTIME_DIR")
        if directory and directory.startswith(b"/") and self._has_runtime_dir():
            return f"{directory.decode(errors='surrogateescape')}/pyrun"
        return "/run/pyrun"

    def cache(self, name: str) -> str:
        """The directory for what can be made again, kept from one container to the next, whatever --root says."""
        return f"{self.default_root()}.cache/{name}"

    def _has_runtime_dir(self) -> bool:
        """Not the machine's root: not even one that is root in a user namespace, unless it says that it is root
        there."""
        if posix.geteuid() != 0:
            return True
        from pyrun.kernel.privilege import nested  # lazy: only for root with XDG_RUNTIME_DIR

        return nested() and self.environ.get(b"USER") != b"root"
