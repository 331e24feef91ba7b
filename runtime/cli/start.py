"""pyrun start ID"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    with context.open(arguments[0]).locked() as container:
        notifications = None
        if b"NOTIFY_SOCKET" in context.caller.environ:
            from pyrun.cli.service import Notifications  # lazy: only under a service manager

            notifications = Notifications.of(container)
        container.start()
        if notifications:
            container.unlock()
            notifications.wait()
    return 0
