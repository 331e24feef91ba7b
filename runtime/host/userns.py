"""A user namespace that is nothing but its id maps: what an id-mapped mount is told by (mount_setattr(2))."""

from __future__ import annotations

import posix

from pyrun.errors import Error
from pyrun.host import idmap
from pyrun.machine.launch import EndedError, Executor, Layout, ProgramError
from pyrun.machine.messages import MAPS
from pyrun.machine.program import Program
from pyrun.spec.namespaces import CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.caller import Caller
    from pyrun.spec.config import IDMapping


def open_mapped(uids: list[IDMapping], gids: list[IDMapping], pointer: str, caller: Caller) -> int:
    """A descriptor of a new user namespace with these maps. Raises Error."""
    p = Program()
    p.call("unshare", CLONE_NEWUSER)
    p.ask(MAPS)
    executor = Executor(p, Layout([]), [], caller, "user namespace")
    try:
        executor.expect(executor.host, MAPS)
        idmap.write(executor.pid, {"uidMappings": uids, "gidMappings": gids}, caller, pointer)
        return posix.open(f"/proc/{executor.pid}/ns/user", posix.O_RDONLY | posix.O_CLOEXEC)
    except (EndedError, ProgramError) as e:
        error = e.errno if isinstance(e, ProgramError) else 0
        raise Error("map the ids of a mount", pointer=pointer, call="unshare", errno=error) from None
    finally:
        executor.close()
