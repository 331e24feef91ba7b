"""A container's cgroup by the systemd driver: that of a transient scope (systemd.scope(5)), which systemd makes and
keeps, and which is the container's to divide (Delegate=).

A scope begins with a process, so the executor is made first and waits: `create` takes its pid, and init is born in the
scope. systemd is told every limit that it knows; the rest, and what it rounds, is written to the files as the cgroupfs
driver does. On version 1 systemd knows some of the hierarchies only, and in the others the directories are made here.

A scope ends with its last process, and its name is free for others then. So what was made is known again by the inode
of its directory, which no other cgroup ever has: nobody else's processes are killed for having the name.
"""

from __future__ import annotations

import posix

from pyrun.runtime import privilege
from pyrun.runtime.cgroups import files
from pyrun.runtime.cgroups.cgroup import Cgroup
from pyrun.runtime.cgroups.errors import CgroupError, refused
from pyrun.runtime.cgroups.files import Directory
from pyrun.runtime.cgroups.units import POINTER, folder, unit_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from pyrun.runtime.cgroups.bus import Manager
    from pyrun.runtime.cgroups.host import Hierarchies
    from pyrun.runtime.cgroups.properties import Property
    from pyrun.runtime.cgroups.resources import Resources, Write
    from pyrun.spec.faults import Fault

    T = TypeVar("T")


