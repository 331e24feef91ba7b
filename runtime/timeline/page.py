"""A timeline as one HTML page that needs nothing else: page.html with the events in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrun.spec import strictjson

if TYPE_CHECKING:
    from pyrun.timeline.events import Timeline

_HERE = __file__.rpartition("/")[0]


def document(timeline: Timeline) -> str:
    """The whole page. Raises OSError."""
    with open(f"{_HERE}/page.html", encoding="utf-8") as file:
        page = file.read()
    data = {
        "ended": timeline.ended,
        "failure": timeline.failure,
        "lanes": timeline.lanes,
        "events": [list(event) for event in timeline.events],
    }
    # In a script element nothing but its end is special (HTML, "restrictions for contents of script elements"); a
    # container's config must not be able to write that.
    return page.replace("@DATA@", strictjson.dumps(data).replace("<", "\\u003c"))
