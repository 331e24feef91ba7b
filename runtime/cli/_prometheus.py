"""events --prometheus: one scrape of containers in Prometheus' text format, by its client library.

The names are cAdvisor's where that has the figure, since dashboards ask for those; each has the label `id`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pyrun.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_NANO = 1e-9
_MICRO = 1e-6
_NO_LIMIT = 1 << 62  # version 1 shows "no limit" as the largest multiple of a page, version 2 as the largest number


class Row(NamedTuple):
    """A figure: its name, what it is, and where `events --stats` has it."""

    name: str
    help: str
    path: str
    counter: bool = True
    scale: float = 1


# Without _total, which the client appends to the names of counters.
ROWS = (
    Row("container_cpu_usage_seconds", "time on CPUs", "cpu/usage/total", scale=_NANO),
    Row("container_cpu_user_seconds", "time on CPUs in user mode", "cpu/usage/user", scale=_NANO),
    Row("container_cpu_system_seconds", "time on CPUs in the kernel", "cpu/usage/kernel", scale=_NANO),
    Row("container_cpu_cfs_periods", "periods of the quota", "cpu/throttling/periods"),
    Row("container_cpu_cfs_throttled_periods", "periods in which it was used up", "cpu/throttling/throttledPeriods"),
    Row("container_cpu_cfs_throttled_seconds", "time waited", "cpu/throttling/throttledTime", scale=_NANO),
    Row("container_memory_usage_bytes", "memory in use, page cache included", "memory/usage/usage", False),
    Row("container_memory_max_usage_bytes", "the most there was", "memory/usage/max", False),
    Row("container_memory_failcnt", "how often the limit was hit", "memory/usage/failcnt", False),
    Row("container_memory_cache", "page cache, in bytes", "memory/cache", False),
    Row("container_memory_swap", "memory and swap in use, in bytes", "memory/swap/usage", False),
    Row("container_spec_memory_limit_bytes", "the limit", "memory/usage/limit", False),
    Row("container_processes", "processes and threads", "pids/current", False),
    Row("container_threads_max", "the most that there may be", "pids/limit", False),
    Row("container_pressure_cpu_waiting_seconds", "some waited for a CPU", "cpu/psi/some/total", scale=_MICRO),
    Row("container_pressure_cpu_stalled_seconds", "all waited for a CPU", "cpu/psi/full/total", scale=_MICRO),
    Row("container_pressure_memory_waiting_seconds", "some waited for memory", "memory/psi/some/total", scale=_MICRO),
    Row("container_pressure_memory_stalled_seconds", "all waited for memory", "memory/psi/full/total", scale=_MICRO),
    Row("container_pressure_io_waiting_seconds", "some waited for I/O", "blkio/psi/some/total", scale=_MICRO),
    Row("container_pressure_io_stalled_seconds", "all waited for I/O", "blkio/psi/full/total", scale=_MICRO),
)

# Figures of which there is one an interface: their key there.
_INTERFACES = {
    "container_network_receive_bytes": "RxBytes",
    "container_network_receive_packets": "RxPackets",
    "container_network_receive_errors": "RxErrors",
    "container_network_receive_packets_dropped": "RxDropped",
    "container_network_transmit_bytes": "TxBytes",
    "container_network_transmit_packets": "TxPackets",
    "container_network_transmit_errors": "TxErrors",
    "container_network_transmit_packets_dropped": "TxDropped",
}
# And one a device: the list there, and the operation.
_DEVICES = {
    "container_fs_reads_bytes": ("ioServiceBytesRecursive", "read"),
    "container_fs_writes_bytes": ("ioServiceBytesRecursive", "write"),
    "container_fs_reads": ("ioServicedRecursive", "read"),
    "container_fs_writes": ("ioServicedRecursive", "write"),
}


def exposition(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The text for containers by id, each with its statistics (cgroups/statistics.py). Raises Error without the client
    library."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest  # lazy: for this alone
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # lazy: for this alone
    except ImportError:
        detail, hint = "prometheus_client is not installed", "events --stats needs none"
        raise Error("write the metrics", detail=detail, hint=hint) from None

    class Scrape:
        """A collector, in the client's terms."""

        def collect(self) -> Iterator[Any]:
            for row in ROWS:
                family = (CounterMetricFamily if row.counter else GaugeMetricFamily)(row.name, row.help, labels=["id"])
                for container, figures in found.items():
                    value = _at(figures, row.path)
                    if value is not None and value < _NO_LIMIT:
                        family.add_metric([container], value * row.scale)
                yield family
            for name, key in _INTERFACES.items():
                family = CounterMetricFamily(name, f"{key} of the interface", labels=["id", "interface"])
                for container, figures in found.items():
                    for interface in figures["network_interfaces"]:
                        family.add_metric([container, interface["Name"]], interface[key])
                yield family
            for name, (member, operation) in _DEVICES.items():
                family = CounterMetricFamily(name, f"{operation}s of the block device", labels=["id", "device"])
                for container, figures in found.items():
                    for device, value in _of_devices(figures.get("blkio", {}).get(member, ()), operation):
                        family.add_metric([container, device], value)
                yield family

    registry = CollectorRegistry()
    registry.register(Scrape())
    return generate_latest(registry).decode()


def _at(figures: Mapping[str, Any], path: str) -> float | None:
    found: Any = figures
    for name in path.split("/"):
        if name not in found:
            return None
        found = found[name]
    return float(found)


def _of_devices(rows: Iterable[Mapping[str, Any]], operation: str) -> Iterator[tuple[str, float]]:
    for row in rows:
        if row["op"].lower() == operation:
            yield f"{row['major']}:{row['minor']}", row["value"]
