"""Help and usage errors, by click from the command table. Cold: importing click takes longer than a whole start."""

from __future__ import annotations

import sys

from pyrun.cli.parse import UsageError
from pyrun.cli.table import COMMANDS, GLOBAL, Option
from pyrun.spec.version import SPEC_VERSION
from pyrun.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    import click

    from pyrun.cli.parse import Values
    from pyrun.cli.table import Row


def version() -> str:
    """Three lines, as go-runc wants them; dockerd takes any line with "version" in it, so only one has that word. And
    the Python that runs it: that of a start-up image stays as it was at install."""
    return f"pyrun version {VERSION}\ncommit: v{VERSION}\nspec: {SPEC_VERSION}\npython: {sys.version.split()[0]}"


def show(wide: Values, name: str) -> int:
    """--version, or the help of the program or a command."""
    if wide["version"]:
        print(version())
        return 0
    print(_help(name))
    return 0


def usage(error: UsageError) -> int:
    """What is wrong with a command line, and how it should be; returns the exit status."""
    print(f"pyrun: {error}", file=sys.stderr)
    print(_help(error.command), file=sys.stderr)
    return error.code


def _help(name: str) -> str:
    try:
        import click  # lazy: only for help
    except ImportError:
        return "click is not installed: see the manual for the options"
    program = group()
    if not name:
        return program.get_help(click.Context(program, info_name="pyrun"))
    command = program.commands[name]
    parent = click.Context(program, info_name="pyrun")
    return command.get_help(click.Context(command, info_name=name, parent=parent))


def group() -> click.Group:
    """The whole command line as click sees it; completion scripts come from it too."""
    import click  # lazy: only for help

    program = click.Group(
        "pyrun", help="An OCI runtime that says what it will do.", params=_params(GLOBAL), add_help_option=False
    )
    for name, command in COMMANDS.items():
        arguments: list[click.Parameter] = [
            click.Argument(
                [word.strip("[].").lower()], required=not word.startswith("["), nargs=-1 if "..." in word else 1
            )
            for word in command.arguments.split()
        ]
        options = _params(command.options)
        program.add_command(
            click.Command(name, help=command.summary, params=options + arguments, add_help_option=False)
        )
    return program


def _params(table: tuple[Row, ...]) -> list[click.Parameter]:
    import click  # lazy: only for help

    return [
        click.Option([*o.names, o.key], is_flag=o.kind == "switch", metavar=o.metavar or None, help=o.help)
        for o in map(Option, table)
    ]
