"""The verbs under trial: what comes before each, and its command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import images
from .world import World

# Where a word is ID, the container's id comes; where it is BUNDLE or IMAGE, what names its bundle or its image.
_STEPS: dict[str, tuple[str, ...]] = {
    "create": ("create", "BUNDLE", "ID"),
    "start": ("start", "ID"),
    "pause": ("pause", "ID"),
    "kill": ("kill", "ID", "KILL"),
    "checkpoint": ("checkpoint", "IMAGE", "ID"),
    "restore": ("restore", "--detach", "IMAGE", "BUNDLE", "ID"),
}


@dataclass(frozen=True)
class Scene:
    """before: verbs that have been there, unharmed. command: the verb under trial. after: the status of the container
    when that says that it has worked, "" for any. brief: the program ends by itself. root: it takes a cgroup, or root.
    failed: what is looked at when it has not worked."""

    before: tuple[str, ...]
    command: tuple[str, ...]
    after: str = ""
    brief: bool = False
    root: bool = False
    failed: Callable[[World, str], None] | None = None

    def play(self, world: World, kind: int, **how: Any) -> None:
        """A new container, as far as `before` goes, and then the command, run in some way."""
        name = world.new(kind=kind, brief=self.brief)
        for verb in self.before:
            world.prepare(*world.words(name, _STEPS[verb]))
        code = world.run(*world.words(name, self.command), **how)
        if code == 0 and self.after and (status := world.status(name)) != self.after:
            world.verdict.add("false success", f"it is {status}, not {self.after}")
        if code and self.failed:
            self.failed(world, name)


SCENES: dict[str, Scene] = {
    "create": Scene((), _STEPS["create"], "created"),
    "start": Scene(("create",), _STEPS["start"], "running"),
    "run": Scene((), ("run", "BUNDLE", "ID"), "gone", brief=True),
    "run --detach": Scene((), ("run", "--detach", "BUNDLE", "ID"), "running"),
    "exec": Scene(("create", "start"), ("exec", "ID", "true"), "running"),
    "exec --detach": Scene(("create", "start"), ("exec", "--detach", "ID", "sleep", "100000"), "running"),
    "update": Scene(("create", "start"), ("update", "--pids-limit", "99", "--memory", "99m", "ID"), root=True),
    "pause": Scene(("create", "start"), _STEPS["pause"], "paused", root=True),
    "resume": Scene(("create", "start", "pause"), ("resume", "ID"), "running", root=True),
    "kill": Scene(("create", "start"), _STEPS["kill"]),
    "delete": Scene(("create", "start", "kill"), ("delete", "ID"), "gone"),
    "delete --force": Scene(("create", "start"), ("delete", "--force", "ID"), "gone"),
    "checkpoint": Scene(("create", "start"), _STEPS["checkpoint"], "gone", root=True, failed=images.goes_on),
    "restore": Scene(
        ("create", "start", "checkpoint"), _STEPS["restore"], "running", root=True, failed=images.can_be_had_again
    ),
}


def scenes(world: World) -> list[str]:
    """Those that can take place in it, by name."""
    return [name for name, scene in SCENES.items() if not (scene.root and world.user)]
