"""From argv to an exit status. No traceback reaches a user without --debug."""

from __future__ import annotations

import posix
import sys
from errno import EDQUOT, EFBIG, EIO, EMFILE, ENFILE, ENOMEM, ENOSPC, EROFS
from fcntl import LOCK_NB, LOCK_SH, flock

from pyrun.caller import Caller, Interrupt
from pyrun.cli.parse import UsageError, Values, parse
from pyrun.errors import Error
from pyrun.kernel.signals import SIGCHLD, SIGINT, Pending, default
from pyrun.log import FORMATS, LEVELS, Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from pyrun.container.container import Container


# What this machine has run out of: no mistake of ours, wherever it is noticed.
_EXHAUSTED = (EDQUOT, EFBIG, EIO, EMFILE, ENFILE, ENOMEM, ENOSPC, EROFS)
_MANAGERS = ("cgroupfs", "systemd", "disabled")
_EXEC_FAILED = 255
# Of these a failure leaves a record.
_RECORDED = ("create", "run", "trace", "start", "exec")


class Context:
    """What every command is given. explicit_root: --root was said."""

    __slots__ = ("caller", "cgroup_manager", "criu", "explicit_root", "require", "root", "rootless")

    def __init__(self, wide: Values, caller: Caller) -> None:
        self.caller = caller
        root = wide.text("root")
        self.explicit_root = bool(root)
        if root and not root.startswith("/"):
            from pyrun.container.bundle import absolute  # lazy: managers name it by an absolute path

            root = absolute(root)
        self.root = root.rstrip("/") or caller.default_root()
        if root and not root.strip("/"):
            raise Error("--root must not be /", hint="the containers' directories would lie there")
        self.criu = wide.text("criu")
        self.require = wide.text("require")
        if self.require:
            from pyrun.container.bundle import absolute  # lazy: seldom said

            self.require = absolute(self.require)
        rootless = wide.text("rootless").lower()
        if rootless not in ("", "true", "false", "auto"):
            raise Error(f"--rootless is true, false or auto, not {rootless}")
        self.rootless = {"true": True, "false": False}.get(rootless)
        self.cgroup_manager = wide.text("cgroup_manager") or ("systemd" if wide["systemd_cgroup"] else "cgroupfs")
        if self.cgroup_manager not in _MANAGERS or (wide["systemd_cgroup"] and self.cgroup_manager != "systemd"):
            given = f"not {self.cgroup_manager}" + (" with --systemd-cgroup" if wide["systemd_cgroup"] else "")
            raise Error(f"--cgroup-manager is cgroupfs, systemd or disabled, {given}")

    def open(self, name: str) -> Container:
        """Raises Error."""
        from pyrun.container.container import Container  # lazy: not for features, check and the like

        return Container.open(self.root, name, self.caller)


def main(argv: list[str]) -> int:
    """Run one command line (without the program's name); returns the exit status."""
    log = Log()
    name, context = "", None
    wide, values = Values(), Values()
    arguments: list[str] = []
    try:
        if not argv and b"_PYRUN_COMPLETE" in posix.environ:
            from pyrun.cli.completion import complete  # lazy: cold

            return complete()
        wide, name, values, arguments = parse(argv)
        if not name or values["help"]:
            from pyrun.cli.help import show  # lazy: cold

            return show(wide, name)
        _check_preserved(values)
        log = _log(wide)
        _hold_library()
        command = _module(name)
        context = Context(wide, Caller(log, signals=Pending()))
        if where := values.get("trace") or "-" * (name == "trace"):
            from pyrun.cli._traced import traced  # lazy: only with --trace

            return traced(command.run, str(where), context, values, arguments)
        return int(command.run(context, values, arguments))
    except UsageError as e:
        from pyrun.cli.help import usage  # lazy: an error

        return usage(e)
    except Error as e:
        log.error(e)
        if context and name in _RECORDED and not wide["no_record"]:
            _record(name, context, values, arguments, e)
        # What exec itself fails with must not be taken for its program's own end.
        return _EXEC_FAILED if name == "exec" else e.code
    except BrokenPipeError:
        return 1
    except Interrupt as e:
        return 128 + e.signum
    except Exception as e:
        if log.debugging:
            raise
        failed = _EXEC_FAILED if name == "exec" else 1
        if isinstance(e, ImportError):
            # A module that is there can't be read: importlib does not say why.
            hint = "is pyrun installed whole, and the disk in order?"
            log.error(Error(name or "pyrun", detail=str(e), hint=hint))
            return failed
        if isinstance(e, OSError) and e.errno in _EXHAUSTED:
            hint = "raise RLIMIT_NOFILE (ulimit -n)" if e.errno == EMFILE else ""
            log.error(Error(name, call=f"open {e.filename}" if e.filename else "", errno=e.errno, hint=hint))
            return failed
        what = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
        path = f" {e.filename}" if isinstance(e, OSError) and e.filename else ""
        log.error(f"pyrun itself failed: {type(e).__name__}{path}: {what} (--debug shows where)")
        return failed