class SystemdCgroup(Cgroup):
    """As Cgroup. annotations: those of the config, of which org.systemd.property.* are heeded (Invalid if one can't).

    With `rootless`, for a caller that isn't the host's root, it is the caller's own manager that is asked."""

    needs_process = True

    __slots__ = ("_annotated", "_container", "_inode", "_limits", "_manager", "_slice", "unit")

    def __init__(
        self,
        hierarchies: Hierarchies,
        container: str,
        cgroups_path: str | None = None,
        *,
        rootless: bool = False,
        annotations: dict[str, str] | None = None,
    ) -> None:
        self.mode = hierarchies.mode
        self.rootless = rootless
        default = "user.slice" if rootless and self.mode == "v2" else "system.slice"
        self._slice, self.unit = unit_of(container, cgroups_path, default)
        self._container = container
        self._annotated: list[Property] = []
        if annotations:
            from pyrun.runtime.cgroups.properties import annotated

            self._annotated = annotated(annotations)
        below = f"{folder(self._slice)}/{self.unit}"
        # made: systemd makes and removes them, but one that it leaves must go.
        self.directories = [Directory(t.controllers, t.mountpoint, t.mountpoint + below, 1) for t in hierarchies.trees]
        self._limits: list[Property] = []
        self._manager: Manager | None = None
        self._inode = 0  # of the scope's directory, once there is one
        self._reset()

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> SystemdCgroup:
        self = super().from_state(state)
        assert isinstance(self, SystemdCgroup)
        self.unit, self._container, self._inode = state["unit"], state["container"], state["inode"]
        self._slice = ""
        if not self._inode or self._inode != _inode(self.directories):
            self.directories = []
        self._annotated, self._limits = [], []
        self._manager = None
        return self

    def to_state(self) -> dict[str, Any]:
        known = {"driver": "systemd", "unit": self.unit, "container": self._container, "inode": self._inode}
        return {**super().to_state(), **known}

    # Making and limiting ----------------------------------------------------------------------------------------------

    def foresee(self) -> None:
        """Ask where the manager's units are, so that the directories are known before they are made."""
        above = self._asked(lambda manager: manager.cgroup())
        if above:
            for directory in self.directories:
                directory.path = directory.top + above + directory.path[len(directory.top) :]

    def writes(self, resources: Resources, *, devices: bool = True, warnings: list[Fault] | None = None) -> list[Write]:
        """As there; the properties for the same resources are kept for `create` and `change`."""
        from pyrun.runtime.cgroups import properties

        writes = super().writes(resources, devices=devices, warnings=warnings)
        self._limits = properties.limits(resources, v2=self.mode == "v2")
        # The manager of a user has no right to filter devices.
        if devices and not self.rootless:
            self._limits += properties.device_rules(resources.get("devices") or [], files.read("/proc/devices"))
        return writes

    def steps(self) -> list[tuple[str, str]]:
        rows = [(f"set {row.name} = {row.value!r}", row.pointer) for row in self._properties(0) if row.name != "PIDs"]
        return [(f"start {self.unit}", POINTER), *rows]

    def create(self, pid: int = 0) -> None:
        """Start the scope with the process `pid` in it, and the limits that `writes` was asked for last."""
        wanted = self._properties(pid)
        try:
            result = self._ask(f"start {self.unit}", wanted, lambda m: m.start_scope(self.unit, _variants(wanted)))
        finally:
            self.close()
        if result != "done":
            raise CgroupError(
                POINTER, f"start {self.unit}: systemd says {result!r}", hint=f"systemctl status {self.unit}"
            )
        self._inode = _inode(self.directories)
        try:
            for directory in self.directories:
                self._complete(directory)
            self.identify()
        except BaseException:
            self.destroy()
            raise

    def _properties(self, pid: int) -> list[Property]:
        from pyrun.runtime.cgroups.properties import Property, together

        wanted = together(self._limits, self._annotated)
        chosen = {row.name for row in wanted}
        return [Property(POINTER, *row) for row in self._own(pid) if row[0] not in chosen] + wanted

    @property
    def _description(self) -> str:
        return f"container {self._container}"

    def _own(self, pid: int) -> list[tuple[str, str, Any]]:
        """What every scope of ours has."""
        io = "IOAccounting" if self.mode == "v2" else "BlockIOAccounting"
        return [
            ("Description", "s", self._description),
            ("Slice", "s", "-.slice" if self._slice == "-" else self._slice),
            ("PIDs", "au", [pid]),
            ("Delegate", "b", True),
            # Else it could only be started while the system is up, and would end before what it needs to end well.
            ("DefaultDependencies", "b", False),
            # One that has failed is not kept: its name is free, and nothing piles up.
            ("CollectMode", "s", "inactive-or-failed"),
            *((name, "b", True) for name in ("CPUAccounting", io, "MemoryAccounting", "TasksAccounting")),
        ]

    def _complete(self, directory: Directory) -> None:
        """Make the directory where systemd has not: on version 1 it has only the hierarchies that it knows."""
        try:
            directory.made = max(files.make(directory.path, directory.top), 1)
            if "cpuset" in directory.controllers:
                files.inherit_cpuset(directory)
        except OSError as error:
            raise refused(POINTER, "set up", error.filename or directory.path, error) from None

    def change(self, writes: list[Write]) -> list[Fault]:
        if not self._limits:
            return super().change(writes)
        wanted = self._limits
        contents = self._contents(writes)
        what = f"set properties of {self.unit}"
        try:
            before = self._ask(what, wanted, lambda m: m.properties(self.unit))
            old = [(row.name, before[row.name]) for row in wanted if row.name in before]
            self._ask(what, wanted, lambda m: m.set_properties(self.unit, _variants(wanted)))
            try:
                return self.apply(writes)
            except CgroupError:
                self._ask(what, wanted, lambda m: m.set_properties(self.unit, old))
                self._put_back(contents)
                raise
        finally:
            self.close()

    @property
    def attaches(self) -> bool:
        """Without root nobody may move a process from the cgroup of one login to that of another but systemd."""
        return self.rootless

    def attach(self, pid: int) -> None:
        """Move a process of the caller's into the scope."""
        try:
            self._ask(f"attach process {pid} to {self.unit}", [], lambda manager: manager.attach(self.unit, pid))
        finally:
            self.close()

    # Taking away ------------------------------------------------------------------------------------------------------

    def destroy(self) -> None:
        """Stop the scope, and remove what is left of it; its processes must have ended."""
        try:
            self._asked(self._stop)
        except CgroupError:
            pass  # without a manager an empty directory can still be removed, and if it can't that says more
        finally:
            self.close()
        super().destroy()

    def _stop(self, manager: Manager) -> None:
        # Without an inode create has died half-way, and may have come to a scope.
        if self.directories or (not self._inode and manager.description(self.unit) == self._description):
            manager.stop(self.unit)
        manager.forget(self.unit)

    # The manager ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Hang up."""
        if self._manager:
            self._manager.close()
            self._manager = None

    def _ask(self, what: str, properties: list[Property], act: Callable[[Manager], T]) -> T:
        """Let `act` ask; what is refused is worded with the property that the refusal names."""
        from pyrun.runtime.cgroups.bus import RefusedError

        try:
            return act(self._connected())
        except RefusedError as e:
            named = next((row for row in properties if row.name in e.words), None)
            if not named and len(self._annotated) == 1:
                named = self._annotated[0]  # of a value of the wrong type systemd does not say whose it is
            pointer = named.pointer if named else POINTER
            words = f"{what}: systemd says {e.words!r}"
            if named and f"{named.name!r}" not in words:
                words += f" of {named.name}"
            raise CgroupError(pointer, words, hint="" if named else e.name) from None

    def _asked(self, act: Callable[[Manager], T]) -> T:
        return self._ask(f"ask for {self.unit}", [], act)

    def _connected(self) -> Manager:
        if self._manager is None:
            try:
                from pyrun.runtime.cgroups.bus import Manager
            except ImportError:
                raise CgroupError(
                    "", "the systemd driver needs the library jeepney", hint="pip install jeepney"
                ) from None
            self._manager = Manager(self.rootless and privilege.rootless())
        return self._manager


def _inode(directories: list[Directory]) -> int:
    """That of the scope in the hierarchy that systemd itself goes by; 0 without one."""
    for names in ((), ("name=systemd",)):
        for directory in directories:
            if directory.controllers == names:
                try:
                    return posix.stat(directory.path).st_ino
                except OSError:
                    continue
    return 0


def _variants(properties: list[Property]) -> list[tuple[str, tuple[str, Any]]]:
    return [(row.name, (row.signature, row.value)) for row in properties]
