"""mounts add, mounts remove: what is mounted in a container that runs."""

from __future__ import annotations

from pyrun.container import joining
from pyrun.container.session import Session
from pyrun.errors import Error
from pyrun.kernel.files import close
from pyrun.kernel.process import reap
from pyrun.machine.launch import EndedError, Executor, Layout, ProgramError
from pyrun.machine.messages import INTERMEDIATE
from pyrun.plan.mounting import compile_addition, compile_removal
from pyrun.plan.mounts import is_mapped
from pyrun.spec.namespaces import CLONE_NEWNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.container.container import Container
    from pyrun.spec.config import Config, Mount

_OTHERS = ("cgroup", "cgroup2")


def change(container: Container, mounts: list[Mount], *, add: bool) -> None:
    """Make these mounts, which have been checked, or take away what is mounted at their destinations. Raises Error."""
    assert container.directory.locked
    container.require_running()
    namespaces = container.state["namespaces"]
    if not namespaces & CLONE_NEWNS:
        raise Error("change the mounts", detail="the container has no mount namespace of its own")
    if container.has_userns:
        # What is moved in from outside is not locked, and root inside could undo what the host's mount forbids.
        raise Error("change the mounts", detail="the container has a user namespace, which could not be kept from them")
    for i, mount in enumerate(mounts):
        if mount.get("type") in _OTHERS or is_mapped(mount):
            what = "id-mapped mounts" if is_mapped(mount) else f"mounts of type {mount['type']}"
            raise Error("change the mounts", pointer=f"/mounts/{i}", detail=f"{what} are made by create only")
    config: Config = {**container.config(), "mounts": mounts}
    layout = Layout(["pidfd"])
    facts = joining.facts(container, layout)
    program = (compile_addition if add else compile_removal)(config, namespaces, facts)
    pidfd = container.open_init()
    try:
        executor = Executor(program, layout, [pidfd], container.caller, "mounts")
    finally:
        close(pidfd)
    session = Session(executor, [INTERMEDIATE])
    try:
        session.converse({})
        executor.expect(executor.init, -1)
    except EndedError:
        pid, session.intermediate = session.intermediate, 0
        if not pid or reap(pid):
            raise Error("change the mounts", detail="what was to do it has been killed") from None
    except ProgramError as e:
        from pyrun.machine.explain import explain  # lazy: an error

        raise explain(program, e, config) from None
    finally:
        session.end()
