"""--trace FILE: a command, and afterwards what it did: also when it failed."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

from pyrun.cli._screen import Screen
from pyrun.errors import Error
from pyrun.timeline import chrome, page, table
from pyrun.timeline.events import timeline
from pyrun.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values

    Run = Callable[[Context, Values, list[str]], int]


def traced(run: Run, where: str, context: Context, values: Values, arguments: list[str]) -> int:
    """Run it. where: a file, its form by how its name ends; "-": the table, on stderr. Raises Error."""
    try:
        # Before anything is made.
        file = sys.stderr if where == "-" else open(where, "w", encoding="utf-8")  # noqa: SIM115
    except OSError as e:
        raise Error("open the trace", call=f"open {where}", errno=e.errno) from None
    trace = context.caller.log.trace = Trace()
    try:
        return run(context, values, arguments)
    except Error as e:
        trace.failure = str(e)
        raise
    finally:
        context.caller.log.trace = None
        try:
            _write(trace, where, file)
            if file is not sys.stderr:
                file.close()
        except OSError as e:
            # How the command has ended counts for more.
            context.caller.log.warning(str(Error("write the trace", call=f"write {where}", errno=e.errno)))


def _write(trace: Trace, where: str, file: TextIO) -> None:
    found = timeline(trace)
    if where.endswith(".json"):
        file.write(chrome.document(found))
    elif where.endswith(".html"):
        file.write(page.document(found))
    else:
        screen = Screen(os.environb, file.fileno())
        for line in table.lines(found, colour=screen.coloured, width=screen.width):
            file.write(f"{line}\n")
