"""How many examples hypothesis tries of a property: a fifth of them with QUICK=1, which `make unit` sets."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings


def many(examples: int, *, derandomize: bool = False) -> settings:
    if os.environ.get("QUICK"):
        examples //= 5
    return settings(
        max_examples=examples, derandomize=derandomize, deadline=None, suppress_health_check=list(HealthCheck)
    )