def _record(name: str, context: Context, values: Values, arguments: list[str], error: Error) -> None:
    """For `explain`. What has been said to the user counts for more than that it can be kept."""
    try:
        from pyrun.cli._recorded import record  # lazy: an error

        record(name, context, values, arguments, error)
    except (ImportError, OSError, MemoryError) as e:
        context.caller.log.debug(f"the failure is not kept: {e}")


def _log(wide: Values) -> Log:
    for option, key, known in (("--log-format", "log_format", FORMATS), ("--log-level", "log_level", LEVELS)):
        said = wide.text(key)
        if said and said not in known:
            raise Error(f"{option} is {', '.join(known[:-1])} or {known[-1]}, not {said}")
    return Log(wide.text("log"), wide.text("log_format"), wide.flag("debug"), wide.text("log_level"))


def _check_preserved(values: Values) -> None:
    """Before anything of ours is open: the numbers that --preserve-fds names must be the caller's."""
    if "preserve_fds" not in values:
        return
    count = values.text("preserve_fds") or "0"
    if not (count.isascii() and count.isdigit() and len(count) < 5):
        raise Error(f"--preserve-fds takes a number, not {count!r}")
    sockets = 0
    if b"LISTEN_FDS" in posix.environ:
        from pyrun.cli.service import passed_sockets  # lazy: only with sockets of systemd's

        sockets = passed_sockets(posix.environ)
    values["sockets"] = str(sockets)
    for fd in range(3, 3 + sockets + int(count)):
        try:
            posix.get_inheritable(fd)
        except OSError as e:
            asked = "LISTEN_FDS" if fd < 3 + sockets else f"--preserve-fds {count}"
            raise Error(f"{asked}: descriptor {fd}", errno=e.errno, hint="it must be open") from None


def _hold_library() -> None:
    """What is imported only later, at a container's end or for an error, must still be there then, however many
    installs there have been since: packaging/install.py removes no directory that somebody holds a lock on."""
    try:
        fd = posix.open(__file__.removesuffix("/pyrun/cli/main.py"), posix.O_RDONLY | posix.O_CLOEXEC)
        flock(fd, LOCK_SH | LOCK_NB)
    except OSError:  # no descriptor left, or no locks there: so without
        return


def _module(name: str) -> ModuleType:
    """The command's module, by an import of its own name only: nothing of the others is loaded."""
    module = f"pyrun.cli.{name}"
    __import__(module)
    return sys.modules[module]


def _fill_stdio() -> None:
    """Where the caller has closed stdin, stdout or stderr, the null device takes their numbers: else some file of ours
    would get them, and the container with them."""
    while (fd := posix.open("/dev/null", posix.O_RDWR)) < 3:
        posix.set_inheritable(fd, True)
    posix.close(fd)


def entry() -> None:
    """The program: ends without the interpreter's own farewell, which takes half a millisecond."""
    try:
        default(SIGINT)
        _fill_stdio()
        # Where a caller ignores it, the kernel reaps our children before we can ask how they ended (waitpid(2)).
        default(SIGCHLD)
        code = main(sys.argv[1:])
    except Exception as e:
        # Asked for by --debug; or not even the log could be written, with no descriptor or memory left.
        if "--debug" in sys.argv:
            raise
        posix.write(2, f"pyrun: {type(e).__name__}: {e}\n".encode(errors="replace"))
        code = 1
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        code = code or 1
    posix._exit(code)
