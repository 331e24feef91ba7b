"""pyrun delete ID"""

from __future__ import annotations

from pyrun.container.container import delete, kill
from pyrun.container.store import Entry
from pyrun.errors import DoesNotExistError, Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values

_SIGKILL = 9


def run(context: Context, values: Values, arguments: list[str]) -> int:
    force = bool(values["force"])
    if values["regex"]:
        from pyrun.cli._matching import each

        return each(context, arguments[0], lambda name: _delete(context, name, force))
    _delete(context, arguments[0], force)
    return 0


def _delete(context: Context, container: str, force: bool) -> None:
    try:
        entry = Entry(context.root, container)
        if force:
            _end(entry)
        entry.lock()
    except DoesNotExistError:
        # Managers delete what may be gone already, and call it done.
        if force:
            return
        raise
    try:
        state = entry.read()
    except Error:
        if not force:
            raise
        # Nothing is known of it but its folder.
        entry.remove()
        return
    delete(entry, state, context.log, force)


def _end(entry: Entry) -> None:
    """End init before the lock is asked for: a `start` may hold it, whose program waits for somebody's answer for ever
    (a seccomp agent's, a hook's)."""
    try:
        kill(entry, entry.read(), _SIGKILL)
    except Error:
        return  # not running, or broken: told below, where it matters
