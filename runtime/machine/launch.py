"""Start the executor on a program, and talk to it.

The executor and its program are memory files, so nothing in a container ever refers to a file of the host
(CVE-2019-5736): /proc/self/exe is a sealed copy which nobody can write.
"""

from __future__ import annotations

import fcntl
import posix
from _socket import AF_UNIX, CMSG_SPACE, MSG_CMSG_CLOEXEC, SHUT_WR, SOCK_SEQPACKET, socketpair
from _struct import Struct
from errno import EACCES, EINVAL, ENOENT

from pyrun.errors import Error
from pyrun.kernel.files import close, write_all
from pyrun.kernel.process import reap
from pyrun.kernel.signals import CHANGEABLE
from pyrun.machine.program import ERROR, NO_FD, Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Sequence

    from pyrun.caller import Caller

_MESSAGE = Struct("<IIq")
_ROOM = 1024
_MFD_CLOEXEC, _MFD_ALLOW_SEALING, _MFD_EXEC = 1, 2, 0x10
_F_ADD_SEALS = 1033
# SEAL, SHRINK, GROW, and FUTURE_WRITE: as good as WRITE where nobody has it mapped, and WRITE waits for all CPUs.
_F_SEAL_ALL = 0x17

PROGRAM_FD = 3
FIRST_FD = 4


class ProgramError(Exception):
    """An instruction failed: which, in a routine by which call (else -1), with what errno, and what the kernel's log
    said ("" mostly)."""

    def __init__(self, index: int, caller: int, errno: int, detail: str) -> None:
        super().__init__(index, caller, errno, detail)
        self.index = index
        self.caller = caller
        self.errno = errno
        self.detail = detail


class EndedError(Exception):
    """The process at the other end of a control socket has ended without a word."""


def parse_message(raw: bytes) -> tuple[int, int, int, str]:
    """(code, instruction, value, the kernel's words) of one message."""
    code, index, value = _MESSAGE.unpack_from(raw)
    # The log's lines read "e tmpfs: Bad value for 'size'"; the last one is the one that failed.
    lines = [line[2:] if line[1:2] == " " else line for line in raw[16:].decode("utf-8", "replace").splitlines()]
    return code, index, value, lines[-1].strip() if lines else ""


def _executor_path() -> str:
    return f"{__file__.rpartition('/')[0]}/executor"


def _sealed_copy() -> int:
    """A file descriptor of a copy of the executor that can't be written to.

    Raises Error when the executor isn't built or no such copy can be made."""
    try:
        source = posix.open(_executor_path(), posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError as e:
        hint = "run make" if e.errno == ENOENT else ""
        raise Error("start the executor", call=f"open {_executor_path()}", errno=e.errno, hint=hint) from None
    try:
        try:
            copy = posix.memfd_create("pyrun", _MFD_CLOEXEC | _MFD_ALLOW_SEALING | _MFD_EXEC)
        except OSError as e:
            if e.errno == EACCES:  # vm.memfd_noexec=2 refuses every executable memfd
                return _unlinked_copy(source)
            if e.errno != EINVAL:  # before Linux 6.3 there is no MFD_EXEC, and no need for it
                raise
            copy = posix.memfd_create("pyrun", _MFD_CLOEXEC | _MFD_ALLOW_SEALING)
        while posix.sendfile(copy, source, None, 1 << 20):
            pass
    finally:
        close(source)
    fcntl.fcntl(copy, _F_ADD_SEALS, _F_SEAL_ALL)
    return copy


def _unlinked_copy(source: int) -> int:
    """The same without memfd: a private file, opened for reading only, whose name is gone."""
    path = f"/tmp/.pyrun-{posix.getpid()}"
    writable = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o500)
    try:
        while posix.sendfile(writable, source, None, 1 << 20):
            pass
        return posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    finally:
        close(writable)
        posix.unlink(path)


def _password() -> int:
    """What lets the executor's own calls through the container's seccomp filter: nobody inside can guess it."""
    return int.from_bytes(posix.urandom(8), "little")


def _program_file(program: bytes) -> int:
    fd = posix.memfd_create("program", _MFD_CLOEXEC | _MFD_ALLOW_SEALING)
    write_all(fd, program)
    fcntl.fcntl(fd, _F_ADD_SEALS, _F_SEAL_ALL)
    return fd


