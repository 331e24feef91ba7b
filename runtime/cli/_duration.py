"""A duration in Go's words, which runc's flags take: 5s, 1m30s, 100ms."""

from __future__ import annotations

from pyrun.errors import Error

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 86400.0


def seconds(text: str, flag: str) -> float:
    """Raises Error, which names the flag."""
    total, rest = 0.0, text
    while rest:
        digits = 0
        while digits < len(rest) and (rest[digits].isdigit() or rest[digits] == "."):
            digits += 1
        unit = next((u for u in sorted(_UNITS, key=len, reverse=True) if rest[digits:].startswith(u)), "")
        try:
            total += float(rest[:digits]) * _UNITS[unit]
        except (KeyError, ValueError):
            raise Error(f"{flag} is a duration such as 5s or 100ms, not {text!r}") from None
        rest = rest[digits + len(unit) :]
    if not 0 < total <= _LONGEST:
        raise Error(f"{flag} must be more than 0 and at most a day, not {text!r}")
    return total
