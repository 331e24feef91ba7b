"""pyrun explain [ID]: what is kept of the last create, run, start or exec that failed, in words."""

from __future__ import annotations

import time

from pyrun.check.bundle import errors
from pyrun.cli._screen import Screen
from pyrun.container.bundle import CreateOptions, read_raw
from pyrun.errors import Error
from pyrun.failures.record import forget, records
from pyrun.failures.tell import tell
from pyrun.spec import strictjson
from pyrun.spec.audit import audit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values

_SHOWN = 10


def run(context: Context, values: Values, arguments: list[str]) -> int:
    folder, name = context.caller.cache("failures"), "".join(arguments)
    try:
        if values["forget"]:
            print(f"forgotten: {forget(folder, name)}")
            return 0
        kept = [record for record in records(folder) if name in ("", record["id"])]
    except OSError as e:
        raise Error("read what is kept of failures", call=f"open {folder}", errno=e.errno) from None
    if values["list"]:
        screen = Screen(context.caller.environ)
        for record in kept:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["when"]))
            print(screen.cut(f"{when}  {record['verb']:<6}  {record['id']:<24}  {record['error']}"))
        return 0
    if not kept:
        of = f" of {name}" if name else ""
        raise Error(f"no failure{of} is kept", hint="of create, run, start and exec the last 32 are")
    if values["json"]:
        print(strictjson.dumps(kept[0], indent=2))
        return 0
    for line in tell(kept[0], _checked(kept[0]["bundle"])):
        print(line)
    return 0


def _checked(bundle: str) -> list[str]:
    """What `check` finds in the bundle by now; [] too when it is gone."""
    options = CreateOptions(bundle=bundle)
    try:
        found = audit(read_raw(options))
    except Error:
        return []
    if found.config is not None:
        found.errors += errors(found.config, options, sound=not found.errors)
    return [str(fault) for fault in found.errors[:_SHOWN]]
