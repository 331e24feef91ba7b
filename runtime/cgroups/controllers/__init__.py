"""The controllers, a module each. A new one is a file here, which ends in CONTROLLER, and a row below.

Limits, systemd's properties, statistics, hints and the check of the host all go through this list. Its order is that of
the writes."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from pyrun.cgroups.controller import Controller

# module, section of linux.resources
_ROWS = (
    ("cpuset", "cpu"),
    ("memory", "memory"),
    ("cpu", "cpu"),
    ("pids", "pids"),
    ("network", "network"),
    ("blkio", "blockIO"),
    ("hugetlb", "hugepageLimits"),
    ("rdma", "rdma"),
    ("unified", "unified"),  # what it says has the last word
    ("devices", "devices"),
)


def controllers(sections: Container[str] | None = None) -> Iterator[Controller]:
    """Those of these sections of linux.resources, or all. The others are not even loaded: most containers have no limit
    but a few."""
    for name, section in _ROWS:
        if sections is None or section in sections:
            module = __import__(f"{__name__}.{name}", fromlist=("CONTROLLER",))
            yield module.CONTROLLER
