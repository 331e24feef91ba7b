"""rdma: handles and objects of InfiniBand devices, alike on both versions (cgroup-v1/rdma.rst)."""

from __future__ import annotations

from errno import ENODEV

from pyrun.cgroups.controller import Controller
from pyrun.kernel import files
from pyrun.spec.faults import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyrun.cgroups.controller import Wanted
    from pyrun.cgroups.statistics import Figures
    from pyrun.spec.faults import Fault

_NO_SUCH_DEVICE = "there is no RDMA device of this name"
_NO_LIMIT = (1 << 32) - 1  # as runc prints `max`

# member of linux.resources.rdma, the kernel's key, that of statistics
_MEMBERS = (("hcaHandles", "hca_handle", "hca_handles"), ("hcaObjects", "hca_object", "hca_objects"))


class Rdma(Controller):
    hints = {("rdma.max", ENODEV): _NO_SUCH_DEVICE}

    def v1(self, wanted: Wanted) -> None:
        for device, entry in (wanted.resources.get("rdma") or {}).items():
            limits = [f"{key}={entry[member]}" for member, key, _ in _MEMBERS if entry.get(member) is not None]
            wanted.write(f"rdma/{escape(device)}", "rdma", "rdma.max", " ".join([device, *limits]))

    v2 = v1

    def statistics(self, figures: Figures) -> dict[str, Any]:
        """No member where the host has no such device."""
        found = {name: _entries(figures.text("rdma", file)) for name, file in _FILES}
        return {"rdma": found} if any(found.values()) else {}

    def lacks(self, wanted: Wanted) -> Iterator[Fault]:
        for device in wanted.resources.get("rdma") or {}:
            if not files.exists(f"/sys/class/infiniband/{device}"):
                yield wanted.fault(f"rdma/{escape(device)}", _NO_SUCH_DEVICE, "MUST 30")


_FILES = (("rdma_current", "rdma.current"), ("rdma_limit", "rdma.max"))


def _entries(text: str) -> list[dict[str, Any]]:
    """Lines such as `mlx4_0 hca_handle=2 hca_object=max`."""
    found = []
    for line in text.splitlines():
        device, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        row: dict[str, Any] = {"device": device}
        for _, key, name in _MEMBERS:
            value = values.get(key, "0")
            row[name] = _NO_LIMIT if value == "max" else int(value)
        found.append(row)
    return found


CONTROLLER = Rdma()
