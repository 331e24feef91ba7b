"""pyrun start ID"""

from __future__ import annotations

import posix

from pyrun.container.container import start
from pyrun.container.store import Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    entry = Entry(context.root, arguments[0])
    entry.lock()
    state = entry.read()
    notifications = None
    if b"NOTIFY_SOCKET" in posix.environ:
        from pyrun.container.notify import Notifications

        notifications = Notifications.of(entry, state["pid"])
    start(entry, state, context.log)
    if notifications:
        entry.unlock()
        notifications.wait()
    return 0
