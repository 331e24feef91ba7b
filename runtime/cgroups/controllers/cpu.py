"""cpu: shares, quota and real-time budget, with cpuacct of version 1 (scheduler/sched-bwc.rst, cgroup-v2.rst "CPU")."""

from __future__ import annotations

import posix
from errno import EINVAL

from pyrun.cgroups.controller import Controller, nonzero

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cgroups.controller import Wanted
    from pyrun.cgroups.properties import Properties
    from pyrun.cgroups.statistics import Figures

_PERIOD, _QUOTA, _BURST = "cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.cfs_burst_us"
_RT_PERIOD, _RT_RUNTIME = "cpu.rt_period_us", "cpu.rt_runtime_us"
_DEFAULT_PERIOD = 100_000  # µs
_PER_CENT = 10_000  # µs of a second: systemd keeps a quota in whole per cent
_NANOSECONDS = 1_000_000_000


class Cpu(Controller):
    hints = {
        ("cgroup.procs", EINVAL): "a real-time process needs cpu.realtimeRuntime in its cgroup",
        (_BURST, EINVAL): "the burst must not be above the quota",
        (_QUOTA, EINVAL): "a quota must be within what the parent cgroup has",
        ("cpu.max", EINVAL): "a quota is at least 1000 µs, a period 1000 to 1000000 µs",
        (_RT_PERIOD, EINVAL): "the parent cgroup's real-time budget does not allow it",
        (_RT_RUNTIME, EINVAL): "the parent cgroup's real-time budget does not allow it",
        ("cpu.shares", EINVAL): "shares can't be set while cpu.idle is 1",
        ("cpu.weight", EINVAL): "shares can't be set while cpu.idle is 1",
    }
    annotations = (
        ("CPUQuotaPerSecUSec", "t", "cpu.max", _QUOTA),
        ("CPUQuotaPeriodUSec", "t", "cpu.max", _QUOTA),
        ("CPUShares", "t", "", "cpu.shares"),
        ("CPUWeight", "t", "cpu.weight", ""),
        ("StartupCPUShares", "t", "", "cpu.shares"),
        ("StartupCPUWeight", "t", "cpu.weight", ""),
    )
    decided_by = {
        _PERIOD: _QUOTA,  # systemd writes both of them
        "cpu.idle": "cpu.weight",
        "cpu.weight.nice": "cpu.weight",
    }

    def v1(self, wanted: Wanted) -> None:
        # Of pairs the one which needs no help in a new cgroup comes first.
        wanted.put("cpu", "shares", "cpu", "cpu.shares", nonzero, pair="cpu.idle")
        wanted.put("cpu", "idle", "cpu", "cpu.idle", str)
        wanted.put("cpu", "period", "cpu", _PERIOD, nonzero, pair=_QUOTA)
        wanted.put("cpu", "quota", "cpu", _QUOTA, nonzero, pair=_BURST)
        wanted.put("cpu", "burst", "cpu", _BURST, str)
        wanted.put("cpu", "realtimePeriod", "cpu", _RT_PERIOD, nonzero, pair=_RT_RUNTIME)
        # A budget of 0 asks for nothing where the kernel has none.
        nothing = wanted.get("cpu", "realtimeRuntime") == 0
        wanted.put("cpu", "realtimeRuntime", "cpu", _RT_RUNTIME, str, optional=nothing)

    def v2(self, wanted: Wanted) -> None:
        for member in ("realtimeRuntime", "realtimePeriod"):
            if wanted.get("cpu", member):
                wanted.cannot(f"cpu/{member}", "version 2 has no real-time budget of a cgroup")
        wanted.put("cpu", "shares", "cpu", "cpu.weight", lambda shares: nonzero(cpu_weight(shares)), pair="cpu.idle")
        wanted.put("cpu", "idle", "cpu", "cpu.idle", str)
        quota, period = wanted.get("cpu", "quota") or 0, wanted.get("cpu", "period") or 0
        if text := cpu_max(quota, period):
            wanted.write("cpu/quota" if quota else "cpu/period", "cpu", "cpu.max", text, pair="cpu.max.burst")
        wanted.put("cpu", "burst", "cpu", "cpu.max.burst", str)

    def properties(self, said: Properties) -> None:
        if said.v2:
            if not said.get("cpu", "idle"):  # the kernel takes no weight from an idle cgroup
                said.member("cpu", "shares", "CPUWeight", "t", lambda shares: cpu_weight(shares) or None)
        else:
            said.member("cpu", "shares", "CPUShares", "t", said.limit)
        _say_quota(said, "cpu/quota", said.get("cpu", "quota") or 0, said.get("cpu", "period") or 0)
        said.unified("cpu.weight", "CPUWeight", "t", int)
        where, text = said.unified_text("cpu.max")
        if text:
            quota, _, period = text.partition(" ")
            try:
                _say_quota(said, where, -1 if quota == "max" else int(quota), int(period or 0))
            except ValueError:
                pass  # the write to the file will tell

    def statistics(self, figures: Figures) -> dict[str, Any]:
        usage = _v2_usage(figures) if figures.v2 else _v1_usage(figures)
        stat = figures.table("cpu", "cpu.stat")
        time = stat.get("throttled_usec", 0) * 1000 if figures.v2 else stat.get("throttled_time", 0)
        throttling = {
            "periods": stat.get("nr_periods", 0),
            "throttledPeriods": stat.get("nr_throttled", 0),
            "throttledTime": time,
        }
        return {"cpu": {"usage": usage, "throttling": throttling, **figures.pressure("cpu.pressure")}}


