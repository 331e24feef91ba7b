"""One conversation with CRIU: a request, the notices on the way, and the answer (criu.org/RPC)."""

from __future__ import annotations

import array
import errno
import os
import re
import shutil
import signal
import socket
from typing import TYPE_CHECKING, Any

from pyrun.criu.messages import FEATURE_CHECK, NOTIFY, REQUEST, RESPONSE, VERSION
from pyrun.criu.protobuf import decode, encode
from pyrun.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    # A notice: its script's name, the pid with it (0: none), the descriptor with it (-1: none).
    Notice = Callable[[str, int, int], None]

_DIRECTORIES = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin:/usr/local/bin"
_LARGEST = 1 << 16
_CHECK_SECONDS = 20
# A line of CRIU's log: (seconds) [pid:] Error (file:line): words
_ERROR = re.compile(r"^(?:\(\d+\.\d+\)\s+)?(?:\d+: )?Error \([^)]*\): (.*)")
# What is the cause, and CRIU does not call an error: what comes of it is said after that, as one.
_CAUSE = re.compile(r"^(?:\(\d+\.\d+\)\s+)?(Can't connect to server .*)")


def find(path: str = "") -> str:
    """CRIU's executable. A manager may call us without PATH. Raises Error."""
    found = path or shutil.which("criu", path=_DIRECTORIES)
    if not found:
        raise Error("find CRIU", detail=f"criu not found in {_DIRECTORIES}", hint="install criu")
    return found


