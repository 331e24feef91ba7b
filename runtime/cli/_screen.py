"""How lines look: on a terminal they are no wider than it, and may be coloured; elsewhere they are whole and plain."""

from __future__ import annotations

import posix

from pyrun.spec.faults import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# ECMA-48, "Select graphic rendition"
BOLD, RED, GREEN, YELLOW = 1, 31, 32, 33
_HOME, _CLEAR = "\x1b[H", "\x1b[J"


class Screen:
    """What the lines go to. fd: of it. environ: NO_COLOR and TERM=dumb stand for plain words (no-color.org)."""

    __slots__ = ("coloured", "terminal", "width")

    def __init__(self, environ: Mapping[bytes, bytes], fd: int = 1) -> None:
        self.terminal = posix.isatty(fd)
        self.width = posix.get_terminal_size(fd).columns if self.terminal else 0
        self.coloured = self.terminal and not environ.get(b"NO_COLOR") and environ.get(b"TERM", b"dumb") != b"dumb"

    def cut(self, line: str) -> str:
        """As much of it as fits."""
        return line if not self.width or len(line) <= self.width else line[: self.width - 1] + "…"

    def fold(self, text: str, hanging: int) -> str:
        """Its words on as many lines as it takes, all but the first indented."""
        if not self.width or len(text) <= self.width:
            return text
        import textwrap  # lazy: only for what is longer than a line

        indent = " " * hanging
        return textwrap.fill(text, self.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)

    def paint(self, text: str, *renditions: int) -> str:
        """The text in a colour, or bold. To be cut before."""
        if not self.coloured:
            return text
        return f"\x1b[{';'.join(map(str, renditions))}m{text}\x1b[0m"

    @property
    def anew(self) -> str:
        """What clears it, for another picture."""
        return _HOME + _CLEAR if self.terminal else ""


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows, the first of them the headings, as lines with columns below one another. What others have chosen, such as a
    process its command line, breaks no line and tells a terminal nothing."""
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
