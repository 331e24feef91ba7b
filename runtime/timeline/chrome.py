"""A timeline as trace events, which Perfetto and chrome://tracing show (the Trace Event Format, JSON object form)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrun.spec import strictjson

if TYPE_CHECKING:
    from pyrun.timeline.events import Timeline


def document(timeline: Timeline) -> str:
    """The whole file. Times are µs since the command began."""
    lanes = [
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": number, "args": {"name": name}}
        for number, name in enumerate(timeline.lanes)
    ]
    events = [
        {
            "ph": "X",
            "name": event.name,
            "cat": event.about or "pyrun",
            "ts": event.began / 1000,
            "dur": (event.ended - event.began) / 1000,
            "pid": 1,
            "tid": event.lane,
            "args": {
                name: value
                for name, value in (("pointer", event.pointer), ("result", event.result), ("detail", event.detail))
                if value
            },
        }
        for event in timeline.events
    ]
    other = {"began": timeline.began, "failure": timeline.failure}
    return strictjson.dumps({"traceEvents": lanes + events, "displayTimeUnit": "ms", "otherData": other}) + "\n"