class Service:
    """CRIU as a child of ours, with our stdin and stdout. command: what is run. inherited: descriptors that it gets,
    from 4 on. staged: it is stage.py, which hands us its end. Raises Error."""

    def __init__(self, command: Sequence[str], inherited: Sequence[int] = (), *, staged: bool = False) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # What it says before it has a log, and of conversations that end: for us, not for the caller.
        self._stderr = os.memfd_create("stderr")
        fds = [0, 1, self._stderr, theirs.fileno(), *inherited]
        actions: list[Any] = []
        # First out of the way: a number may be both one that is wanted and one that is asked for.
        copies = [os.dup(fd) for fd in fds]
        high = max([*copies, len(fds)]) + 1
        actions += [(os.POSIX_SPAWN_DUP2, fd, high + i) for i, fd in enumerate(copies)]
        actions += [(os.POSIX_SPAWN_DUP2, high + i, i) for i in range(len(fds))]
        actions += [(os.POSIX_SPAWN_CLOSE, high + i) for i in range(len(fds))]
        try:
            self.pid = os.posix_spawn(command[0], list(command), _environment(), file_actions=actions)
        except OSError as e:
            self._socket.close()
            os.close(self._stderr)
            raise Error("run CRIU", call=f"execve {command[0]}", errno=e.errno) from None
        finally:
            for fd in copies:
                os.close(fd)
            theirs.close()
        self._ended = False
        self.said = ""  # once it has ended: the last line that it has written to its stderr
        if staged:
            self._take()

    def _take(self) -> None:
        raw, fd = self._heard()
        if fd < 0:
            self.end()
            raise Error("run CRIU", detail=raw.decode(errors="replace") or self.said or "it has ended")
        self._socket.close()
        self._socket = socket.socket(fileno=fd)

    def ask(
        self,
        request: Mapping[str, Any],
        notice: Notice = lambda script, pid, fd: None,
        wait: Callable[[int], object] = lambda fd: None,
    ) -> dict[str, Any]:
        """Send a request, let `notice` do what is asked for on the way, and return the response. What that raises ends
        the conversation. wait: is called with the socket before each word of CRIU's; what it raises ends CRIU. Raises
        Error when CRIU ends without an answer."""
        self._send(request)
        while True:
            try:
                wait(self._socket.fileno())
            except BaseException:
                os.kill(self.pid, signal.SIGKILL)  # a child of ours that has not been waited for
                raise
            response, fd = self._receive()
            if response.get("type") != NOTIFY:
                return response
            told = response.get("notify", {})
            try:
                notice(told.get("script", ""), told.get("pid", 0), fd)
            except BaseException:
                self._send({"type": NOTIFY, "notify_success": False})
                raise
            self._send({"type": NOTIFY, "notify_success": True})

    def _send(self, request: Mapping[str, Any]) -> None:
        try:
            self._socket.send(encode(request, REQUEST), socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has ended: that is heard next
        except OSError as e:
            raise Error("speak to CRIU", call="send", errno=e.errno) from None

    def _heard(self) -> tuple[bytes, int]:
        try:
            raw, ancillary, flags, _ = self._socket.recvmsg(_LARGEST, socket.CMSG_SPACE(4))
        except ConnectionResetError:
            return b"", -1  # it has ended, and has not heard all
        except OSError as e:
            raise Error("hear CRIU", call="recvmsg", errno=e.errno) from None
        fds = array.array("i")
        for _, _, data in ancillary:
            fds.frombytes(data)
        if flags & socket.MSG_TRUNC:
            raise Error("hear CRIU", detail="what it says is too long")
        return raw, fds[0] if fds else -1

    def _receive(self) -> tuple[dict[str, Any], int]:
        raw, fd = self._heard()
        if not raw:
            code = self.end()
            said = f": {self.said}" if self.said else ""
            raise Error("hear CRIU", detail=f"it has ended with status {code}, and without an answer{said}")
        try:
            return decode(raw, RESPONSE), fd
        except ValueError as e:
            raise Error("hear CRIU", detail=f"what it says can't be read: {e}") from None

    def end(self) -> int:
        """Let it go; returns its exit status, -N for signal N."""
        self._socket.close()
        if self._ended:
            return 0
        self._ended = True
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        lines = os.pread(self._stderr, _LARGEST, 0).decode(errors="replace").split("\n")
        self.said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        os.close(self._stderr)
        return code


def _environment() -> dict[str, str]:
    """It runs ip, iptables and tar."""
    return {"PATH": _DIRECTORIES}


def failure(what: str, response: Mapping[str, Any], log: str, said: str = "") -> Error:
    """The Error of a response that is no success: by the last thing that went wrong as CRIU's log has it. said: what it
    has said elsewhere."""
    told = _last(_CAUSE, log) or response.get("cr_errmsg", "").strip().split("\n")[-1] or last_error(log) or said
    words = _without_place(told)
    number = response.get("cr_errno", 0)
    if not words and number == errno.EBADRQC:
        return Error(what, detail="CRIU refuses the request", hint=f"is it too old for one of the options? see {log}")
    name = errno.errorcode.get(number, str(number))
    said = f"CRIU says: {words}" if words else "CRIU does not say why"
    return Error(what, detail=f"{said} ({name})" if number else said, hint=f"see {log}")


def _without_place(line: str) -> str:
    match = _ERROR.match(line)
    return match[1].strip() if match else line


def last_error(log: str) -> str:
    """The last error in one of CRIU's logs; "" when there is none."""
    return _last(_ERROR, log)


def _last(wanted: re.Pattern[str], log: str) -> str:
    found = ""
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            for line in file:
                if match := wanted.match(line):
                    found = match[1].strip()
    except OSError:
        return ""
    return found


def check(criu: str) -> str:
    """What this kernel lacks of what CRIU needs, by its own word; "" for nothing. It takes root. Raises Error."""
    import subprocess  # lazy: for doctor alone

    try:
        done = subprocess.run(
            [criu, "check"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_environment(),
            timeout=_CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Error("run CRIU", detail=f"`criu check` takes more than {_CHECK_SECONDS} s") from None
    except OSError as e:
        raise Error("run CRIU", call=f"execve {criu}", errno=e.errno) from None
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    errors = [_without_place(line) for line in lines if _ERROR.match(line)]
    return (errors or lines or [f"it ends with status {done.returncode}"])[-1].strip()


def version(criu: str) -> tuple[int, int, int]:
    """Its version. Raises Error."""
    service = Service([criu, "swrk", "3"])
    try:
        found = service.ask({"type": VERSION}).get("version", {})
    finally:
        service.end()
    return found.get("major_number", 0), found.get("minor_number", 0), found.get("sublevel", 0)


def has_feature(criu: str, name: str) -> bool:
    """mem_track or lazy_pages, which take a kernel that can. Raises Error."""
    service = Service([criu, "swrk", "3"])
    try:
        found = service.ask({"type": FEATURE_CHECK, "features": {name: True}})
    finally:
        service.end()
    return bool(found.get("success") and found.get("features", {}).get(name))
