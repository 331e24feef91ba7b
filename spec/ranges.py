"""Lists of CPUs and of memory nodes: "0-3,7" (cpuset(7), "List format")."""

from __future__ import annotations

# The kernel's largest CONFIG_NR_CPUS on x86 is 8192, its largest MAX_NUMNODES 1024.
LIMIT = 8192


def parse(text: str) -> list[int]:
    """The numbers in the list, each once, ascending; none for "". Raises ValueError, whose text says what is wrong."""
    numbers: set[int] = set()
    for part in text.split(",") if text.strip() else ():
        first, dash, last = part.strip().partition("-")
        low = _number(first)
        high = _number(last) if dash else low
        if high < low:
            raise ValueError(f"the range {part.strip()} runs backwards")
        numbers.update(range(low, high + 1))
    return sorted(numbers)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("a list such as 0-3,7 is expected")
    if len(text) > 5 or int(text) >= LIMIT:
        raise ValueError(f"the numbers must be below {LIMIT}")
    return int(text)


def is_list(text: str) -> bool:
    """Whether the kernel takes the text for a list (lib/bitmap-str.c): beside numbers and ranges it knows `all`, `N`
    for the last one, and first-last:used/group. What the numbers may be is the host's business."""
    return all(_is_part(part.strip()) for part in text.replace("\n", ",").split(",") if part.strip())


def _is_part(part: str) -> bool:
    span, colon, pattern = part.partition(":")
    first, dash, last = span.partition("-")
    used, slash, group = pattern.partition("/")
    numbers = [first] if span != "all" else []
    numbers += [last] if dash else []
    numbers += [used, group] if colon else []
    plain = not colon or bool(slash and (dash or span == "all"))
    return plain and all(n == "N" or (n.isascii() and n.isdigit()) for n in numbers)
