"""What takes back what was made, when the rest of it fails."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Undo:
    """Steps, pushed when a thing has been made, and run in reverse. What comes after one that fails isn't run: the
    state, which was written first and so is removed nearly last, still tells `delete --force` of all that is left."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []

    def push(self, step: Callable[[], object]) -> None:
        """`step` takes back what has just been made."""
        self._steps.append(step)

    def push_last(self, step: Callable[[], object]) -> None:
        """A step to run after all others."""
        self._steps.insert(0, step)

    def run(self) -> None:
        """Raises what a step raises."""
        while self._steps:
            self._steps.pop()()
