"""What several checks need."""

from __future__ import annotations

from pyrun.spec import ranges
from pyrun.spec.faults import Fault, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pyrun.spec.config import IDMapping, Linux, Namespace

ABSOLUTE = "must be an absolute path"

# Of a device number the kernel has 12 bits for the major one, 20 for the minor (linux/kdev_t.h).
MAJORS = 1 << 12
MINORS = 1 << 20


def namespaces_of(linux: Linux | None) -> dict[str, Namespace]:
    """linux.namespaces by their type."""
    return {namespace["type"]: namespace for namespace in linux.get("namespaces", ())} if linux else {}


def env_faults(env: Sequence[str], at: str) -> Iterator[Fault]:
    """Entries of an environment."""
    for i, entry in enumerate(env):
        if "=" not in entry[1:]:
            yield Fault(f"{at}/{i}", f"must be NAME=VALUE, not {show(entry)}")


def mapping_faults(mappings: list[IDMapping] | tuple[()], at: str) -> Iterator[Fault]:
    """Of uidMappings or gidMappings (user_namespaces(7))."""
    for i, mapping in enumerate(mappings):
        size = mapping["size"]
        # user_namespaces(7): 4294967295 is no id, it stands for "leave as it is" in setuid's relatives.
        for name, first in (("containerID", mapping["containerID"]), ("hostID", mapping["hostID"])):
            if size == 0:
                yield Fault(f"{at}/{i}/size", "must be at least 1, not 0")
                break
            if first + size > 0xFFFFFFFF:
                yield Fault(f"{at}/{i}", f"{name} {first} and size {size} go beyond the last id, 4294967294")


def range_faults(text: str, pointer: str) -> Iterator[Fault]:
    """Of a list of CPUs or memory nodes."""
    try:
        ranges.parse(text)
    except ValueError as error:
        yield Fault(pointer, f"{error}, not {show(text)}")


def device_number_faults(device: Mapping[str, object], at: str) -> Iterator[Fault]:
    """Of the members major and minor, where they are there."""
    for name, most in (("major", MAJORS - 1), ("minor", MINORS - 1)):
        value = device.get(name, 0)
        if not 0 <= value <= most:  # type: ignore[operator]
            yield Fault(f"{at}/{name}", f"must be from 0 to {most}, not {value}")


def is_interface(name: str) -> bool:
    """Whether a network device can have this name."""
    # dev_valid_name() in net/core/dev.c; IFNAMSIZ is 16 with the NUL at the end.
    return (
        0 < len(name.encode()) < 16
        and name not in (".", "..")
        and not any(c == "/" or c == ":" or c.isspace() for c in name)
    )


def is_file_name(text: str) -> bool:
    """Whether it is one word, and no path: as the kernel names files and devices."""
    return bool(text) and text.isprintable() and " " not in text and "/" not in text
