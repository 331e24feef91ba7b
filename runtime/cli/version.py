"""pyrun version"""

from __future__ import annotations

from pyrun.cli.help import version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    print(version())
    return 0
