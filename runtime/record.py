"""Named values: what a dataclass is, without the import of dataclasses, which takes longer than a whole `state`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda record: record


@dataclass_transform(kw_only_default=True)
class Record:
    """A subclass annotates its fields, with their defaults if they have some; they are given by keyword."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)