class Executor:
    """One running program.

    `host` is the control socket of the half that stays on the host, `init` that of the half inside: they are not in
    step, so whoever waits says for whom. `fds` are the descriptors of the names of `layout`, in that order. `caller`
    may interrupt what is waited for. `what` the program makes is what a trace calls it. `stdio`: what it gets for 0, 1
    and 2, in place of the caller's.
    """

    __slots__ = ("caller", "host", "init", "pid", "program")

    def __init__(
        self, program: Program, layout: Layout, fds: list[int], caller: Caller, what: str, stdio: Sequence[int] = ()
    ) -> None:
        program.link()
        self.caller = caller
        self.program = program
        self.host, host_end = socketpair(AF_UNIX, SOCK_SEQPACKET)
        self.init, init_end = socketpair(AF_UNIX, SOCK_SEQPACKET)
        trace = caller.log.trace
        opened = []
        try:
            targets = [
                (host_end.fileno(), layout.host),
                (init_end.fileno(), layout.init),
                *zip(fds, range(layout.init + 1, layout.end), strict=False),
                *zip(stdio, range(3), strict=False),
            ]
            if trace:
                from pyrun.machine import steps  # lazy: only with --trace

                targets.append((trace.program(what, program, steps.size(program)), layout.end))
            image = _program_file(program.encode(layout.host, layout.end if trace else NO_FD, password=_password()))
            opened.append(image)
            targets.append((image, PROGRAM_FD))
            executable = _sealed_copy()
            opened.append(executable)
            actions = []
            # posix_spawn makes its copies in order: a source within the target range could be overwritten before
            # its turn, so every source is first moved above it.
            for source, target in targets:
                above = fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, layout.end + 1)
                opened.append(above)
                actions.append((posix.POSIX_SPAWN_DUP2, above, target))
            above = fcntl.fcntl(executable, fcntl.F_DUPFD_CLOEXEC, layout.end + 1)
            opened.append(above)
            path = f"/proc/self/fd/{above}"
            try:
                self.pid = posix.posix_spawn(
                    path, ["pyrun:executor"], {}, file_actions=actions, setsigmask=(), setsigdef=CHANGEABLE
                )
            except OSError as e:
                raise Error("start the executor", call=f"execve {path}", errno=e.errno) from None
        finally:
            # Every copy of the other ends must go, or the end of the executor would never be seen.
            for fd in (host_end.detach(), init_end.detach(), *opened):
                close(fd)

    def tell(self, whom: socket, code: int, value: int = 0, text: bytes = b"") -> None:
        """Send (code, value). An end that is gone is noticed by the next `expect`. Raises OSError."""
        try:
            whom.send(_MESSAGE.pack(code, 0, value) + text)
        except (BrokenPipeError, ConnectionResetError):
            return

    def expect(self, whom: socket, code: int) -> tuple[int, int]:
        """Wait until that half says `code`; returns its value, and the descriptor that came with it or -1.

        Raises ProgramError when one of its instructions failed, EndedError when it ended in silence, Interrupt."""
        while True:
            self.caller.wait_for(whom.fileno())
            try:
                raw, ancillary, _, _ = whom.recvmsg(_ROOM, CMSG_SPACE(4), MSG_CMSG_CLOEXEC)
            except ConnectionResetError:
                # It ended without having read all that it was told; told once, this hides no more what it has said.
                continue
            if not raw:
                raise EndedError
            said, index, value, words = parse_message(raw)
            if said == ERROR:
                caller, errno = (value >> 32) - 1, value & 0xFFFFFFFF
                if not (
                    index < len(self.program.instructions) and -1 <= caller < self.program.main and 0 < errno < 4096
                ):
                    raise EndedError  # nothing that the executor says: it isn't to be believed
                raise ProgramError(index, caller, errno, words)
            if said == code:
                return value, int.from_bytes(ancillary[0][2][:4], "little") if ancillary else -1

    def hang_up(self) -> None:
        """Say no more: whatever waits for us hears the end of file, and ends. What it says still comes."""
        for end in (self.host, self.init):
            try:
                end.shutdown(SHUT_WR)
            except OSError:  # it has ended already
                continue

    def let_go(self) -> None:
        """End the dialogue: whatever of the program still waits for us ends."""
        for end in (self.host, self.init):
            close(end.detach())

    def close(self) -> int | None:
        """The same, and reap the half on the host; returns its wait status."""
        self.let_go()
        return reap(self.pid)


def execute(program: Program, caller: Caller, what: str, where: str) -> None:
    """Run a program of the host's that says nothing, to its end. Raises Error: `what` failed, by a system call on
    `where`."""
    executor = Executor(program, Layout([]), [], caller, what)
    try:
        executor.expect(executor.host, -1)
    except EndedError:
        return
    except ProgramError as e:
        call = f"{program.resolve(e.index, e.caller).name} {where}"
        raise Error(what, call=call, errno=e.errno) from None
    finally:
        executor.close()


class Layout:
    """Which number each descriptor has in the executor: control sockets first, then the caller's `names` in order.

    With `preserve`, the numbers 3 … 3+preserve-1 are kept free: they are the container's at the end."""

    __slots__ = ("end", "host", "init", "numbers")

    def __init__(self, names: list[str], preserve: int = 0) -> None:
        self.host = max(FIRST_FD, 3 + preserve)
        self.init = self.host + 1
        self.numbers = {name: self.init + 1 + i for i, name in enumerate(names)}
        self.end = self.init + 1 + len(names)

    def __getitem__(self, name: str) -> int:
        return self.numbers[name]
