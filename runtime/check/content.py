"""Files of the kernel's, as far as they can be read."""

from __future__ import annotations


def content(path: str) -> str:
    """What is in it; "" where it is not there, or not for us to read."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
