"""pyrun doctor: what this host has, for this caller, and how to have more. Its other name is info."""

from __future__ import annotations

from pyrun.check.doctor import examine
from pyrun.spec import strictjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    findings = examine(context.caller, context.root)
    if values["json"]:
        names = ("about", "level", "says", "cost", "mend")
        print(strictjson.dumps([{name: getattr(row, name) for name in names} for row in findings], indent=2))
    else:
        for row in findings:
            print(f"{row.level:<8} {row.about:<13} {row.says}")
            for word, text in (("costs", row.cost), ("mend", row.mend)):
                if text:
                    print(f"{'':<22} {word}: {text}")
    return 1 if any(row.level == "missing" for row in findings) else 0
