"""pyrun trace ID: run a container, then say on stderr what each step of its making took."""

from __future__ import annotations

import sys

from pyrun.cli._lifecycle import create_options
from pyrun.cli.run import attend
from pyrun.container.create import create
from pyrun.machine.listing import lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    options = create_options(context, values, keep_console=True, trace=True)
    created = create(context.root, arguments[0], options, context.caller)
    code = attend(created, detach=False, keep=False, subreaper=True)
    stamps = created.executor.stamps()
    steps = lines(created.executor.program)
    ran = sorted((stamp, i) for i, stamp in enumerate(stamps) if stamp)
    # A step lasts until the next one that any half of the program begins.
    ends = [stamp for stamp, _ in ran[1:]] + [ran[-1][0]] if ran else []
    first = ran[0][0] if ran else 0
    for (stamp, i), end in zip(ran, ends, strict=True):
        what, pointer = steps[i]
        print(
            f"{(stamp - first) / 1000:10.1f} {(end - stamp) / 1000:9.1f} µs  {what:<80.200}  {pointer}", file=sys.stderr
        )
    print(f"{len(ran)} of {len(stamps)} instructions ran", file=sys.stderr)
    return code
