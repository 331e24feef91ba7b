"""pyrun exec ID COMMAND [ARGS...]"""

from __future__ import annotations

import posix
import time

from pyrun.container.bundle import absolute
from pyrun.container.exec import ExecOptions, execute
from pyrun.container.gather import seccomp_filter
from pyrun.errors import ConfigError, Error
from pyrun.kernel.files import read_document
from pyrun.kernel.signals import SIGKILL, SIGSYS
from pyrun.plan import labels
from pyrun.spec import config as spec_config
from pyrun.spec.checks import process_faults, process_warnings
from pyrun.spec.faults import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values
    from pyrun.container.container import Container
    from pyrun.spec.config import Capabilities, Config, Process, User

# Failures of pyrun itself: callers tell them from those of the program by this.
_FAILED = 255
_MOST_ID = (1 << 32) - 2


def run(context: Context, values: Values, arguments: list[str]) -> int:
    try:
        return _run(context, values, arguments)
    except Error as e:
        e.code = _FAILED
        e.what = f"exec failed: {e.what}"
        raise


def _run(context: Context, values: Values, arguments: list[str]) -> int:
    with context.open(arguments[0]) as container:
        return _execute(context, container, values, arguments[1:])


def _execute(context: Context, container: Container, values: Values, command: list[str]) -> int:
    config = container.config()
    process = _process(config, values, command)
    if context.require:
        from pyrun.container.policy import enforce_part  # lazy: only with --require

        enforce_part(context.require, "process", process, container)
    for fault in process_warnings(process):
        context.caller.log.warning(str(fault))
    detach = values.flag("detach")
    socket = values.text("console_socket")
    if process.get("terminal") and detach and not socket:
        raise Error("cannot allocate tty if pyrun will detach without setting console socket")
    if socket and not (detach and process.get("terminal")):
        raise Error("cannot use console socket if pyrun will not detach or allocate tty")
    options = ExecOptions(
        console_socket=socket,
        pid_file=values.text("pid_file"),
        pidfd_socket=values.text("pidfd_socket"),
        cgroup=values.texts("cgroup"),
        preserve_fds=int(values.text("preserve_fds") or 0),
        ignore_paused=values.flag("ignore_paused"),
        seccomp=seccomp_filter(config, context.caller),
        profile=config.get("linux", {}).get("seccomp"),
        linux=config.get("linux"),
    )
    if trace := context.caller.log.trace:
        trace.config = {**config, "process": process}
    began = time.monotonic()
    pid, console = execute(container, process, options)
    if detach:
        return 0
    # Until somebody stays with it, it doesn't stay.
    try:
        from pyrun.cli.foreground import Foreground  # lazy: not with --detach

        foreground = Foreground(pid, console, context.caller.signals)
    except BaseException:
        posix.kill(pid, SIGKILL)
        raise
    code = foreground.wait()
    if foreground.signal == SIGSYS:
        from pyrun.cli._forbidden import explained  # lazy: for such an end alone

        context.caller.log.error(f"{process['args'][0]} was killed: {explained(pid, config, began)}")
    return code


def _process(config: Config, values: Values, command: list[str]) -> Process:
    """The process to run: from a file, or that of the config with what the command line changes."""
    try:
        if values["process"]:
            try:
                raw = read_document(absolute(values.text("process")))
            except OSError as e:
                raise Error("read the process", call=f"open {values['process']}", errno=e.errno) from None
            process = spec_config.load_process(raw)
        else:
            process = _changed(config.get("process", {}), values, command)
            faults = process_faults(process)
            if faults:
                raise Invalid(faults)
    except Invalid as e:
        raise ConfigError(e.faults, "invalid process") from None
    if values["tty"]:
        process["terminal"] = True
    if labels.wanted(process):
        from pyrun.host import lsm  # lazy: only with labels

        lsm.require(process)
    return process


def _changed(base: Process, values: Values, command: list[str]) -> Process:
    process: Process = {**base, "args": command, "terminal": False}
    if values["cwd"]:
        process["cwd"] = values.text("cwd")
    process["env"] = [*base.get("env", []), *values.texts("env")]
    user: User = {**base.get("user", {})}
    if values["user"]:
        uid, colon, gid = values.text("user").partition(":")
        user["uid"] = _id("--user", uid)
        user["gid"] = _id("--user", gid) if colon else user.get("gid", 0)
    if values["additional_gids"]:
        user["additionalGids"] = [_id("--additional-gids", gid) for gid in values.texts("additional_gids")]
    process["user"] = user
    if values["apparmor"]:
        process["apparmorProfile"] = values.text("apparmor")
    if values["process_label"]:
        process["selinuxLabel"] = values.text("process_label")
    if values["no_new_privs"]:
        process["noNewPrivileges"] = True
    added = values.texts("cap")
    if added:
        sets: Capabilities = {**base.get("capabilities", {})}
        sets["bounding"] = [*sets.get("bounding", []), *added]
        sets["effective"] = [*sets.get("effective", []), *added]
        sets["permitted"] = [*sets.get("permitted", []), *added]
        # Never into the inheritable set; the ambient one needs that (CVE-2022-29162).
        inheritable = sets.get("inheritable", [])
        sets["ambient"] = [*sets.get("ambient", []), *(name for name in added if name in inheritable)]
        process["capabilities"] = sets
    return process


def _id(flag: str, text: str) -> int:
    """A numeric id, and nothing else (CVE-2026-30892)."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _MOST_ID):
        raise Error(f"{flag} takes numeric ids, not {text!r}", hint="UID or UID:GID")
    return int(text)
