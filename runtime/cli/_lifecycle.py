"""What the commands on one container share."""

from __future__ import annotations

from pyrun.container.bundle import CreateOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def create_options(
    context: Context, values: Values, *, keep_console: bool = False, trace: bool = False
) -> CreateOptions:
    sockets = int(str(values["sockets"]))
    return CreateOptions(
        str(values["bundle"] or "."),
        config=str(values["config"]),
        console_socket=str(values["console_socket"]),
        pid_file=str(values["pid_file"]),
        pidfd_socket=str(values["pidfd_socket"]),
        pivot=not values["no_pivot"],
        keyring=not values["no_new_keyring"],
        preserve_fds=sockets + int(str(values["preserve_fds"] or 0)),
        notify=bool(context.caller.environ.get(b"NOTIFY_SOCKET")),
        environment=_told(context, sockets),
        keep_console=keep_console,
        cgroup_manager=context.cgroup_manager,
        rootless=context.rootless,
        trace=trace,
    )


def _told(context: Context, sockets: int) -> list[str]:
    if not sockets:
        return []
    from pyrun.cli.service import told  # lazy: only with sockets of systemd's

    return told(context.caller.environ, sockets)
