"""Who makes the cgroups: pyrun itself, systemd, or nobody."""

from __future__ import annotations

from pyrun.cgroups.cgroup import Cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
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
    environ: Mapping[bytes, bytes],
) -> Cgroup:
    """A container's cgroup, not made yet, by the manager of that name: cgroupfs, systemd or disabled. path: the
    config's cgroupsPath; environ: the caller's, which tells where its D-Bus is. Raises Invalid."""
    if manager == "systemd":
        from pyrun.cgroups.systemd import SystemdCgroup  # lazy: only for that driver

        made = SystemdCgroup(hierarchies, container, path, rootless=rootless, annotations=annotations)
        made.environ = environ
        return made
    if manager == "disabled":
        return Cgroup.disabled(hierarchies)
    return Cgroup(hierarchies, container, path, rootless=rootless)


def from_state(state: dict[str, Any], environ: Mapping[bytes, bytes]) -> Cgroup:
    """The cgroup that `Cgroup.to_state` told of. Raises KeyError, TypeError or ValueError for what it can't have."""
    if state["driver"] == "systemd":
        from pyrun.cgroups.systemd import SystemdCgroup  # lazy: only for that driver

        found = SystemdCgroup.from_state(state)
        found.environ = environ
        return found
    return Cgroup.from_state(state)
