"""pyrun resume ID"""

from __future__ import annotations

from pyrun.container.container import resume
from pyrun.container.store import Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    entry = Entry(context.root, arguments[0])
    entry.lock()
    resume(entry, entry.read())
    return 0
