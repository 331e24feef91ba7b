"""Version 1 values in version 2 terms."""

from __future__ import annotations

import pytest

from pyrun.cgroups.conversions import cpu_max, cpu_weight, io_weight, swap_max

MIB = 1 << 20


@pytest.mark.parametrize(
    ("shares", "weight"),
    [
        (0, 0),
        (1, 1),
        (2, 1),
        (3, 2),
        (512, 59),
        (1024, 100),
        (2048, 174),
        (262143, 10000),
        (262144, 10000),
        (1 << 40, 10000),
    ],
)
def test_cpu_weight(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


def test_cpu_weight_never_falls() -> None:
    weights = [cpu_weight(shares) for shares in range(2, 262145, 97)]
    assert weights == sorted(weights)


@pytest.mark.parametrize(("weight", "expected"), [(0, 0), (10, 1), (100, 910), (500, 4950), (1000, 10000)])
def test_io_weight(weight: int, expected: int) -> None:
    assert io_weight(weight) == expected


@pytest.mark.parametrize(
    ("swap", "limit", "expected"),
    [
        (0, 0, None),
        (0, MIB, None),
        (0, -1, "max"),
        (-1, 0, "max"),
        (-1, MIB, "max"),
        (MIB, -1, str(MIB)),
        (MIB, MIB, "0"),
        (3 * MIB, MIB, str(2 * MIB)),
    ],
)
def test_swap_max(swap: int, limit: int, expected: str | None) -> None:
    assert swap_max(swap, limit) == expected


@pytest.mark.parametrize(("swap", "limit"), [(MIB, 0), (MIB, 2 * MIB)])
def test_swap_max_refuses(swap: int, limit: int) -> None:
    with pytest.raises(ValueError, match="memory"):
        swap_max(swap, limit)


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [
        (0, 0, None),
        (-1, 0, "max"),
        (50000, 0, "50000"),
        (50000, 100000, "50000 100000"),
        (0, 9000, "max 9000"),
        (-1, 9, "max 9"),
    ],
)
def test_cpu_max(quota: int, period: int, expected: str | None) -> None:
    assert cpu_max(quota, period) == expected
