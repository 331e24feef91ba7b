"""What a plan must know to put one more process into a container that runs."""

from __future__ import annotations

import posix

from pyrun.runtime.container import cgroup_of
from pyrun.runtime.create import own_capabilities
from pyrun.runtime.plan.facts import Facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.runtime.executor.launch import Layout
    from pyrun.runtime.state import State


def facts(state: State, layout: Layout, **more: Any) -> Facts:
    """Facts for the container of `state`; `more` as for Facts itself."""
    cgroup = cgroup_of(state)
    return Facts(
        layout,
        state["bundle"],
        state["id"],
        privileged=posix.geteuid() == 0,
        capabilities=own_capabilities(),
        unified_cgroup=next((d.path for d in cgroup.directories if not d.controllers), ""),
        v1_cgroups=[d.path for d in cgroup.directories if d.controllers],
        cgroups_optional=cgroup.rootless,
        **more,
    )
