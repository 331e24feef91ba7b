"""Mounts of a container that runs: added and taken away from outside, as crun's `mounts add` and `mounts remove`."""

from __future__ import annotations

from pyrun.kernel.constants import AT_FDCWD, MNT_DETACH, O_DIRECTORY, O_PATH, UMOUNT_NOFOLLOW
from pyrun.machine.program import Program
from pyrun.plan import first, mounts
from pyrun.plan.namespaces import Namespaces
from pyrun.plan.paths import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.machine.program import Label, Register
    from pyrun.plan.facts import Facts
    from pyrun.spec.config import Config


def compile_addition(config: Config, namespaces: int, facts: Facts) -> Program:
    """Make the mounts of `config`, which is the container's but for these, in the `namespaces` (CLONE_NEW* flags) of
    init. Their sources are opened on the host, with its rights."""
    p = Program()
    entries = mounts.entries(config)
    first.begin(p, facts, proc=False)
    mounts.open_sources(p, entries, config, facts, has_userns=False)
    host, root = _enter(p, namespaces, facts)
    mounts.make(p, entries, root, config, Namespaces(config), facts)
    mounts.finish(p, entries)
    _end(p, host)
    return p


def compile_removal(config: Config, namespaces: int, facts: Facts) -> Program:
    """Take away what is mounted at the destinations of the `config`'s mounts, the last one first."""
    p = Program()
    first.begin(p, facts, proc=False)
    host, root = _enter(p, namespaces, facts)
    for entry in reversed(mounts.entries(config)):
        above, _, name = entry.destination.rpartition("/")
        with p.at(f"{entry.pointer}/destination"):
            where = open_in_root(p, root, above or "/", flags=O_PATH | O_DIRECTORY)
            with p.opened(where) as parent:
                # One name, in a directory that is held: what is mounted on can't be renamed or removed meanwhile.
                p.call("fchdir", parent)
            p.call("umount2", name, MNT_DETACH | UMOUNT_NOFOLLOW, note=_NO_MOUNT)
            p.chdir("/")
    _end(p, host)
    return p


def _enter(p: Program, namespaces: int, facts: Facts) -> tuple[Label, Register]:
    """Into the namespaces; of that of pids only a child would be, so nobody inside sees this."""
    host = p.label()
    p.call("umask", 0)
    first.join(p, namespaces, facts, None, host)
    return host, p.openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY)


def _end(p: Program, host: Label) -> None:
    p.call("exit_group", 0)
    p.place(host)


_NO_MOUNT = "EINVAL here means: nothing is mounted there"
