"""pyrun list"""

from __future__ import annotations

import posix

from pyrun.container.container import Container
from pyrun.errors import Error
from pyrun.spec import strictjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values

_COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")


def run(context: Context, values: Values, arguments: list[str]) -> int:
    form = values["format"] or "table"
    if form not in ("table", "json"):
        raise Error(f"--format is table or json, not {form}")
    if context.explicit_root:
        try:
            posix.stat(context.root)
        except OSError as e:
            raise Error("list the containers", call=f"open {context.root}", errno=e.errno) from None
    found = []
    for container in Container.each(context.root, context.caller):
        with container:
            try:
                found.append(container.describe())
            except Error as e:
                context.caller.log.warning(str(e))
    if values["quiet"]:
        for state in found:
            print(state["id"])
    elif form == "json":
        # runc's answer for none, which callers parse.
        print(strictjson.dumps(found) if found else "null")
    else:
        rows = [[name.upper() for name in _COLUMNS], *([str(state[name]) for name in _COLUMNS] for state in found)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
        for row in rows:
            print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0
