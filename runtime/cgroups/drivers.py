"""Who makes the cgroups: pyrun itself, systemd, or nobody."""

from __future__ import annotations

from pyrun.cgroups.cgroup import Cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cgroups.host import Hierarchies


def new(
    manager: str,
    hierarchies: Hierarchies,
    container: str,
    path: str | None,
    *,
    rootless: bool,
    annotations: dict[str, str],
) -> Cgroup:
    """A container's cgroup, not made yet, by the manager of that name: cgroupfs, systemd or disabled. path: the
    config's cgroupsPath. Raises Invalid."""
    if manager == "systemd":
        from pyrun.cgroups.systemd import SystemdCgroup  # lazy: only for that driver

        return SystemdCgroup(hierarchies, container, path, rootless=rootless, annotations=annotations)
    if manager == "disabled":
        return Cgroup.disabled(hierarchies)
    return Cgroup(hierarchies, container, path, rootless=rootless)


def from_state(state: dict[str, Any]) -> Cgroup:
    """The cgroup that `Cgroup.to_state` told of. Raises KeyError, TypeError or ValueError for what it can't have."""
    if state["driver"] == "systemd":
        from pyrun.cgroups.systemd import SystemdCgroup  # lazy: only for that driver

        return SystemdCgroup.from_state(state)
    return Cgroup.from_state(state)
