"""Help and usage errors, by click from the command table. Cold: importing click takes longer than a whole start."""

from __future__ import annotations

import sys

from pyrun.cli.parse import UsageError
from pyrun.cli.table import COMMANDS, GLOBAL, Option
from pyrun.spec.version import SPEC_VERSION
from pyrun.version import COMMIT, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    import click
    from click.shell_completion import CompletionItem

    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values
    from pyrun.cli.table import Row

    Completion: TypeAlias = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]


def version() -> str:
    """Three lines, as go-runc wants them; dockerd takes any line with "version" in it, so only one has that word. Where
    the commit is not known the version stands for it, as in Debian's runc. And the Python that runs it, which of a
    start-up image stays as it was at install, and libseccomp's, as runc has it."""
    from pyrun.host.seccomp import library_version  # lazy: cold

    rows = {"commit": COMMIT or f"v{VERSION}", "spec": SPEC_VERSION, "python": sys.version.split()[0]}
    if found := library_version():
        rows["libseccomp"] = found
    return "\n".join([f"pyrun version {VERSION}", *(f"{name}: {value}" for name, value in rows.items())])


def show(wide: Values, name: str) -> int:
    """--version, or the help of the program or a command."""
    if wide["version"]:
        print(version())
        return 0
    print(_help(name))
    return 0


def usage(error: UsageError) -> int:
    """What is wrong with a command line, what may have been meant, and how it should be, in one line; returns the exit
    status."""
    import difflib  # lazy: an error

    near = difflib.get_close_matches(error.word, error.known, 1, 0.6) if error.word else []
    meant = f": did you mean {near[0]}?" if near else ""
    words = f"pyrun {error.command}" if error.command else "pyrun"
    arguments = COMMANDS[error.command].arguments if error.command else "COMMAND [ARGS...]"
    form = " ".join(part for part in (words, "[OPTIONS]", arguments) if part)
    print(f"{words}: {error}{meant} ({form}; {words} --help says more)", file=sys.stderr)
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


def run(context: Context, values: Values, arguments: list[str]) -> int:
    """pyrun help [COMMAND]"""
    name = arguments[0] if arguments else ""
    if name and name not in COMMANDS:
        raise UsageError("", f"no such command: {name!r}", 3, word=name, known=COMMANDS)
    print(_help(name))
    return 0


def group(ids: Completion | None = None) -> click.Group:
    """The whole command line as click sees it; completion comes from it too, with `ids` for those of containers."""
    import click  # lazy: only for help

    program = click.Group(
        "pyrun", help="An OCI runtime that says what it will do.", params=_params(GLOBAL), add_help_option=False
    )
    for name, command in COMMANDS.items():
        arguments: list[click.Parameter] = [
            click.Argument(
                [word.strip("[].").lower()],
                required=not word.startswith("["),
                nargs=-1 if "..." in word else 1,
                shell_complete=ids if word == "ID" else None,
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
