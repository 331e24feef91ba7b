"""pyrun state ID"""

from __future__ import annotations

from pyrun.container.container import describe
from pyrun.container.store import Entry
from pyrun.spec import strictjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    # Without the lock: a hook of a create that is under way may ask.
    entry = Entry(context.root, arguments[0])
    print(strictjson.dumps(describe(entry, entry.read())))
    return 0
