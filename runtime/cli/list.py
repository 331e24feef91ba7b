"""pyrun list"""

from __future__ import annotations

import posix
import select

from pyrun.cli._screen import Screen, table
from pyrun.container.container import Container
from pyrun.container.store import containers
from pyrun.errors import Error
from pyrun.kernel.shares import in_shares
from pyrun.spec import strictjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values

_COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")
_SECONDS = 0.5
# One more process pays off for each so many containers.
_SHARE = 50


def run(context: Context, values: Values, arguments: list[str]) -> int:
    form = values["format"] or "table"
    if form not in ("table", "json"):
        raise Error(f"--format is table or json, not {form}")
    if context.explicit_root:
        try:
            posix.stat(context.root)
        except OSError as e:
            raise Error("list the containers", call=f"open {context.root}", errno=e.errno) from None
    if not values["watch"]:
        print(_shown(_states(context), form, values.flag("quiet"), Screen(context.caller.environ)), end="")
        return 0
    before = None
    while True:
        screen = Screen(context.caller.environ)
        shown = _shown(_states(context), form, values.flag("quiet"), screen)
        if shown != before:
            print(screen.anew + shown, end="", flush=True)
            before = shown
        context.caller.wait(select.poll(), _SECONDS)


def _states(context: Context) -> list[dict[str, Any]]:
    def describe(names: list[str]) -> list[dict[str, Any]]:
        found = []
        for container in Container.each(context.root, context.caller, names):
            with container:
                try:
                    found.append(container.describe())
                except Error as e:
                    context.caller.log.warning(str(e))
        return found

    return in_shares(describe, containers(context.root), _SHARE)


def _shown(found: list[dict[str, Any]], form: str, quiet: bool, screen: Screen) -> str:
    if quiet:
        lines = [str(state["id"]) for state in found]  # of few characters: container/store.py
    elif form == "json":
        # runc's answer for none, which callers parse.
        lines = [strictjson.dumps(found) if found else "null"]
    else:
        headings = tuple(name.upper() for name in _COLUMNS)
        lines = table([headings, *(tuple(str(state[name]) for name in _COLUMNS) for state in found)])
    return "".join(f"{screen.cut(line) if form == 'table' else line}\n" for line in lines)
