"""pyrun features: host/features.py, printed."""

from __future__ import annotations

from pyrun.host.features import features
from pyrun.spec import strictjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    print(strictjson.dumps(features(), indent=4))
    return 0
