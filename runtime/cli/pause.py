"""pyrun pause ID"""

from __future__ import annotations

from pyrun.runtime.container import pause
from pyrun.runtime.state import Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.runtime.cli.main import Context
    from pyrun.runtime.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    entry = Entry(context.root, arguments[0])
    entry.lock()
    pause(entry, entry.read())
    return 0
