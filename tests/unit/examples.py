"""How many examples a property test takes: the same ones each time, and for `make unit` a twentieth of them."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings


def many(number: int) -> settings:
    """The settings for so many examples."""
    few = max(number // 20, 1) if "QUICK" in os.environ else number
    return settings(max_examples=few, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
