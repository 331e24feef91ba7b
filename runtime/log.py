"""--log, --log-format and --debug: one line a message, shaped as runc's, which containerd and podman parse."""

from __future__ import annotations

import posix
import time

from pyrun.errors import Error, one_line
from pyrun.spec import strictjson


class Log:
    """Where messages go. One that can't be written is lost: what the command does doesn't depend on it.

    Without --log that is stderr. With it, an error is also shown bare on stderr, and nothing else is: go-runc reads
    stdout and stderr as one, and podman reads the log as exactly one JSON object.
    """

    __slots__ = ("debugging", "fd", "json")

    def __init__(self, path: str = "", form: str = "text", debug: bool = False) -> None:
        self.json = form == "json"
        self.debugging = debug
        self.fd = 2
        if path:
            # O_APPEND: a caller lets every command of a container write to one file.
            flags = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_CLOEXEC
            try:
                # A fifo that nobody reads is an error (ENXIO), and nothing to wait for.
                self.fd = posix.open(path, flags | posix.O_NONBLOCK, 0o644)
            except OSError as e:
                raise Error("open the log", call=f"open {path}", errno=e.errno) from None

    def error(self, message: str) -> None:
        """A line at level error, and with --log the bare text on stderr."""
        self._write("error", message)
        if self.fd != 2:
            _put(2, f"{message}\n")

    def warning(self, message: str) -> None:
        """A line at level warning; with --log only with --debug."""
        if self.fd == 2 or self.debugging:
            self._write("warning", message)

    def debug(self, message: str) -> None:
        """A line at level debug, with --debug."""
        if self.debugging:
            self._write("debug", message)

    def _write(self, level: str, message: str) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        message = one_line(message)
        if self.json:
            line = strictjson.dumps({"level": level, "msg": message, "time": moment})
        else:
            line = f'time="{moment}" level={level} msg={strictjson.dumps(message)}'
        _put(self.fd, f"{line}\n")


def _put(fd: int, line: str) -> None:
    try:
        posix.write(fd, line.encode(errors="replace"))
    except OSError:  # a full disk, a reader that is gone
        return
