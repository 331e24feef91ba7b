"""On whose behalf the runtime acts, and who may interrupt it."""

from __future__ import annotations

import posix
import select
import time

from pyrun.errors import Error
from pyrun.kernel.files import exists
from pyrun.kernel.process import has_executed
from pyrun.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from pyrun.kernel.signals import Pending

    # poll(2): descriptor -> events
    Ready: TypeAlias = "dict[int, int]"


class Interrupt(BaseException):
    """A signal asks to end: what is half-made is undone on the way out. Raised by `Caller.wait` only."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Caller:
    """log: where messages go. environ: the caller's environment, which hooks without one of their own are given.
    signals: those that may interrupt what waits; None in a library, whose program has signals of its own."""

    __slots__ = ("environ", "log", "signals")

    def __init__(
        self,
        log: Log | None = None,
        environ: Mapping[bytes, bytes] = posix.environ,
        signals: Pending | None = None,
    ) -> None:
        self.log = log or Log()
        self.environ = environ
        self.signals = signals

    def wait(self, poll: select.poll, seconds: float | None = None) -> Ready:
        """poll(2), at most so long: what waits for others waits here, and nowhere else is it interrupted. Raises
        Interrupt, and then nothing has been taken from the descriptors."""
        signals = self.signals
        end = None if seconds is None else time.monotonic() + seconds
        if signals and signals.interruptible:
            poll.register(signals.fd, select.POLLIN)
        while True:
            ready = dict(poll.poll(None if end is None else max(0.0, end - time.monotonic()) * 1000))
            if not signals or not signals.interruptible or signals.fd not in ready:
                return ready
            if number := signals.take_ending():
                raise Interrupt(number)
            del ready[signals.fd]
            if ready:
                return ready

    def keep_for(self, pid: int) -> bool:
        """After an Interrupt: process `pid` has executed its program, and the signal is kept for whoever hands on what
        comes; waits may be interrupted again. For who has seen the program at work means the program, even if we have
        not heard of its execve yet. False: it has not, and the signal is meant for us."""
        if not (self.signals and pid and has_executed(pid)):
            return False
        self.signals.interruptible = True
        return True

    def wait_for(self, *fds: int, seconds: float | None = None) -> Ready:
        """The same, until one of the descriptors is readable or has hung up."""
        poll = select.poll()
        for fd in fds:
            poll.register(fd, select.POLLIN)
        return self.wait(poll, seconds)

    def default_root(self) -> str:
        """Where containers are kept when --root doesn't say: as runc, but for the name."""
        directory = self.environ.get(b"XDG_RUNTIME_DIR")
        if directory and directory.startswith(b"/") and self._has_runtime_dir():
            return f"{directory.decode(errors='surrogateescape')}/pyrun"
        if uid := posix.geteuid():
            return self._home_of(uid)
        return "/run/pyrun"

    def _home_of(self, uid: int) -> str:
        """Where somebody without XDG_RUNTIME_DIR keeps containers, who may not write to /run: as the basedir
        specification has it. Raises Error."""
        if exists(f"/run/user/{uid}"):
            return f"/run/user/{uid}/pyrun"
        home = self.environ.get(b"HOME", b"").decode(errors="surrogateescape")
        if not home.startswith("/"):
            hint = "choose a --root, or set XDG_RUNTIME_DIR or HOME"
            raise Error("find a directory for the containers' states", detail=f"uid {uid} has none", hint=hint)
        return f"{home.rstrip('/')}/.local/state/pyrun"

    def cache(self, name: str) -> str:
        """The directory for what can be made again, kept from one container to the next, whatever --root says; "" where
        there is none."""
        try:
            return f"{self.default_root()}.cache/{name}"
        except Error:
            return ""

    def _has_runtime_dir(self) -> bool:
        """Not the machine's root: not even one that is root in a user namespace, unless it says that it is root
        there."""
        if posix.geteuid() != 0:
            return True
        from pyrun.kernel.privilege import nested  # lazy: only for root with XDG_RUNTIME_DIR

        return nested() and self.environ.get(b"USER") != b"root"
