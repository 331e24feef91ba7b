"""What the commands on one container share."""

from __future__ import annotations

from pyrun.runtime.create import Options
from pyrun.runtime.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.runtime.cli.main import Context
    from pyrun.runtime.cli.parse import Values


def create_options(context: Context, values: Values, *, keep_console: bool = False, trace: bool = False) -> Options:
    return Options(
        str(values["bundle"] or "."),
        config=str(values["config"]),
        console_socket=str(values["console_socket"]),
        pid_file=str(values["pid_file"]),
        pivot=not values["no_pivot"],
        keyring=not values["no_new_keyring"],
        preserve_fds=number("--preserve-fds", values["preserve_fds"]),
        keep_console=keep_console,
        rootless=context.rootless,
        trace=trace,
    )


def number(flag: str, value: str | bool) -> int:
    if not value:
        return 0
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise Error(f"{flag} takes a number, not {text!r}")
    return int(text)
