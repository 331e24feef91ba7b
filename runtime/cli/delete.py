"""pyrun delete ID"""

from __future__ import annotations

from pyrun.container.container import delete

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    force = values.flag("force")
    if values["regex"]:
        from pyrun.cli._matching import each  # lazy: cold

        return each(context, arguments[0], lambda name: delete(context.root, name, context.caller, force))
    delete(context.root, arguments[0], context.caller, force)
    return 0
