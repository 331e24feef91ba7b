"""pyrun run ID"""

from __future__ import annotations

import posix

from pyrun.cli._lifecycle import create_options
from pyrun.container.create import create
from pyrun.errors import DoesNotExistError, Error
from pyrun.kernel.process import end_child
from pyrun.kernel.signals import SIGKILL, SIGSYS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli._learned import Learned
    from pyrun.cli.foreground import Foreground
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values
    from pyrun.container.container import Container
    from pyrun.container.create import Created


_KILLED = 128 + SIGKILL


def run(context: Context, values: Values, arguments: list[str]) -> int:
    detach = values.flag("detach")
    options = create_options(context, values, keep_console=not detach)
    if not detach and options.console_socket:
        raise Error("cannot use console socket if pyrun will not detach or allocate tty", hint="add --detach")
    keep, subreaper = values.flag("keep"), not values["no_subreaper"]
    if values["seccomp_record"]:
        if detach:
            raise Error("--seccomp-record goes with a container that is waited for, not with --detach")
        from pyrun.cli._learned import Learned, refuse  # lazy: only with --seccomp-record

        refuse(context.require)
        learned = Learned(values.text("seccomp_record"), context.caller.log)
        try:
            options.seccomp = learned.profile
            created = create(context.root, arguments[0], options, context.caller)
            code = attend(created, detach, keep, subreaper, learned)
            learned.write()
        finally:
            learned.close()
        return code
    return attend(create(context.root, arguments[0], options, context.caller), detach, keep, subreaper)


def attend(created: Created, detach: bool, keep: bool, subreaper: bool, learned: Learned | None = None) -> int:
    """Start the container and, in the foreground, stay with it to its end. learned: who hears its system calls."""
    container = created.container
    foreground = notifications = None
    # From here to the end of start it is ours alone: whatever happens, it doesn't stay.
    try:
        created.executor.close()
        if learned:
            learned.guard(container.state["pid"])
        if b"NOTIFY_SOCKET" in container.caller.environ:
            from pyrun.cli.service import Notifications  # lazy: only under a service manager

            notifications = Notifications.of(container)
        if not detach:
            if subreaper:
                _adopt_orphans(container)
            from pyrun.cli.foreground import Foreground  # lazy: not with --detach

            foreground = Foreground(container.state["pid"], created.console, container.caller.signals, notifications)
        container.start()
    except BaseException:
        if foreground:
            foreground.end()
        try:
            if container.directory.exists():
                container.delete(force=True)
        except (Error, OSError) as e:
            container.caller.log.warning(f"clean-up incomplete, run `delete --force`: {e}")
        # A zombie would be its caller's, and keep the pid namespace that it is in from ending.
        end_child(container.state["pid"])
        raise
    container.unlock()
    if foreground is None:
        if notifications:
            notifications.wait()
        return 0
    return _attended(container, foreground, keep)


def stay(container: Container, console: int, detach: bool, keep: bool, subreaper: bool) -> int:
    """The same with one that runs already, a child of ours and locked."""
    if detach:
        return 0
    if subreaper:
        _adopt_orphans(container)
    from pyrun.cli.foreground import Foreground  # lazy: not with --detach

    foreground = Foreground(container.state["pid"], console, container.caller.signals)
    container.unlock()
    return _attended(container, foreground, keep)


def _attended(container: Container, foreground: Foreground, keep: bool) -> int:
    """Its exit code, once it has ended and is deleted."""
    log = container.caller.log
    code = foreground.wait()
    log.debug(f"the program has ended: {code}")
    if code == _KILLED and (words := container.out_of_memory()):
        log.error(f"container {container.id} was killed: {words}")
    if foreground.signal == SIGSYS:
        from pyrun.cli._forbidden import explained  # lazy: for such an end alone

        since = container.state["started"] / posix.sysconf("SC_CLK_TCK")
        words = explained(container.state["pid"], container.config(), since)
        log.error(f"container {container.id} was killed: {words}")
    if not keep:
        try:
            container.locked()
        except DoesNotExistError:
            return code  # somebody else has deleted it already
        container.delete(force=True)
    return code


def _adopt_orphans(container: Container) -> None:
    """Processes that outlive init in a shared pid namespace become our children, not those of whoever called us."""
    if container.has_own_pids:
        return  # there nothing does
    try:
        import prctl  # lazy: only in the foreground, and it takes a millisecond
    except ImportError:
        container.caller.log.warning(
            "python-prctl is not installed: processes that outlive the container's init are not adopted"
        )
        return
    prctl.set_child_subreaper(1)
