"""With a user namespace: what the host's mounts forbid, the container's root must not be able to allow.

The kernel locks the flags of a mount (ro, nosuid, nodev, noexec, atime), and what lies mounted upon it, when it copies
a mount namespace into a less privileged one (mount_namespaces(7)); a detached tree that is moved there is not locked.
So the trees opened on the host are attached in a mount namespace that still belongs to the host's user namespace, are
copied with it, and are picked up again as copies of the locked copies.
"""

from __future__ import annotations

from pyrun.kernel.constants import AT_FDCWD, O_DIRECTORY, O_PATH
from pyrun.machine.program import Buffer, Program, Register
from pyrun.plan import rootfs
from pyrun.plan.paths import place_for
from pyrun.spec.namespaces import CLONE_NEWNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.plan.facts import Facts
    from pyrun.spec.config import Config


class Staging:
    """root, trees: the root's detached tree, and (where another is kept, JSON pointer); afterwards the locked trees are
    there."""

    __slots__ = ("_config", "_facts", "_root", "_trees")

    def __init__(self, root: Register, trees: list[tuple[Buffer, str]], config: Config, facts: Facts) -> None:
        self._root = root
        self._trees = trees
        self._config = config
        self._facts = facts

    def put(self, p: Program) -> None:
        """In the intermediate process, before the user namespace. The working directory is what leads to the copies:
        the kernel exchanges it for that of the new mount namespace, in which no path may lead here."""
        with p.at("/root/path"):
            p.call("unshare", CLONE_NEWNS)
            p.mount_setattr(AT_FDCWD, path="/", propagation=rootfs.received(self._config), recursive=True)
            stage = p.file_system("tmpfs", "tmpfs", {"mode": "755"}, 0)
            # Under what will be the root's tree, and gone with the host's mounts.
            path = rootfs.path(self._config, self._facts.bundle)
            with p.opened(p.openat(AT_FDCWD, path, O_PATH | O_DIRECTORY)) as directory:
                p.move_mount(stage, directory)
            p.call("fchdir", stage)
            p.do(_put, stage, "root", self._root)
        for i, (kept, pointer) in enumerate(self._trees):
            with p.at(pointer), p.held(p.fetch(kept)) as tree:
                p.do(_put, stage, str(i), tree)
        p.close(stage)

    def take(self, p: Program) -> None:
        """In init, inside the new namespaces."""
        with p.at("/root/path"):
            p.do(_take, "root", self._root, into=self._root)
        for i, (kept, pointer) in enumerate(self._trees):
            with p.at(pointer), p.held(p.fetch(kept)) as tree:
                p.do(_take, str(i), tree, into=tree)
                p.store(kept, 0, 8, tree)


def _put(p: Program, stage: Register, name: Register, tree: Register) -> None:
    with p.opened(place_for(p, stage, name, tree)) as place:
        p.move_mount(tree, place)


def _take(p: Program, name: Register, tree: Register) -> Register:
    p.call("close", tree)
    return p.clone_tree(AT_FDCWD, name, recursive=True)
