"""pids: how many processes and threads there may be (cgroup-v1/pids.rst; cgroup-v2.rst, "PID")."""

from __future__ import annotations

from pyrun.cgroups.controller import Controller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cgroups.controller import Wanted
    from pyrun.cgroups.properties import Properties
    from pyrun.cgroups.statistics import Figures


class Pids(Controller):
    annotations = (("TasksMax", "t", "pids.max", "pids.max"),)

    def v1(self, wanted: Wanted) -> None:
        # 0 would let nothing start: it is 1, as for runc and systemd.
        wanted.put("pids", "limit", "pids", "pids.max", lambda limit: "max" if limit == -1 else str(limit or 1))

    v2 = v1

    def properties(self, said: Properties) -> None:
        said.member("pids", "limit", "TasksMax", "t", lambda limit: said.limit(limit or 1))
        said.unified("pids.max", "TasksMax", "t", lambda text: said.infinity if text == "max" else int(text) or None)

    def statistics(self, figures: Figures) -> dict[str, Any]:
        limit = figures.number("pids", "pids.max")
        return {
            "pids": {
                "current": figures.number("pids", "pids.current"),
                "limit": 0 if limit == figures.no_limit else limit,
            }
        }


CONTROLLER = Pids()
