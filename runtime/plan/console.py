"""process.terminal: a pty of the container's own devpts (pts(4), ioctl_tty(2)).

The master goes to the runtime, which hands it to the console socket or relays it; the slave becomes stdio and
/dev/console. Everything is reached from the master's descriptor: a pts/N in an image could be anything
(CVE-2025-52565).
"""

from __future__ import annotations

from _struct import Struct
from errno import ENODEV

from pyrun.kernel.constants import (
    DEVPTS_SUPER_MAGIC,
    O_CLOEXEC,
    O_DIRECTORY,
    O_NOCTTY,
    O_PATH,
    O_RDWR,
    S_IFCHR,
    TIOCGPTPEER,
    TIOCSCTTY,
    TIOCSPTLCK,
    TIOCSWINSZ,
)
from pyrun.machine.messages import CONSOLE
from pyrun.machine.program import Program, Register
from pyrun.plan import verify
from pyrun.plan.paths import open_in_root, open_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.plan.facts import Facts
    from pyrun.spec.config import Process

_WINSIZE = Struct("<4H")


def set_up(
    p: Program, root: Register, process: Process, facts: Facts, bind: bool = True, controlling: bool = True
) -> None:
    """`bind`: the terminal is the container's /dev/console. `controlling`: it is that of the process that runs this."""
    with p.at("/process/terminal"):
        master = open_in_root(p, root, "/dev/pts/ptmx", flags=O_RDWR | O_NOCTTY)
        note = "/dev/pts/ptmx is not that of a devpts"
        verify.on_file_system(p, master, DEVPTS_SUPER_MAGIC, ENODEV, note)
        verify.is_node(p, master, S_IFCHR, (5, 2), ENODEV, note)
        p.call("ioctl", master, TIOCSPTLCK, b"\0\0\0\0")
        slave = p.call("ioctl", master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC, result=True)
    size = process.get("consoleSize")
    if size:
        with p.at("/process/consoleSize"):
            p.call("ioctl", slave, TIOCSWINSZ, _WINSIZE.pack(size["height"], size["width"], 0, 0))
    uid = process.get("user", {}).get("uid", 0)
    if uid:
        with p.at("/process/user/uid"):
            # The group stays that of all terminals, as devpts has it.
            p.call("fchown", slave, uid, 0xFFFFFFFF)
    with p.at("/process/terminal"):
        if bind:
            _bind_console(p, root, slave)
        p.say_with(facts.layout.init, CONSOLE, master)
        for fd in (0, 1, 2):
            p.call("dup3", slave, fd, 0)
        if controlling:
            p.call("ioctl", 0, TIOCSCTTY, 0)
    p.close(slave)
    p.close(master)


def _bind_console(p: Program, root: Register, slave: Register) -> None:
    dev = open_in_root(p, root, "/dev", flags=O_PATH | O_DIRECTORY)
    console = open_place(p, dev, "console")
    tree = p.clone_tree(slave)
    p.move_mount(tree, console)
    for register in (tree, console, dev):
        p.close(register)
