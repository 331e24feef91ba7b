"""pyrun completion SHELL: bash, zsh or fish. Cold; click's, from the same table as the help.

    eval "$(pyrun completion bash)"

The script calls pyrun with VARIABLE set, and `complete` answers."""

from __future__ import annotations

import posix

from pyrun.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values

VARIABLE = "_PYRUN_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


def run(context: Context, values: Values, arguments: list[str]) -> int:
    shell = arguments[0]
    if shell not in SHELLS:
        raise Error(f"there is completion for {', '.join(SHELLS[:-1])} and {SHELLS[-1]}, not for {shell}")
    try:
        from click import shell_completion  # lazy: cold
    except ImportError:
        raise Error("print the completion", detail="click is not installed") from None
    from pyrun.cli.help import group  # lazy: cold

    kind = shell_completion.get_completion_class(shell)
    assert kind
    print(kind(group(), {}, "pyrun", VARIABLE).source())
    return 0


def complete() -> int:
    """What could come next on the command line that the shell has put into the environment."""
    from click.shell_completion import shell_complete  # lazy: cold

    from pyrun.cli.help import group  # lazy: cold

    return shell_complete(group(_ids), {}, "pyrun", VARIABLE, posix.environ[VARIABLE.encode()].decode())


def _ids(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem[str]]:
    from click.shell_completion import CompletionItem  # lazy: cold

    from pyrun.caller import Caller  # lazy: cold
    from pyrun.container.store import containers  # lazy: cold

    try:
        root = (context.parent.params.get("root") if context.parent else "") or Caller().default_root()
        return [CompletionItem(name) for name in containers(root) if name.startswith(begun)]
    except Error:
        return []
