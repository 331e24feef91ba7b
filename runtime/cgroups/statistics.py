"""What the kernel counts of a container, in the shape of runc's `events --stats`. Cold.

A figure that this kernel doesn't have is left out, or 0 where readers expect a number.
"""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Any

from pyrun.cgroups import directories
from pyrun.cgroups.controllers import controllers
from pyrun.kernel import files

if TYPE_CHECKING:
    from pyrun.cgroups.cgroup import Cgroup


def statistics(cgroup: Cgroup, pid: int, intel_rdt: dict[str, Any]) -> dict[str, Any]:
    """The member `data` of an event; pid: of the container's init, 0 for none. intel_rdt: host/resctrl.py's."""
    figures = Figures(cgroup)
    found: dict[str, Any] = {}
    for controller in controllers():
        found |= controller.statistics(figures)
    return {**found, "intel_rdt": intel_rdt, "network_interfaces": interfaces(pid)}


def interfaces(pid: int) -> list[dict[str, Any]]:
    """Of the container's network namespace, but for lo (proc_pid_net(5), /proc/net/dev)."""
    try:
        lines = files.read(f"/proc/{pid}/net/dev").splitlines()[2:] if pid else []
    except OSError:
        return []
    found = []
    for line in lines:
        name, _, rest = line.partition(":")
        numbers = [int(word) for word in rest.split()]
        if name.strip() == "lo" or len(numbers) < 12:
            continue
        found.append(
            {
                "Name": name.strip(),
                **{f"Rx{key}": numbers[i] for i, key in enumerate(_COUNTED)},
                **{f"Tx{key}": numbers[8 + i] for i, key in enumerate(_COUNTED)},
            }
        )
    return found


_COUNTED = ("Bytes", "Packets", "Errors", "Dropped")


class Figures:
    """Files of the container's cgroup, by controller. What isn't there is empty, or 0."""

    no_limit = (1 << 64) - 1

    def __init__(self, cgroup: Cgroup) -> None:
        self.v2 = cgroup.mode == "v2"
        self._directories = {c: d.path for d in cgroup.directories for c in d.controllers or ("",)}

    def _directory(self, controller: str) -> str:
        return self._directories.get("" if self.v2 else controller, "")

    def names(self, controller: str) -> list[str]:
        """Of the files that there are."""
        try:
            return posix.listdir(self._directory(controller)) if self._directory(controller) else []
        except OSError:
            return []

    def text(self, controller: str, file: str) -> str:
        """A file as it is."""
        directory = self._directory(controller)
        try:
            return files.read(directories.file(directory, file)) if directory else ""
        except OSError:
            return ""

    def number(self, controller: str, file: str) -> int:
        """A file with one number, or `max`."""
        word = self.text(controller, file).strip()
        return int(word) if word.isdigit() else self.no_limit if word == "max" else 0

    def numbers(self, controller: str, file: str) -> list[int]:
        """A file with numbers in a row."""
        return [int(word) for word in self.text(controller, file).split()]

    def table(self, controller: str, file: str) -> dict[str, int]:
        """A file of "key number" lines."""
        rows = (line.split() for line in self.text(controller, file).splitlines())
        return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}

    def pressure(self, file: str) -> dict[str, Any]:
        """The member psi: pressure stall information (Documentation/accounting/psi.rst); {} where there is none, as on
        version 1."""
        found: dict[str, Any] = {}
        for line in self.text("", file).splitlines() if self.v2 else ():
            kind, *pairs = line.split()
            values = dict(pair.split("=") for pair in pairs)
            found[kind] = {key: float(values[key]) for key in ("avg10", "avg60", "avg300")}
            found[kind]["total"] = int(values["total"])
        return {"psi": found} if found else {}
