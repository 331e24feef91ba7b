"""linux.resources.unified: files of version 2 by their names, whosever they are (MUST 108 to 111)."""

from __future__ import annotations

from pyrun.cgroups.controller import Controller
from pyrun.spec.faults import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cgroups.controller import Wanted


class Unified(Controller):
    def v1(self, wanted: Wanted) -> None:
        if wanted.resources.get("unified"):
            wanted.cannot("unified", "boot with version 2")

    def v2(self, wanted: Wanted) -> None:
        for file, text in (wanted.resources.get("unified") or {}).items():
            controller = file.partition(".")[0]
            for line in text.splitlines() or [""]:  # files such as io.max take one line a write
                wanted.write(f"unified/{escape(file)}", "" if controller == "cgroup" else controller, file, line)


CONTROLLER = Unified()
