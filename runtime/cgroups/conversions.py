"""Values of linux.resources, which are in version 1 terms, in the terms of version 2. Pure; ValueError for nonsense."""

from __future__ import annotations

from math import ceil, log2


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
    exponent = log2(shares)
    return ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))


def io_weight(weight: int) -> int:
    """blkio weight (10 to 1000) → io.weight (1 to 10000), linear; 0 (unset) stays 0."""
    return 0 if weight == 0 else 1 + (weight - 10) * 9999 // 990


def limit_or_max(value: int) -> str:
    """-1 → "max", else the number."""
    return "max" if value == -1 else str(value)


def swap_max(swap: int, limit: int) -> str | None:
    """memory.swap (memory plus swap, bytes) with memory.limit → memory.swap.max (swap alone); None: don't write.

    0 is unset for both. Unlimited memory without a word on swap means unlimited swap too, as on version 1.
    Raises ValueError when the sum can't be split or is less than its part.
    """
    if swap == 0:
        return "max" if limit == -1 else None
    if swap == -1:
        return "max"
    if limit == 0:
        raise ValueError("version 2 limits swap alone, so memory plus swap needs memory.limit")
    if limit == -1:
        return str(swap)
    if swap < limit:
        raise ValueError(f"memory plus swap ({swap}) is less than memory ({limit})")
    return str(swap - limit)


def cpu_max(quota: int, period: int) -> str | None:
    """quota and period (µs; 0 is unset, quota -1 is unlimited) → cpu.max; None: don't write."""
    if quota == 0 and period == 0:
        return None
    first = str(quota) if quota > 0 else "max"
    return f"{first} {period}" if period else first
