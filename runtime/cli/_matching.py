"""--regex: a command for all containers whose id matches (crun's)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pyrun.container.store import containers
from pyrun.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun.cli.main import Context


def each(context: Context, pattern: str, act: Callable[[str], None]) -> int:
    """`act` on every id that holds a match. One that fails doesn't spare the others; the exit code tells."""
    try:
        wanted = re.compile(pattern)
    except re.error as e:
        raise Error(f"--regex: {pattern!r} is not a regular expression", detail=str(e)) from None
    failed = False
    for name in containers(context.root):
        if wanted.search(name):
            try:
                act(name)
            except Error as e:
                failed = True
                context.caller.log.error(f"{name}: {e}")
    return 1 if failed else 0
