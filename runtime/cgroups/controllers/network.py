"""net_cls and net_prio of version 1: marks for packets (cgroup-v1/net_cls.rst, net_prio.rst)."""

from __future__ import annotations

from pyrun.cgroups.controller import Controller, nonzero
from pyrun.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.cgroups.controller import Wanted
    from pyrun.spec.faults import Fault


class Network(Controller):
    def v1(self, wanted: Wanted) -> None:
        wanted.put("network", "classID", "net_cls", "net_cls.classid", nonzero)
        for where, entry in wanted.items("network", "priorities"):
            wanted.write(where, "net_prio", "net_prio.ifpriomap", f"{entry['name']} {entry['priority']}")

    def v2(self, wanted: Wanted) -> None:
        for member in ("classID", "priorities"):
            if wanted.get("network", member):
                hint = "version 2 matches packets by cgroup path: use nftables' socket cgroupv2"
                wanted.cannot(f"network/{member}", hint)

    def lacks(self, wanted: Wanted) -> Iterator[Fault]:
        for where, entry in wanted.items("network", "priorities"):
            if not files.exists(f"/sys/class/net/{entry['name']}"):
                yield wanted.fault(f"{where}/name", f"this host has no interface {entry['name']}", "MUST 30")


CONTROLLER = Network()
