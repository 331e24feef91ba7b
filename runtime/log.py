"""--log, --log-format, --log-level, --debug: a line a message, shaped as runc's, which containerd and podman parse."""

from __future__ import annotations

import posix
import time

from pyrun.errors import Error, one_line
from pyrun.spec import strictjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from pyrun.trace import Trace

    # Takes a message: its level, its text, and the fields of an error.
    Sink: TypeAlias = Callable[[str, str, Mapping[str, str]], None]

LEVELS = ("error", "warning", "info", "debug")
FORMATS = ("text", "json")


class Log:
    """Where messages go. One that can't be written is lost: what the command does doesn't depend on it.

    Without --log that is stderr, errors and warnings. With it only errors, unless a level is said: podman reads the log
    as exactly one JSON object. An error is then also shown bare on stderr, and nothing else is: go-runc reads stdout
    and stderr as one."""

    __slots__ = ("_began", "_form", "_level", "_sink", "debugging", "fd", "trace")

    def __init__(self, path: str = "", form: str = "", debug: bool = False, level: str = "") -> None:
        """path: a file, also as file:PATH, or journald: or syslog:, with a name to log by. form: one of FORMATS; "" is
        text, and at a terminal the bare message. level: one of LEVELS. Raises Error."""
        self._began = time.monotonic()
        self._form = form
        self._level = LEVELS.index("debug" if debug else level or ("error" if path else "warning"))
        self.debugging = debug
        self.fd = 2
        self._sink: Sink | None = None
        self.trace: Trace | None = None
        kind, _, name = path.partition(":")
        if kind in ("journald", "syslog"):
            from pyrun.log_daemons import sink  # lazy: hardly ever

            self.fd = -1
            self._sink = sink(kind, name or "pyrun")
        elif path:
            path = path.removeprefix("file:")
            # O_APPEND: a caller lets every command of a container write to one file.
            flags = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_CLOEXEC
            try:
                # A fifo that nobody reads is an error (ENXIO), and nothing to wait for.
                self.fd = posix.open(path, flags | posix.O_NONBLOCK, 0o644)
            except OSError as e:
                raise Error("open the log", call=f"open {path}", errno=e.errno) from None

    def error(self, problem: Error | str) -> None:
        """At level error, and with --log the bare text on stderr. An Error has its parts as fields of JSON: programs
        need not take its text apart."""
        text = str(problem)
        self._write("error", text, problem.fields() if isinstance(problem, Error) else {})
        if self.fd != 2:
            _put(2, f"{text}\n")

    def warning(self, message: str) -> None:
        """At level warning."""
        self._write("warning", message)

    def debug(self, message: str) -> None:
        """At level debug: what is done, with what, and when, in ms from the beginning. A trace takes it as well."""
        if self.trace:
            self.trace.mark(message)
        if self._debugs:
            self._write("debug", f"{(time.monotonic() - self._began) * 1000:.1f} ms: {message}")

    @property
    def says_all(self) -> bool:
        """Debug messages are written, or traced: worth to make them."""
        return self._debugs or self.trace is not None

    @property
    def _debugs(self) -> bool:
        return self._level == len(LEVELS) - 1

    def _write(self, level: str, message: str, fields: Mapping[str, str] = {}) -> None:
        if LEVELS.index(level) > self._level:
            return
        message = one_line(message)
        if self._sink:
            self._sink(level, message, fields)
            return
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._form == "json":
            line = strictjson.dumps({"level": level, "msg": message, "time": moment, **fields})
        elif not self._form and self.fd == 2 and posix.isatty(2):
            line = f"pyrun: {message}" if level == "error" else f"pyrun: {level}: {message}"
        else:
            line = f'time="{moment}" level={level} msg={strictjson.dumps(message)}'
        _put(self.fd, f"{line}\n")


def _put(fd: int, line: str) -> None:
    try:
        posix.write(fd, line.encode(errors="replace"))
    except OSError:  # a full disk, a reader that is gone
        return
