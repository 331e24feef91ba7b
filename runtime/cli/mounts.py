"""pyrun mounts add|remove ID FILE"""

from __future__ import annotations

from pyrun.container.bundle import absolute
from pyrun.container.mounting import change
from pyrun.errors import ConfigError, Error
from pyrun.kernel.files import read_document
from pyrun.spec import config as spec_config
from pyrun.spec.faults import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    what, name, path = arguments
    if what not in ("add", "remove"):
        raise Error(f"mounts can be added and removed, not {what!r}", hint="pyrun mounts add|remove ID FILE")
    try:
        mounts = spec_config.load_mounts(read_document(absolute(path)))
    except OSError as e:
        raise Error("read the mounts", call=f"open {path}", errno=e.errno) from None
    except Invalid as e:
        raise ConfigError(e.faults, "invalid mounts") from None
    with context.open(name).locked() as container:
        if context.require and what == "add":
            from pyrun.container.policy import enforce_part  # lazy: only with --require

            enforce_part(context.require, "mounts", mounts, container)
        change(container, mounts, add=what == "add")
    return 0
