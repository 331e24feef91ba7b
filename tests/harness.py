"""What the tests of pyrun add to the harness of conformance/: its words, and what is left out for old peers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest

from conformance.harness import (
    APPLETS,
    HOOK_KINDS,
    Bundle,
    Done,
    Listener,
    MountLine,
    Runtime,
    another_file_in_a_devices_place,
    cgroups,
    descriptors,
    enterable,
    hear,
    libc,
    mount_at,
    mount_lines,
    mounts,
    numbers,
    own_cgroup,
    process_status,
    processes,
    read_to_end,
    start_with_a_child,
    tidy,
    trace_hooks,
    trail,
)
from conformance.harness import Container as AnyContainer

__all__ = [
    "APPLETS",
    "CHECKOUT",
    "HOOK_KINDS",
    "PYRUN",
    "Bundle",
    "Container",
    "Done",
    "Listener",
    "MountLine",
    "Runtime",
    "another_file_in_a_devices_place",
    "cgroups",
    "descriptors",
    "enterable",
    "hear",
    "libc",
    "message",
    "mount_at",
    "mount_lines",
    "mounts",
    "numbers",
    "open_to_all",
    "own_cgroup",
    "process_status",
    "processes",
    "read_to_end",
    "start_with_a_child",
    "tidy",
    "trace_hooks",
    "trail",
]  # fmt: skip

CHECKOUT = Path(__file__).parents[1]
PYRUN = CHECKOUT / "build/pyrun"


def open_to_all() -> None:
    """Leaves a test out that another user has to run: where the checkout lies in a folder that only root may enter."""
    if not all(folder.stat().st_mode & 0o001 for folder in PYRUN.parents):
        pytest.skip("the checkout can't be reached by another user")


class Container(AnyContainer):
    """A container whose runtime's words are known, if it is pyrun."""

    everything: ClassVar[bool] = False

    def __init__(self, runtime: Runtime, path: Path, config: dict[str, Any]) -> None:
        super().__init__(runtime, path, config)
        if runtime.name == "crun":
            self.config["ociVersion"] = "1.0.2"  # 1.8 refuses newer ones

    def refused(self, *parts: str, verb: str = "create", keep: bool = False) -> str:
        """create fails with one line on stderr, which holds all the parts, and nothing is left of it."""
        self.write()
        return self.refused_as_written(*parts, verb=verb, keep=keep)

    def refused_as_written(self, *parts: str, verb: str = "create", keep: bool = False) -> str:
        done = self.runtime(verb, "--bundle", self.path, self.id)
        assert done.code == 1, done
        lines = done.err.splitlines()
        if self.runtime.name == "pyrun":
            assert len(lines) == 1, lines
            for part in parts:
                assert part in message(lines[0]), (part, lines[0])
        assert keep or not self.exists()
        return done.err

    def unlike(self, **reasons: str) -> None:
        """Leave out the rest where an old peer does otherwise: unlike(crun="why")."""
        if self.runtime.name in reasons and not self.everything:
            pytest.skip(reasons[self.runtime.name])

    def exists(self) -> bool:
        return (self.runtime.root / self.id).exists()


def message(line: str) -> str:
    """The text of a line of the log in runc's text format."""
    found = re.fullmatch(r'time="[^"]+" level=error msg=(".*")', line)
    return str(json.loads(found[1])) if found else line
