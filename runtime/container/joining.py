"""What a plan must know to put one more process into a container that runs."""

from __future__ import annotations

import posix

from pyrun.cgroups.frozen import is_frozen
from pyrun.errors import Error, NotRunningError
from pyrun.kernel import files, privilege
from pyrun.kernel.files import close
from pyrun.plan.facts import Facts
from pyrun.spec import peers
from pyrun.spec.namespaces import CLONE_NEWNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyrun.cgroups.cgroup import Cgroup
    from pyrun.cgroups.directories import Directory
    from pyrun.container.container import Container
    from pyrun.machine.launch import Layout


def facts(container: Container, layout: Layout, below: Sequence[str] = (), **more: Any) -> Facts:
    """`below`: cgroups of the container's own, as `exec --cgroup` names them;
    `more` as for Facts itself. Raises Error."""
    state, cgroup = container.state, container.cgroup()
    for directory in cgroup.directories:
        if directory.inodes and not directory.is_same():
            words = f"{directory.path} is not there any more, or is another's by now"
            raise Error("enter the container's cgroup", detail=words, hint="the container itself may run on")
    chosen = _chosen(cgroup, below)
    unified, v1 = "", []
    for directory in cgroup.directories:
        path = directory.path + chosen.get(directory.controllers, "")
        if directory.controllers:
            v1.append(path)
        elif below:
            unified = path
        else:
            unified = _habitable(directory, state["pid"]) if cgroup.mode == "v2" else path
    # Who joins a frozen cgroup waits without end.
    if cgroup.mode == "v2" and is_frozen(unified) and not is_frozen(state.get("freezer", "")):
        hint = "the container itself has frozen it: pyrun resume doesn't reach that"
        raise Error("enter the container's cgroup", detail=f"{unified} is frozen", hint=hint)
    return Facts(
        layout=layout,
        bundle=state["bundle"],
        container=state["id"],
        privileged=posix.geteuid() == 0,
        nested=privilege.nested(),
        capabilities=privilege.own_capabilities(),
        unified_cgroup=unified,
        v1_cgroups=v1,
        cgroups_optional=cgroup.rootless,
        keep_groups=peers.on(state["annotations"], peers.KEEP_GROUPS),
        **more,
    )


def open_root(container: Container) -> list[int]:
    """The container's root, where that isn't the root of a mount namespace of its own; else nothing. Raises Error."""
    state = container.state
    if state.get("namespaces", 0) & CLONE_NEWNS:
        return []
    path = f"/proc/{state['pid']}/root"
    try:
        fd = posix.open(path, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError as e:
        hint = "without root it can't be reached before the program has started" if posix.geteuid() else ""
        raise Error("enter the container's root", call=f"open {path}", errno=e.errno, hint=hint) from None
    if not container.is_alive:  # then the number may have been another's
        close(fd)
        raise NotRunningError()
    return [fd]


def _habitable(directory: Directory, pid: int) -> str:
    """The container's cgroup, or where below it its init is: one that gives controllers to others takes no process
    itself (cgroups(7), "no internal processes"), and one with a process can't give any."""
    try:
        for line in files.read(f"/proc/{pid}/cgroup").splitlines():
            if line.startswith("0::"):
                found = directory.top + line[3:]
                return found if found.startswith(f"{directory.path}/") else directory.path
    except OSError:
        pass  # the cgroup can't be looked at: the program will tell
    return directory.path


def _chosen(cgroup: Cgroup, below: Sequence[str]) -> dict[tuple[str, ...], str]:
    """For each hierarchy the path below the container's cgroup. `below`: PATH, or on v1 CONTROLLER,...:PATH."""
    found: dict[tuple[str, ...], str] = {}
    for text in below:
        names, colon, path = text.rpartition(":")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts or "\0" in path:
            raise Error(f"--cgroup {text}", detail="must not lead out of the container's cgroup with ..")
        inner = "".join(f"/{part}" for part in parts)
        wanted = set(names.split(",")) if colon else set()
        if wanted and cgroup.mode == "v2":
            raise Error(f"--cgroup {text}", detail="cgroup v2 has one path for all controllers", hint="leave them out")
        missing = set(wanted)
        for directory in cgroup.directories:
            controllers = {name.removeprefix("name=") for name in directory.controllers}
            if wanted and not wanted & controllers:
                continue
            if not files.exists(directory.path + inner):
                raise Error(f"--cgroup {text}", detail=f"no such cgroup: {directory.path}{inner}")
            found[directory.controllers] = inner
            missing -= controllers
        if missing:
            raise Error(f"--cgroup {text}", detail=f"no hierarchy for {', '.join(sorted(missing))}")
    return found
