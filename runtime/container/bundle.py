"""What create is asked for: its options, and the bundle's config."""

from __future__ import annotations

import posix
from errno import ENOENT

from pyrun.errors import ConfigError, Error
from pyrun.kernel.files import read_document
from pyrun.record import Record
from pyrun.spec import config as spec_config
from pyrun.spec.faults import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrun.spec.config import Config, Seccomp


class CreateOptions(Record):
    """What the command line of create and run says, each with its flag's name, and what their caller adds."""

    # Absolute
    bundle: str
    config: str = ""
    console_socket: str = ""
    pid_file: str = ""
    pidfd_socket: str = ""
    pivot: bool = True
    keyring: bool = True
    preserve_fds: int = 0
    cgroup_manager: str = ""
    # None: as it is found to be
    rootless: bool | None = None
    # The caller relays the terminal itself
    keep_console: bool = False
    # The container's program is to say when it is ready (sd_notify(3))
    notify: bool = False
    # The policy that the config must keep to; "" for none
    require: str = ""
    # The digest that the plan must have (container/planned.py); "" for any
    expect_plan: str = ""
    # In place of linux.seccomp
    seccomp: Seccomp | None = None
    # What the container gets for 0, 1 and 2, in place of the caller's
    stdio: Sequence[int] = ()
    # Added to process.env: what the service manager has for the program
    environment: Sequence[str] = ()


def absolute(path: str) -> str:
    """`path` from the root on, without what only decorates it; `..` stays, since a symlink may stand before it."""
    if not path.startswith("/"):
        try:
            path = f"{posix.getcwd()}/{path}"
        except OSError as e:
            hint = "the current directory is gone: name files by absolute paths"
            raise Error(f"find {path}", call="getcwd", errno=e.errno, hint=hint) from None
    parts = path.split("/")
    return "/" + "/".join(part for part in parts if part not in ("", "."))


def read_raw(options: CreateOptions) -> bytes:
    """The text of the bundle's config. Raises Error."""
    path = absolute(options.config) if options.config else f"{options.bundle}/config.json"
    try:
        return read_document(path)
    except OSError as e:
        if e.errno == ENOENT:
            raise Error(f"JSON specification file {path} not found", hint="--bundle names its directory") from None
        raise Error(f"read {path}", call="open", errno=e.errno) from None


def read_config(options: CreateOptions) -> tuple[bytes, Config]:
    """The bundle's config, checked. Raises Error with every fault."""
    raw = read_raw(options)
    try:
        config = spec_config.load(raw)
    except Invalid as e:
        raise ConfigError(e.faults) from None
    if options.require:
        from pyrun.container.policy import enforce  # lazy: only with --require

        enforce(options.require, config, options.bundle)
    return raw, config


def check_terminal(config: Config, options: CreateOptions) -> None:
    """Who makes a terminal must have somebody to hold it. Raises Error."""
    terminal = config.get("process", {}).get("terminal", False)
    if terminal and not options.console_socket and not options.keep_console:
        words = "cannot allocate tty if pyrun will detach without setting console socket"
        raise Error(words, pointer="/process/terminal")
    if not terminal and options.console_socket:
        words = "cannot use console socket if pyrun will not detach or allocate tty"
        raise Error(words, pointer="/process/terminal")
