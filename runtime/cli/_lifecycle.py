"""What the commands on one container share."""

from __future__ import annotations

from pyrun.container.bundle import CreateOptions, absolute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def create_options(context: Context, values: Values, *, keep_console: bool = False) -> CreateOptions:
    """What the options of create, run and trace come to."""
    sockets = int(values.text("sockets"))
    return CreateOptions(
        bundle=absolute(values.text("bundle") or "."),
        config=values.text("config"),
        console_socket=values.text("console_socket"),
        pid_file=values.text("pid_file"),
        pidfd_socket=values.text("pidfd_socket"),
        pivot=not values["no_pivot"],
        keyring=not values["no_new_keyring"],
        preserve_fds=sockets + int(values.text("preserve_fds") or 0),
        notify=bool(context.caller.environ.get(b"NOTIFY_SOCKET")),
        environment=_told(context, sockets),
        keep_console=keep_console,
        cgroup_manager=context.cgroup_manager,
        rootless=context.rootless,
        require=context.require,
        expect_plan=values.text("expect_plan"),
    )


def _told(context: Context, sockets: int) -> list[str]:
    if not sockets:
        return []
    from pyrun.cli.service import told  # lazy: only with sockets of systemd's

    return told(context.caller.environ, sockets)
