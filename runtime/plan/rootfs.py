"""root and linux.rootfsPropagation: the container's root becomes `/` (config.md "Root", pivot_root(2))."""

from __future__ import annotations

from errno import EACCES, EBUSY, ENOENT

from pyrun.kernel.constants import (
    AT_FDCWD,
    MNT_DETACH,
    MOVE_MOUNT_F_EMPTY_PATH,
    O_DIRECTORY,
    O_PATH,
    STATX_MNT_ID,
    STATX_MNT_ID_UNIQUE,
)
from pyrun.machine.messages import ROOT
from pyrun.machine.program import ANY_ERROR, Program, Register
from pyrun.plan import verify
from pyrun.spec.mount_options import MOUNT_ATTR_RDONLY, MS_PRIVATE, MS_REC, MS_SLAVE, MS_UNBINDABLE, PROPAGATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.plan.facts import Facts
    from pyrun.spec.config import Config


def propagation(config: Config) -> tuple[int, bool]:
    """(MS_ flag, recursive) of linux.rootfsPropagation; (0, False) when it isn't set."""
    flag = PROPAGATION.get(config.get("linux", {}).get("rootfsPropagation", ""), 0)
    return flag & ~MS_REC, bool(flag & MS_REC)


def received(config: Config) -> int:
    """How copies of the host's mounts hang together with the host: as slaves they see what is mounted there later,
    unless the config wants nothing from outside."""
    return MS_PRIVATE if propagation(config)[0] in (MS_PRIVATE, MS_UNBINDABLE) else MS_SLAVE


def path(config: Config, bundle: str) -> str:
    """The root's absolute path on the host."""
    root = config["root"]["path"]
    return root if root.startswith("/") else f"{bundle}/{root}"


class Root:
    """tree: the detached copy that becomes the root. directory: where it lies on the host."""

    __slots__ = ("directory", "tree")

    def __init__(self, directory: Register, tree: Register) -> None:
        self.directory = directory
        self.tree = tree


def open_tree(p: Program, config: Config, facts: Facts) -> Root:
    """A detached copy of the root file system's mounts.

    It is opened with the host's rights: in a user namespace a root below a directory of mode 0700 can't be reached."""
    with p.at("/root/path"):
        directory = p.openat(AT_FDCWD, path(config, facts.bundle), O_PATH | O_DIRECTORY)
        tree = p.clone_tree(directory, recursive=True)
        # An untouched copy of a shared mount stays its peer: what is mounted in it would appear on the host.
        p.mount_setattr(tree, propagation=received(config), recursive=True)
    return Root(directory, tree)


def attach(p: Program, root: Root, config: Config, own: bool, facts: Facts) -> None:
    """Put the tree where it lies, but in init's mount namespace: hooks look for the container's mounts there. (Without
    a mount namespace of the container's own that is the host's, and `delete` takes it off again.)"""
    if not own:
        with p.at("/root/path"):
            with p.opened(p.openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY)) as top:
                verify.differs(p, root.directory, top, EBUSY, _HOSTS_ROOT)
            # Known before it is there: whatever happens, nobody else's mount is taken for this one.
            with p.held(p.load(p.statx(root.tree, more=STATX_MNT_ID_UNIQUE), STATX_MNT_ID, 8)) as identity:
                p.ask(ROOT, identity)
            p.move_mount(root.tree, root.directory)
            p.close(root.directory)
        return
    with p.at("/linux/rootfsPropagation" if propagation(config)[0] else "/root"):
        p.mount_setattr(AT_FDCWD, path="/", propagation=received(config), recursive=True, note=_CHROOT)
    with p.at("/root/path"):
        p.close(root.directory)  # of the host's namespace, where nothing is to be mounted
        unreachable, attached = p.label(), p.label()
        elsewhere = {EACCES: unreachable, ENOENT: unreachable}
        lies = p.openat(AT_FDCWD, path(config, facts.bundle), O_PATH | O_DIRECTORY, errors=elsewhere)
        with p.opened(lies) as directory:
            p.move_mount(root.tree, directory)
        p.jump(attached)
        # A user namespace below a directory of mode 0700, a joined mount namespace: `/` can always be reached.
        p.place(unreachable)
        p.call("move_mount", root.tree, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH)
        p.place(attached)


def pivot(p: Program, root: Root, own: bool, facts: Facts) -> None:
    """Make the tree `/` and let go of the host's."""
    with p.at("/root/path"):
        if not own:
            p.call("fchdir", root.tree)
        elif facts.pivot:
            old = p.openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY)
            p.call("fchdir", root.tree)
            # Old and new root both at ".": no directory for the old one is needed in the image.
            p.call("pivot_root", ".", ".", note=_INITRAMFS)
            p.call("fchdir", old)
            # What lies at "." now is a copy of the host's tree that tells the host nothing of its end (attach).
            p.call("umount2", ".", MNT_DETACH)
            p.call("fchdir", root.tree)
            p.close(old)
        else:
            # The host's tree stays below: what could be used to get back to it is taken off, as far as may be.
            for directory in ("/proc", "/sys"):
                p.call("umount2", directory, MNT_DETACH, ignore=(ANY_ERROR,))
            p.call("move_mount", root.tree, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH)
            p.call("fchdir", root.tree)
        p.call("chroot", ".")
        p.chdir("/")


def finish(p: Program, root: Root, config: Config) -> None:
    """What must come after everything that is made in the root."""
    flag, recursive = propagation(config)
    if flag:
        with p.at("/linux/rootfsPropagation"):
            p.mount_setattr(root.tree, propagation=flag, recursive=recursive)
    if config["root"].get("readonly"):
        with p.at("/root/readonly"):
            p.mount_setattr(root.tree, attr_set=MOUNT_ATTR_RDONLY)


_HOSTS_ROOT = "without a mount namespace of its own the container's root must not be that of the host"
_CHROOT = "EINVAL here means: the runtime's own root is no mount point, as in a chroot; bind it to itself before"
_INITRAMFS = "EINVAL here means: the host's root is an initramfs, which can't be pivoted away; --no-pivot works"
