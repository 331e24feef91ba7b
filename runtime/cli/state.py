"""pyrun state ID"""

from __future__ import annotations

from pyrun.spec import strictjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    # Without the lock: a hook of a create that is under way may ask.
    with context.open(arguments[0]) as container:
        print(strictjson.dumps(container.describe()))
    return 0
