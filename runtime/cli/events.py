"""pyrun events [ID]: what the container uses, and when it runs out of memory; a JSON object a line. With --prometheus
one scrape, of all containers if no ID says otherwise."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Any

from pyrun.cgroups import oom
from pyrun.cli._duration import seconds
from pyrun.cli._prometheus import exposition
from pyrun.cli.parse import UsageError
from pyrun.container.container import Container
from pyrun.errors import Error, NotRunningError
from pyrun.spec import strictjson

if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    if values["prometheus"]:
        print(_scrape(context, arguments), end="")
        return 0
    if not arguments:
        raise UsageError("events", '"events" requires exactly 1 argument, but with --prometheus')
    interval = seconds(values.text("interval") or "5s", "--interval")
    with context.open(arguments[0]) as container:
        container.require_running()
        if values["stats"]:
            _print("stats", container)
        else:
            _follow(container, interval)
    return 0


def _scrape(context: Context, ids: list[str]) -> str:
    """What each of them uses; those that have ended use nothing."""
    found = {}
    for container in map(context.open, ids) if ids else Container.each(context.root, context.caller):
        with container:
            try:
                container.require_running()
                found[container.id] = container.statistics()
            except NotRunningError:
                if ids:
                    raise
            except Error as e:
                context.caller.log.warning(f"{container.id}: {e}")
    return exposition(found)


def _follow(container: Container, interval: float) -> None:
    """Until init has ended."""
    poll = select.poll()
    pidfd = container.open_init()
    poll.register(pidfd, select.POLLIN)
    notices = None
    try:
        notices = oom.notices(container.cgroup())
        poll.register(notices.fd, notices.events)
    except OSError:
        pass  # a host without a memory controller has nothing to tell
    due = time.monotonic() + interval
    while True:
        ready = container.caller.wait(poll, max(0.0, due - time.monotonic()))
        if notices and notices.fd in ready:
            for _ in range(notices.take()):
                _print("oom", container)
        if pidfd in ready:
            return
        if time.monotonic() >= due:
            _print("stats", container)
            due += interval


def _print(kind: str, container: Container) -> None:
    event: dict[str, Any] = {"type": kind, "id": container.id}
    if kind == "stats":
        event["data"] = container.statistics()
    print(strictjson.dumps(event), flush=True)
