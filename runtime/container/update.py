"""update: other limits for a container that is there. All of them, or none: what fails half-way is taken back."""

from __future__ import annotations

from pyrun.container.state import CONFIGS
from pyrun.errors import ConfigError, Error
from pyrun.spec import strictjson
from pyrun.spec.checks import resources_faults
from pyrun.spec.faults import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.container.container import Container
    from pyrun.container.state import State
    from pyrun.spec.config import Resources

# Members of which 0 and "" ask for nothing, as at create.
_UNSET: dict[str, tuple[str, ...]] = {
    "memory": ("limit", "reservation", "swap", "kernel", "kernelTCP"),
    "cpu": ("shares", "quota", "period", "realtimePeriod", "realtimeRuntime", "cpus", "mems"),
    "blockIO": ("weight", "leafWeight"),
}
# Members that the kernel takes together: where one changes, the others are said again.
_TOGETHER = (("memory", ("limit", "swap")), ("cpu", ("period", "quota")), ("cpu", ("quota", "burst")))


def update(container: Container, wanted: Resources, schemata: list[tuple[str, str]]) -> None:
    """Set `wanted`, which has been checked; schemata: (where it was asked for, line) of the container's resctrl group.
    Device rules are left as they are: what a container may open doesn't change under it.

    Raises Error; then nothing has changed."""
    directory, state, log = container.directory, container.state, container.caller.log
    assert directory.locked
    container.require_running()
    if schemata and "resctrl" not in state:
        hint = "give it linux.intelRdt at create"
        raise Error("the container has no resctrl group", pointer=schemata[0][0], hint=hint)
    config = container.config()
    if "devices" in wanted:
        log.warning("/devices: has no effect: what a container may open doesn't change under it")
    wanted = _asked(wanted)
    merged = _merged(config.get("linux", {}).get("resources", {}), wanted)
    faults = resources_faults(merged)
    if faults:
        raise ConfigError(faults, "invalid resources")
    cgroup = container.cgroup()
    warnings: list[Any] = []
    try:
        writes = cgroup.writes(_changed(merged, wanted), devices=False, warnings=warnings)
        warnings += cgroup.change(writes)
    except Invalid as e:
        raise ConfigError(e.faults, "invalid resources") from None
    if schemata:
        _write_schemata(state, schemata)
    for fault in warnings:
        log.warning(str(fault))
    config.setdefault("linux", {})["resources"] = merged
    directory.replace_file(CONFIGS[state["format"]], strictjson.dumps(config).encode())


def _asked(wanted: Resources) -> Resources:
    """`wanted` without what only fills a form, as runc's users send it; memory without a limit takes swap along, as
    there, for version 1 allows none above that of both."""
    found: dict[str, Any] = {**wanted}
    for section, members in _UNSET.items():
        if section in found:
            found[section] = {k: v for k, v in found[section].items() if v or k not in members}
    memory = found.get("memory", {})
    if memory.get("limit") == -1:
        found["memory"] = {"swap": -1, **memory}
    return found  # type: ignore[return-value]


def _merged(before: Resources, wanted: Resources) -> Resources:
    """The limits as they will stand: members that `wanted` names, the others as they were."""
    found: dict[str, Any] = {**before}
    for section, members in wanted.items():
        if section == "devices":
            continue
        old = found.get(section)
        found[section] = {**old, **members} if isinstance(old, dict) and isinstance(members, dict) else members
    return found  # type: ignore[return-value]


def _changed(merged: Resources, wanted: Resources) -> dict[str, Any]:
    """What is to be written: `wanted`, with what the kernel takes together with it."""
    found: dict[str, Any] = {
        section: {**members} if isinstance(members, dict) else members
        for section, members in wanted.items()
        if section != "devices"
    }
    for section, members in _TOGETHER:
        old: dict[str, Any] = merged.get(section, {})  # type: ignore[assignment]
        if any(member in found.get(section, {}) for member in members):
            found[section] = {**{m: old[m] for m in members if m in old}, **found[section]}
    return found


def _write_schemata(state: State, schemata: list[tuple[str, str]]) -> None:
    from pyrun.host.resctrl import Group  # lazy: only with a schema for resctrl

    Group.from_state(state["resctrl"]).write(schemata)
