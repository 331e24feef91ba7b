"""A timeline as a table with bars: what belongs together in a line, the short ones left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.timeline.events import Event, Timeline

_BAR = 24
_NAME = 60
# What is shorter than this part of the whole is left out, unless it failed.
_LEAST = 0.004
_EIGHTHS = " ▏▎▍▌▋▊▉█"
# By lane: of SGR, the colours that are seen on light and dark.
_COLOURS = ("34", "33", "35", "32", "36", "31")


class Row(NamedTuple):
    """Events of one lane that follow one another and are about the same part of the config. slowest: the longest of
    them; calls: how many they are."""

    lane: int
    about: str
    pointer: str
    began: int
    ended: int
    slowest: Event
    calls: int


def rows(timeline: Timeline) -> list[Row]:
    """In the order in which they began."""
    found: list[Row] = []
    last: dict[int, int] = {}
    for event in timeline.events:
        at = last.get(event.lane)
        about = event.about or event.name
        if at is not None and event.about and found[at].about == about:
            row = found[at]
            slowest = max(row.slowest, event, key=lambda e: (_failed(e), e.ended - e.began))
            ended = max(row.ended, event.ended)
            found[at] = row._replace(ended=ended, slowest=slowest, calls=row.calls + 1)
            continue
        last[event.lane] = len(found)
        found.append(Row(event.lane, about, event.pointer, event.began, event.ended, event, 1))
    return found


def lines(timeline: Timeline, *, colour: bool, width: int) -> Iterator[str]:
    """colour: by escape sequences. width: of the terminal; longer lines are cut, 0: never."""
    whole = max(timeline.ended, 1)
    found = rows(timeline)
    shown = [row for row in found if row.ended - row.began >= _LEAST * whole]
    yield f"{'began':>9} {'took':>9} ms  {'':{_BAR}}  what"
    lane = -1
    for row in sorted(shown, key=lambda row: row.lane):
        if row.lane != lane:
            lane = row.lane
            yield _painted(timeline.lanes[lane], lane, colour)
        bar = _bar(row.began, row.ended, whole)
        took = (row.ended - row.began) / 1e6
        what = row.about if len(row.about) <= _NAME else row.about[: _NAME - 1] + "…"
        if row.calls > 1:
            slowest = (row.slowest.ended - row.slowest.began) / 1e6
            what += f"  [{row.calls} calls, {slowest:.3f} of it: {row.slowest.name[:_NAME]}]"
        elif row.about != row.slowest.name:
            what += f"  [{row.slowest.name[:_NAME]}]"
        head = f"{row.began / 1e6:9.3f} {took:9.3f}     "
        rest = f"  {what}"
        if width:
            rest = rest[: max(10, width - len(head) - _BAR - 1)]
        yield head + _painted(bar, lane, colour) + rest
    left_out = len(found) - len(shown)
    yield f"{timeline.ended / 1e6:.3f} ms, {len(timeline.events)} events; {left_out} lines below {_LEAST:.1%} left out"
    if timeline.failure:
        for lane in range(len(timeline.lanes)):
            last = next((event for event in reversed(timeline.events) if event.lane == lane), None)
            if last and _failed(last):
                yield f"failed: {last.name} = {last.result}  {last.pointer}".rstrip()
        yield f"error: {timeline.failure}"


def _failed(event: Event) -> bool:
    return event.result[:1] == "E"


def _bar(began: int, ended: int, whole: int) -> str:
    """From where to where, in eighths of a character."""
    first, last = began * _BAR * 8 // whole, max(began * _BAR * 8 // whole + 1, ended * _BAR * 8 // whole)
    cells = []
    for cell in range(_BAR):
        start, end = max(first - cell * 8, 0), min(last - cell * 8, 8)
        # A cell is filled from its left: one that begins within it is drawn as full from there on, or as its share.
        cells.append(_EIGHTHS[end - start] if end > start else " ")
    return "".join(cells)


def _painted(text: str, lane: int, colour: bool) -> str:
    return f"\x1b[{_COLOURS[lane % len(_COLOURS)]}m{text}\x1b[0m" if colour else text
