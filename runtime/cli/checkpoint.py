"""pyrun checkpoint ID"""

from __future__ import annotations

from pyrun.cli._images import common, number
from pyrun.container.checkpoint import DumpOptions, checkpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    options = DumpOptions(
        **common(context, values),
        parent_path=values.text("parent_path"),
        leave_running=values.flag("leave_running"),
        pre_dump=values.flag("pre_dump"),
        tcp_skip_in_flight=values.flag("tcp_skip_in_flight"),
        page_server=values.text("page_server"),
        status_fd=number(values, "status_fd"),
    )
    with context.open(arguments[0]).locked() as container:
        checkpoint(container, options)
    return 0
