"""process: stdio, working directory, the executable, and the last steps before it runs (config.md "Process")."""

from __future__ import annotations

from errno import EACCES, EINVAL, ENOENT

from pyrun.kernel.constants import (
    AT_EACCESS,
    AT_FDCWD,
    O_DIRECTORY,
    O_NOCTTY,
    O_NONBLOCK,
    O_PATH,
    O_RDONLY,
    O_RDWR,
    S_IFCHR,
    S_IFDIR,
    S_IFMT,
    STATX_MODE,
    STATX_RDEV,
    STATX_UID,
)
from pyrun.machine.messages import HOME
from pyrun.machine.program import ANY_ERROR, PASS, Buffer, Label, Program, Register
from pyrun.plan import verify
from pyrun.plan.masks import NULL
from pyrun.plan.paths import DIRECTORY, open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.plan.facts import Facts
    from pyrun.spec.config import Process

_X_OK = 1
_UNCHANGED = 0xFFFFFFFF
HOME_ROOM = 1024


def hand_over_stdio(p: Program, process: Process, root: Register) -> None:
    """The container's stdio belongs to its user, and a null device among it is the container's own.

    The host's /dev/null keeps its owner, whatever the user (crun 1.8 changes it)."""
    uid = process.get("user", {}).get("uid", 0)
    with p.at("/process/user/uid"):
        none, some = p.label(), p.label()
        for fd in (0, 1, 2):
            with p.held(p.do(_device, fd)) as device:
                p.branch(device, verify.rdev(*NULL), some)
        p.jump(none)
        p.place(some)
        with p.opened(open_in_root(p, root, "/dev/null", flags=O_RDWR | O_NONBLOCK | O_NOCTTY)) as null:
            verify.is_node(p, null, S_IFCHR, NULL, EINVAL, "/dev/null in the container is not the null device")
            for fd in (0, 1, 2):
                with p.held(p.do(_device, fd)) as device, p.when(device, verify.rdev(*NULL)):
                    p.call("dup3", null, fd, 0)
        p.place(none)
        for fd in (0, 1, 2):
            p.do(_give, fd, uid)


def _device(p: Program, fd: Register) -> Register:
    """The device that the descriptor is of; 0 for none, and where the descriptor is closed."""
    found, closed = p.register(), p.label()
    p.move(found, 0)
    with p.held(p.load(p.statx(fd, errors={ANY_ERROR: closed}), STATX_RDEV, 8)) as device:
        p.move(found, device)
    p.place(closed)
    return found


def _give(p: Program, fd: Register, uid: Register) -> None:
    closed = p.label()
    stat = p.statx(fd, errors={ANY_ERROR: closed})
    device, owner = p.load(stat, STATX_RDEV, 8), p.load(stat, STATX_UID, 4)
    with p.held(device), p.held(owner), p.unless(device, verify.rdev(*NULL)), p.unless(owner, uid):
        # A pipe on a read-only file system, or an owner without mapping, keeps its owner.
        p.call("fchown", fd, uid, _UNCHANGED, ignore=(ANY_ERROR,))
    p.place(closed)


class WorkingDirectory:
    """process.cwd: entered with the rights of the container's root, or else with those of its user."""

    __slots__ = ("entered", "fd")

    def __init__(self, p: Program, process: Process, root: Register, make: bool = True) -> None:
        with p.at("/process/cwd"):
            # A missing one is made, as runc and crun do; for a container, not for an exec.
            create = DIRECTORY if make else ""
            self.fd = open_in_root(p, root, process["cwd"], flags=O_PATH | O_DIRECTORY, create=create)
            self.entered = p.register()
            later = p.label()
            p.move(self.entered, 0)
            p.call("fchdir", self.fd, errors={EACCES: later})
            p.move(self.entered, 1)
            p.place(later)

    def enter(self, p: Program) -> None:
        """As the user; then look whether it is inside: a directory can be renamed out of the root (CVE-2024-21626)."""
        with p.at("/process/cwd"):
            with p.unless(self.entered, 1):
                p.call("fchdir", self.fd)
            path = p.scratch()
            p.call("getcwd", path, path.size)
            with p.held(p.load(path, 0, 1)) as first, p.unless(first, ord("/")):
                p.fail(ENOENT, "the working directory is outside of the container's root")
            p.close(self.fd)
            p.free(self.entered)


