"""The fast parser: options as runc's users and crun's users write them, by the table.

`--name value`, `--name=value`, `-n value`, `-nvalue`, a single dash before a long name (go-runc says `-no-subreaper`),
`--` to end options, options before and after the arguments.
"""

from __future__ import annotations

from pyrun.cli.table import COMMANDS, GLOBAL, Option
from pyrun.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    _Values = dict[str, str | bool | list[str]]

    from pyrun.cli.table import Row
else:
    _Values = dict

_ABSENT: dict[str, Callable[[], str | bool | list[str]]] = {"switch": bool, "value": str, "repeated": list}
_TRUE, _FALSE = ("true", "t", "1"), ("false", "f", "0")


class Values(_Values):
    """What the options of a command are, by their keys in the table: each asked for as what its row makes it."""

    def text(self, key: str) -> str:
        """The value of an option that takes one; "" when it isn't given."""
        value = self[key]
        assert isinstance(value, str)
        return value

    def flag(self, key: str) -> bool:
        """Whether a switch is given."""
        value = self[key]
        assert isinstance(value, bool)
        return value

    def texts(self, key: str) -> list[str]:
        """Those of an option that may be repeated."""
        value = self[key]
        assert isinstance(value, list)
        return value


class UsageError(Error):
    """The command line can't be understood. command: whose usage to show, "" for the program's. word: what isn't known,
    in the place of which one of `known` may have been meant."""

    def __init__(
        self, command: str, message: str, code: int = 1, *, word: str = "", known: Collection[str] = ()
    ) -> None:
        super().__init__(message)
        self.command = command
        self.code = code
        self.word = word
        self.known = known


def parse(argv: list[str]) -> tuple[Values, str, Values, list[str]]:
    """(global options, command, its options, its arguments); command "" when only global options were given.

    Raises UsageError."""
    wide, rest = _options("", GLOBAL, argv, first=True)
    if not rest or wide["help"] or wide["version"]:
        return wide, "", Values(), []
    name, *rest = rest
    command = COMMANDS.get(name)
    if command is None:
        raise UsageError("", f"no such command: {name!r}", 3, word=name, known=COMMANDS)
    values, arguments = _options(name, command.options, rest, first=command.rest)
    if not values["help"] and not command.least <= len(arguments) <= command.most:
        wanted = str(command.least) if command.least == command.most else f"{command.least} to {command.most}"
        raise UsageError(name, f'"{name}" requires exactly {wanted} argument(s), not {len(arguments)}')
    return wide, name, values, arguments


def _options(command: str, table: tuple[Row, ...], words: list[str], first: bool) -> tuple[Values, list[str]]:
    values = Values()
    by_name = {}
    for row in table:
        option = Option(row)
        values[option.key] = _ABSENT[option.kind]()
        for name in option.names:
            by_name[name] = option
    arguments: list[str] = []
    i = 0
    while i < len(words):
        word = words[i]
        i += 1
        if word == "--":
            return values, arguments + words[i:]
        if word[:1] != "-" or word == "-":
            arguments.append(word)
            if first:
                return values, arguments + words[i:]
            continue
        name, equals, value = word.partition("=")
        found = by_name.get(name) or by_name.get(f"-{name}")
        if found is None and word[1] != "-" and len(word) > 2:
            found = by_name.get(word[:2])
            equals, value = "=", word[2:]
        if found is None:
            raise UsageError(command, f"no such option: {name}", word=name, known=by_name)
        if found.kind == "switch":
            if equals and value.lower() not in _TRUE + _FALSE:
                raise UsageError(command, f"{name} is true or false, not {value!r}")
            values[found.key] = not equals or value.lower() in _TRUE
        else:
            if not equals:
                if i == len(words):
                    raise UsageError(command, f"flag needs an argument: {name}")
                value = words[i]
                i += 1
            if found.kind == "repeated":
                values.texts(found.key).append(value)
            else:
                values[found.key] = value
    return values, arguments
