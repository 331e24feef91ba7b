"""The ids that somebody without root may map: his own, and those that subuid(5) and subgid(5) give him."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, NamedTuple

from pyrun.host.idmap import HELPER_DIRECTORIES
from pyrun.spec.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.spec.config import IDMapping, Linux


class Range(NamedTuple):
    """`size` ids of the host from `first` on."""

    first: int
    size: int


def ranges(path: str, uid: int) -> list[Range]:
    """The lines of /etc/subuid or /etc/subgid that are that user's, by name or by number."""
    names = {str(uid)}
    try:
        names.add(pwd.getpwuid(uid).pw_name)
    except KeyError:
        pass
    found = []
    try:
        with open(path) as file:
            for line in file:
                owner, _, rest = line.strip().partition(":")
                first, _, size = rest.partition(":")
                if owner in names and first.isdigit() and size.isdigit():
                    found.append(Range(int(first), int(size)))
    except OSError:
        pass
    return found


def faults(linux: Linux) -> Iterator[Fault]:
    """Mappings that newuidmap(1) and newgidmap(1) would refuse, or that nobody is there to make."""
    both = (
        ("uidMappings", linux.get("uidMappings", []), "/etc/subuid", "newuidmap", os.geteuid()),
        ("gidMappings", linux.get("gidMappings", []), "/etc/subgid", "newgidmap", os.getegid()),
    )
    for member, mappings, path, helper, own in both:
        if [(row["hostID"], row["size"]) for row in mappings] == [(own, 1)]:
            continue  # that takes nobody's help
        if not any(os.access(f"{directory}/{helper}", os.X_OK) for directory in HELPER_DIRECTORIES):
            yield Fault(f"/linux/{member}", f"{helper} is not installed", hint="install the package uidmap")
            continue
        given = [Range(own, 1), *ranges(path, os.geteuid())]
        for i, row in enumerate(mappings):
            if not _within(row, given):
                theirs = ", ".join(f"{first}-{first + size - 1}" for first, size in given)
                last = row["hostID"] + row["size"] - 1
                problem = f"{row['hostID']} to {last} are not all this caller's, only {theirs}"
                yield Fault(f"/linux/{member}/{i}", problem, hint=f"see {path}")


def _within(row: IDMapping, given: list[Range]) -> bool:
    """newidmap checks each mapping against one range."""
    first, end = row["hostID"], row["hostID"] + row["size"]
    return any(have.first <= first and end <= have.first + have.size for have in given)