def cpu_weight(shares: int) -> int:
    """cpu.shares (2 to 262144, default 1024) → cpu.weight (1 to 10000, default 100); 0 (unset) stays 0.

    The quadratic in log2(shares) through (2, 1), (1024, 100) and (262144, 10000), so that the default stays the
    default; values outside are clamped, as version 1 kernels clamp them.
    """
    if shares == 0:
        return 0
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    from math import ceil, log2  # lazy: a library, whose loading takes longer than all of this module

    exponent = log2(shares)
    return ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))


def cpu_max(quota: int, period: int) -> str | None:
    """quota and period (µs; 0 is unset, quota -1 is unlimited) → cpu.max; None: don't write."""
    if quota == 0 and period == 0:
        return None
    first = str(quota) if quota > 0 else "max"
    return f"{first} {period}" if period else first


def _say_quota(said: Properties, where: str, quota: int, period: int) -> None:
    if quota > 0:
        per_second = quota * 1_000_000 // (period or _DEFAULT_PERIOD)
        # Rounded up: a quota that systemd writes must not be below what was asked for.
        said.say(where, "CPUQuotaPerSecUSec", "t", -(-per_second // _PER_CENT) * _PER_CENT)
    elif quota:
        said.say(where, "CPUQuotaPerSecUSec", "t", said.infinity)
    if period:
        said.say(where, "CPUQuotaPeriodUSec", "t", period)


def _v1_usage(figures: Figures) -> dict[str, Any]:
    """In ns."""
    stat = figures.table("cpuacct", "cpuacct.stat")
    tick = _NANOSECONDS // posix.sysconf("SC_CLK_TCK")
    return {
        "total": figures.number("cpuacct", "cpuacct.usage"),
        "percpu": figures.numbers("cpuacct", "cpuacct.usage_percpu"),
        "percpu_kernel": figures.numbers("cpuacct", "cpuacct.usage_percpu_sys"),
        "percpu_user": figures.numbers("cpuacct", "cpuacct.usage_percpu_user"),
        "kernel": stat.get("system", 0) * tick,
        "user": stat.get("user", 0) * tick,
    }


def _v2_usage(figures: Figures) -> dict[str, Any]:
    """In ns."""
    stat = figures.table("cpu", "cpu.stat")
    rows = (("total", "usage_usec"), ("kernel", "system_usec"), ("user", "user_usec"))
    return {name: stat.get(key, 0) * 1000 for name, key in rows}


CONTROLLER = Cpu()
