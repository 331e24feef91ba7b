"""pyrun run ID"""

from __future__ import annotations

import posix

from pyrun.cli._lifecycle import create_options
from pyrun.container.container import delete, out_of_memory, start
from pyrun.container.create import Created, create
from pyrun.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


_KILLED = 128 + 9


def run(context: Context, values: Values, arguments: list[str]) -> int:
    detach = bool(values["detach"])
    options = create_options(context, values, keep_console=not detach)
    if not detach and options.console_socket:
        raise Error("cannot use console socket if pyrun will not detach or allocate tty", hint="add --detach")
    created = create(context.root, arguments[0], options, context.log)
    created.executor.close()
    return attend(context, created, detach, keep=bool(values["keep"]), subreaper=not values["no_subreaper"])


def attend(context: Context, created: Created, detach: bool, keep: bool, subreaper: bool) -> int:
    """Start the container and, in the foreground, stay with it to its end."""
    entry, state = created.entry, created.state
    foreground = notifications = None
    if b"NOTIFY_SOCKET" in posix.environ:
        from pyrun.container.notify import Notifications

        notifications = Notifications.of(entry, state["pid"])
    if not detach:
        if subreaper:
            _adopt_orphans()
        from pyrun.container.foreground import Foreground

        foreground = Foreground(state["pid"], created.console, notifications)
    try:
        start(entry, state, context.log)
    except BaseException:
        if entry.exists():
            delete(entry, state, context.log, force=True)
        raise
    entry.unlock()
    if foreground is None:
        if notifications:
            notifications.wait()
        return 0
    code = foreground.wait()
    if code == _KILLED and (words := out_of_memory(state)):
        context.log.error(f"container {entry.container} was killed: {words}")
    if not keep:
        try:
            entry.lock()
        except Error:
            return code  # somebody else has deleted it already
        delete(entry, state, context.log, force=True)
    return code


def _adopt_orphans() -> None:
    """Processes that outlive init in a shared pid namespace become our children, not those of whoever called us."""
    try:
        import prctl
    except ImportError:
        return
    prctl.set_child_subreaper(1)
