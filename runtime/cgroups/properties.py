"""linux.resources → properties of a systemd scope (systemd.resource-control(5)). Pure.

systemd writes to the same files as pyrun, whenever it likes: at a daemon-reload, or when a sibling changes. So whatever
it can be told it is told; what it can't say, or says less exactly, is written to the files afterwards (`resources`).
"""

from __future__ import annotations

from pyrun.cgroups.controllers import controllers
from pyrun.spec.faults import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrun.cgroups.controller import Resources

POINTER = "/linux/resources"
INFINITY = (1 << 64) - 1  # CGROUP_LIMIT_MAX, USEC_INFINITY


class Property:
    """name and value of a unit's property; signature: of its D-Bus type; pointer: of what asked for it."""

    __slots__ = ("name", "pointer", "signature", "value")

    def __init__(self, pointer: str, name: str, signature: str, value: Any) -> None:
        self.pointer = pointer
        self.name = name
        self.signature = signature
        self.value = value

    def __repr__(self) -> str:
        return f"Property({self.pointer}: {self.name}={self.value!r})"


class Properties:
    """What systemd is told while the controllers are asked. Of two values for a property the last one said holds."""

    infinity = INFINITY

    __slots__ = ("found", "resources", "v2")

    def __init__(self, resources: Resources, *, v2: bool) -> None:
        self.resources = resources
        self.v2 = v2
        self.found: dict[str, Property] = {}

    def get(self, section: str, member: str) -> Any:
        """The value, None when it or its section is absent."""
        return (self.resources.get(section) or {}).get(member)

    def say(self, where: str, name: str, signature: str, value: Any) -> None:
        """where: below the resources' pointer; value: None is not to be said."""
        if value is not None:
            self.found[name] = Property(f"{POINTER}/{where}", name, signature, value)

    def member(self, section: str, member: str, name: str, signature: str, convert: Callable[[Any], Any]) -> None:
        """A member that has a property of its own."""
        value = self.get(section, member)
        if value is not None:
            self.say(f"{section}/{member}", name, signature, convert(value))

    def unified(self, file: str, name: str, signature: str, convert: Callable[[str], Any]) -> None:
        """The same for a file that `unified` names. What has a form that only the kernel knows, or none, is not said:
        the write to the file will tell."""
        where, text = self.unified_text(file)
        if where:
            try:
                self.say(where, name, signature, convert(text))
            except ValueError:
                pass

    def unified_text(self, file: str) -> tuple[str, str]:
        """(where it stands, its text) of a file in `unified`; ("", "") when it isn't there, or on version 1."""
        text = (self.resources.get("unified") or {}).get(file) if self.v2 else None
        return ("", "") if text is None else (f"unified/{escape(file)}", text.strip())

    @staticmethod
    def limit(value: int) -> int | None:
        """-1 is none, 0 is unset."""
        return INFINITY if value == -1 else value or None

    @staticmethod
    def size(text: str) -> int:
        """Bytes as the kernel's files take them: a number with K, M or G, or max. Raises ValueError."""
        if text == "max":
            return INFINITY
        power = "KMGTPE".find(text[-1:].upper()) + 1
        return int(text[:-1] if power else text) << 10 * power


def limits(resources: Resources, *, v2: bool) -> list[Property]:
    """The properties for linux.resources, which `compile_writes` has taken; without device rules, for which see
    controllers/devices.py."""
    said = Properties(resources, v2=v2)
    # `unified` may name any controller's file.
    for controller in controllers(None if resources.get("unified") else resources):
        controller.properties(said)
    return list(said.found.values())
