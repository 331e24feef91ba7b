"""pyrun restore ID"""

from __future__ import annotations

from pyrun.cli._images import common
from pyrun.cli.run import stay
from pyrun.container.bundle import CreateOptions, absolute
from pyrun.container.restore import RestoreOptions, restore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    detach = values.flag("detach")
    bundle = CreateOptions(
        bundle=absolute(values.text("bundle") or "."),
        config=values.text("config"),
        console_socket=values.text("console_socket"),
        pid_file=values.text("pid_file"),
        keep_console=not detach,
        cgroup_manager=context.cgroup_manager,
        rootless=context.rootless,
        require=context.require,
    )
    options = RestoreOptions(
        **common(context, values),
        lsm_profile=values.text("lsm_profile"),
        lsm_mount_context=values.text("lsm_mount_context"),
    )
    container, console = restore(context.root, arguments[0], bundle, options, context.caller)
    return stay(container, console, detach, values.flag("keep"), not values["no_subreaper"])
