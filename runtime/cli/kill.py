"""pyrun kill ID [SIGNAL]"""

from __future__ import annotations

from pyrun.errors import ConfigError
from pyrun.spec import signals
from pyrun.spec.faults import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    try:
        wanted = arguments[1] if len(arguments) > 1 else "TERM"
        signal = 0 if wanted == "0" else signals.parse(wanted)  # 0 asks whether it runs (kill(2))
    except Invalid as e:
        raise ConfigError(e.faults, "") from None
    everything = values.flag("all")
    if values["regex"]:
        from pyrun.cli._matching import each  # lazy: cold

        return each(context, arguments[0], lambda name: _kill(context, name, signal, everything))
    _kill(context, arguments[0], signal, everything)
    return 0


def _kill(context: Context, name: str, signal: int, everything: bool) -> None:
    with context.open(name) as container:
        container.kill(signal, everything)
