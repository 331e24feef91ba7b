"""pyrun kill ID [SIGNAL]"""

from __future__ import annotations

from pyrun.runtime.container import kill
from pyrun.runtime.errors import from_faults
from pyrun.runtime.state import Entry
from pyrun.spec import signals
from pyrun.spec.faults import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.runtime.cli.main import Context
    from pyrun.runtime.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    entry = Entry(context.root, arguments[0])
    try:
        signal = signals.parse(arguments[1] if len(arguments) > 1 else "TERM")
    except Invalid as e:
        raise from_faults(e.faults, "") from None
    # Without the lock: a create or start that hangs must be possible to end.
    kill(entry, entry.read(), signal, bool(values["all"]))
    return 0
