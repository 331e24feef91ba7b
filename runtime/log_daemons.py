"""--log journald:NAME and syslog:NAME. Cold.

Sources: systemd.io/JOURNAL_NATIVE_PROTOCOL, systemd.journal-fields(7); RFC 3164, syslog(3)."""

from __future__ import annotations

import posix
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket

from pyrun.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrun.log import Sink

_PLACES = {"journald": "/run/systemd/journal/socket", "syslog": "/dev/log"}
_PRIORITIES = {"error": 3, "warning": 4, "info": 6, "debug": 7}  # syslog(3)
_DAEMON = 3 << 3  # the facility


def sink(kind: str, name: str) -> Sink:
    """Where messages go to, under this name. Raises Error when nobody is there."""
    place = _PLACES[kind]
    connection = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        connection.connect(place)
    except OSError as e:
        connection.close()
        raise Error("open the log", call=f"connect {place}", errno=e.errno, hint=f"no {kind} is running") from None
    # Nothing that is done waits for it.
    connection.setblocking(False)
    form = _journal if kind == "journald" else _syslog

    def send(level: str, message: str, fields: Mapping[str, str]) -> None:
        try:
            connection.send(form(name, level, message, fields))
        except OSError:  # full, or gone
            return

    return send


def _journal(name: str, level: str, message: str, fields: Mapping[str, str]) -> bytes:
    """A field a line. None has a line end in it (log.py)."""
    found = {"MESSAGE": message, "PRIORITY": str(_PRIORITIES[level]), "SYSLOG_IDENTIFIER": name}
    found |= {f"PYRUN_{key.upper()}": value for key, value in fields.items()}
    return "".join(f"{key}={value}\n" for key, value in found.items()).encode(errors="replace")


def _syslog(name: str, level: str, message: str, fields: Mapping[str, str]) -> bytes:
    return f"<{_DAEMON | _PRIORITIES[level]}>{name}[{posix.getpid()}]: {message}".encode(errors="replace")
