"""pyrun resume ID"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    with context.open(arguments[0]).locked() as container:
        container.resume()
    return 0
