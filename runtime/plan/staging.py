"""With a user namespace: what the host's mounts forbid, the container's root must not be able to allow.

The kernel locks the flags of a mount (ro, nosuid, nodev, noexec, atime), and what lies mounted upon it, when it copies
a mount namespace into a less privileged one (mount_namespaces(7)); a detached tree that is moved there is not locked.
So the trees opened on the host are attached in a mount namespace that still belongs to the host's user namespace, are
copied with it, and are picked up again as copies of the locked copies.
"""

from __future__ import annotations

from pyrun.kernel.constants import AT_FDCWD, O_DIRECTORY, O_PATH
from pyrun.machine.program import Program, Register
from pyrun.plan import rootfs
from pyrun.plan.paths import place_for
from pyrun.spec.namespaces import CLONE_NEWNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.plan.facts import Facts
    from pyrun.spec.config import Config


class Staging:
    """trees: (register of a detached tree, JSON pointer); afterwards each register holds the locked tree."""

    __slots__ = ("_config", "_facts", "_trees")

    def __init__(self, trees: list[tuple[Register, str]], config: Config, facts: Facts) -> None:
        self._trees = trees
        self._config = config
        self._facts = facts

    def put(self, p: Program) -> None:
        """In the middle, before the user namespace. The working directory is what leads to the copies: the kernel
        exchanges it for that of the new mount namespace, in which no path may lead here."""
        with p.source("/root/path"):
            p.call("unshare", CLONE_NEWNS)
            p.mount_setattr(AT_FDCWD, path="/", propagation=rootfs.received(self._config), recursive=True)
            fs = p.fsopen("tmpfs")
            p.fsconfig_set_string(fs, "source", "tmpfs")
            p.fsconfig_set_string(fs, "mode", "755")
            p.fsconfig_create(fs)
            stage = p.fsmount(fs, 0)
            p.close(fs)
            # Under what will be the root's tree, and gone with the host's mounts.
            folder = p.openat(AT_FDCWD, rootfs.path(self._config, self._facts.bundle), O_PATH | O_DIRECTORY)
            p.move_mount(stage, folder)
            p.close(folder)
            p.call("fchdir", stage)
        for i, (tree, pointer) in enumerate(self._trees):
            with p.source(pointer):
                place = place_for(p, stage, str(i), tree)
                p.move_mount(tree, place)
                p.close(place)
        p.close(stage)

    def take(self, p: Program) -> None:
        """In init, inside the new namespaces."""
        for i, (tree, pointer) in enumerate(self._trees):
            with p.source(pointer):
                p.call("close", tree)
                p.clone_tree(AT_FDCWD, str(i), recursive=True)
                p.set_result(tree)
