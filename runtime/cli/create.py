"""pyrun create ID"""

from __future__ import annotations

from pyrun.cli._lifecycle import create_options
from pyrun.container.create import create

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    created = create(context.root, arguments[0], create_options(context, values), context.caller)
    created.executor.close()
    created.container.close()
    return 0
