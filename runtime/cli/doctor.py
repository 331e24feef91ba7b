"""pyrun doctor: what this host has, for this caller, and how to have more. Its other name is info."""

from __future__ import annotations

from pyrun.check.doctor import examine
from pyrun.cli._screen import GREEN, RED, YELLOW, Screen
from pyrun.spec import strictjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values

_INDENT = 23
_COLOURS = {"ok": GREEN, "limited": YELLOW, "missing": RED}


def run(context: Context, values: Values, arguments: list[str]) -> int:
    findings = examine(context.caller, context.root, context.criu)
    if values["json"]:
        names = ("about", "level", "says", "cost", "mend")
        print(strictjson.dumps([{name: getattr(row, name) for name in names} for row in findings], indent=2))
    else:
        screen = Screen(context.caller.environ)
        for row in findings:
            said = screen.fold(f"{row.level:<8} {row.about:<13} {row.says}", _INDENT)
            print(screen.paint(said[:8], _COLOURS[row.level]) + said[8:])
            for word, text in (("costs", row.cost), ("mend", row.mend)):
                if text:
                    print(screen.fold(f"{'':<{_INDENT}}{word}: {text}", _INDENT + len(word) + 2))
    return 1 if any(row.level == "missing" for row in findings) else 0