def find_executable(p: Program, process: Process) -> Register:
    """A register that points to the path of args[0], looked up with the rights of the user, before `created`."""
    name = process["args"][0]
    path = p.register()
    with p.at("/process/args/0"):
        if "/" in name:
            with p.held(p.load(p.statx(AT_FDCWD, name), STATX_MODE, 2)) as mode, p.when(mode, S_IFDIR, mask=S_IFMT):
                p.fail(EACCES, "a directory, not an executable")
            p.call("faccessat2", AT_FDCWD, name, _X_OK, AT_EACCESS)
            p.move(path, name)
        else:
            found = p.label()
            for directory in search_path(process):
                _try(p, f"{directory}/{name}", path, found)
            p.fail(ENOENT, "executable file not found in $PATH")
            p.place(found)
    return path


def search_path(process: Process) -> list[str]:
    """The directories of PATH in process.env, not in the runtime's own environment; only absolute ones."""
    value = ""
    for entry in process.get("env", []):
        if entry.startswith("PATH="):
            value = entry[5:]
    return [directory.rstrip("/") for directory in value.split(":") if directory.startswith("/")]


def _try(p: Program, candidate: str, path: Register, found: Label) -> None:
    following = p.label()
    p.call("faccessat2", AT_FDCWD, candidate, _X_OK, AT_EACCESS, errors={ANY_ERROR: following})
    mode = p.load(p.statx(AT_FDCWD, candidate, errors={ANY_ERROR: following}), STATX_MODE, 2)
    p.branch(mode, S_IFDIR, following, mask=S_IFMT)
    p.free(mode)
    p.move(path, candidate)
    p.jump(found)
    p.place(following)


def ask_home(p: Program, process: Process | None, facts: Facts) -> Buffer | None:
    """Where HOME isn't set, the open /etc/passwd goes to the runtime, whose it is to read its text, and HOME= comes
    back. Returns where that is."""
    if process is None or not asks_home(process):
        return None
    # struct message, with the text behind it
    home = p.buffer(16 + HOME_ROOM)
    layout = facts.layout
    without, said = p.label(), p.label()
    with p.at("/process/env"):
        passwd = p.openat(AT_FDCWD, "/etc/passwd", O_RDONLY | O_NONBLOCK | O_NOCTTY, errors={ANY_ERROR: without})
        p.say_with(layout.init, HOME, passwd)
        p.close(passwd)
        p.jump(said)
        p.place(without)
        p.say(HOME)
        p.place(said)
        got = p.call("read", layout.init, home, 16 + HOME_ROOM, result=True)
        with p.held(got), p.when(got, 0):
            p.call("exit_group", 1)
    return home


def asks_home(process: Process) -> bool:
    """HOME is to be found: it isn't in process.env, or it is empty, which counts as that for runc too."""
    home = ""
    for entry in process.get("env", []):
        if entry.startswith("HOME="):
            home = entry[5:]
    return not home


class Command:
    """What execve takes, laid out before the filter: path, arguments, environment."""

    __slots__ = ("_argv", "_envp", "_path")

    def __init__(self, p: Program, process: Process, path: Register, home: Buffer | None) -> None:
        self._path = path
        with p.at("/process/args"):
            self._argv = p.strings(process["args"])
        with p.at("/process/env"):
            env = environment(process)
            if home:
                env = [entry for entry in env if entry != "HOME="]
            self._envp = p.strings([*env, ""] if home else env)
            if home:
                p.store(self._envp, 8 * len(env), 8, Buffer(home.offset + 16, HOME_ROOM))

    def execute(self, p: Program) -> None:
        """execve(2)."""
        with p.at("/process/args/0"):
            p.call("execve", self._path, self._argv, self._envp)


def await_start(p: Program, facts: Facts) -> None:
    """Wait for `start`; what fails from here on is told by the second fifo, where it reads."""
    layout = facts.layout
    # struct iovec: where, how much
    one, vector = p.buffer(8), p.buffer(16)
    p.store(vector, 0, 8, one)
    p.store(vector, 8, 8, 1)
    p.call("readv", layout["fifo"], vector, 1, 0, 0, PASS)
    p.channel(layout["status"])


def environment(process: Process) -> list[str]:
    """process.env, the last of each name, as runc and crun do."""
    last: dict[str, str] = {}
    for entry in process.get("env", []):
        name = entry.partition("=")[0]
        last.pop(name, None)
        last[name] = entry
    return list(last.values())
