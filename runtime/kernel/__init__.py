"""The kernel's numbers and calls that Python's own modules lack. No policy."""
