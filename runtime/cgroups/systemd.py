"""A container's cgroup by the systemd driver: that of a transient scope (systemd.scope(5)), which systemd makes and
keeps, and which is the container's to divide (Delegate=).

A scope begins with a process, so the executor is made first and waits: `create` takes its pid, and init is born in the
scope. systemd is told every limit that it knows; the rest, and what it rounds, is written to the files as the cgroupfs
driver does. On version 1 systemd knows some of the hierarchies only, and in the others the directories are made here.

A scope ends with its last process, and its name is free for others then. So what was made is known again by the inode
of its directory and by its invocation ID, which no other ever has: nobody else's processes are killed for having the
name. Until these are in the state, a scope of ours is known by a random mark in its description, which is in the state
before the scope is asked for.
"""

from __future__ import annotations

import errno
import posix

from pyrun.cgroups import directories
from pyrun.cgroups.cgroup import Cgroup
from pyrun.cgroups.directories import Directory
from pyrun.cgroups.errors import refused
from pyrun.cgroups.units import POINTER, slice_directory, unit_of
from pyrun.errors import CgroupError
from pyrun.kernel import files, privilege

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from pyrun.cgroups.bus import Manager
    from pyrun.cgroups.controller import Resources, Write
    from pyrun.cgroups.host import Hierarchies
    from pyrun.cgroups.properties import Property
    from pyrun.spec.faults import Fault

    T = TypeVar("T")


class SystemdCgroup(Cgroup):
    """As Cgroup. annotations: those of the config, of which org.systemd.property.* are heeded (Invalid if one can't).

    With `rootless`, for a caller that isn't the host's root, it is the caller's own manager that is asked."""

    needs_process = True

    __slots__ = ("_annotated", "_container", "_inode", "_invocation", "_limits", "_manager", "_mark", "_slice", "unit")

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
            from pyrun.cgroups.annotations import annotated  # lazy: only create

            self._annotated = annotated(annotations, v2=self.mode == "v2")
        below = f"{slice_directory(self._slice)}/{self.unit}"
        # made: systemd makes and removes them, but one that it leaves must go.
        self.directories = [Directory(t.controllers, t.mountpoint, t.mountpoint + below, 1) for t in hierarchies.trees]
        self._limits: list[Property] = []
        self._manager: Manager | None = None
        self._mark = ""
        self._inode, self._invocation = 0, ""  # once there is a scope
        self._reset()

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> SystemdCgroup:
        """The cgroup that `to_state` told of."""
        self = super().from_state(state)
        assert isinstance(self, SystemdCgroup)
        self.unit, self._container, self._slice = state["unit"], state["container"], ""
        self._mark, self._inode, self._invocation = state["mark"], state["inode"], state["invocation"]
        if not self._inode or self._inode != _inode(self.directories):
            self.directories = []
        self._annotated, self._limits = [], []
        self._manager = None
        return self

    def to_state(self) -> dict[str, Any]:
        """What a later command needs, fit for JSON: the unit and its mark besides."""
        return {
            **super().to_state(),
            "driver": "systemd",
            "unit": self.unit,
            "container": self._container,
            "mark": self._mark,
            "inode": self._inode,
            "invocation": self._invocation,
        }

    # Making and limiting ----------------------------------------------------------------------------------------------

    def foresee(self) -> None:
        """Ask where the manager's units are, so that the directories are known before they are made, and choose the
        mark."""
        self._mark = posix.urandom(8).hex()
        try:
            above = self._asked(lambda manager: manager.cgroup())
            for row in self._annotated:
                if row.name == "TasksMax":
                    self._check_tasks(row)
        except CgroupError:
            self.close()
            raise
        if above:
            for directory in self.directories:
                directory.path = directory.top + above + directory.path[len(directory.top) :]

    def _check_tasks(self, row: Property) -> None:
        """An annotation may take from the limit that a scope has anyway, not add to it."""
        most = self._asked(lambda manager: manager.most_tasks())
        if row.value > most:
            words = f"TasksMax is above systemd's DefaultTasksMax, {most}"
            hint = "linux.resources.pids.limit can ask for more, an annotation can't"
            raise CgroupError(words, pointer=row.pointer, hint=hint)

    def writes(self, resources: Resources, *, devices: bool = True, warnings: list[Fault] | None = None) -> list[Write]:
        """As there; the properties for the same resources are kept for `create` and `change`."""
        from pyrun.cgroups import properties  # lazy: only create and update
        from pyrun.cgroups.controllers.devices import device_properties  # lazy: only create and update

        writes = super().writes(resources, devices=devices, warnings=warnings)
        self._limits = properties.limits(resources, v2=self.mode == "v2")
        if self._annotated:
            from pyrun.cgroups.annotations import contested  # lazy: only with annotations

            contested(self._annotated, writes, v2=self.mode == "v2")
        # The manager of a user has no right to filter devices.
        if devices and not self.rootless:
            self._limits += device_properties(resources.get("devices") or [], files.read("/proc/devices"))
        return writes

    def steps(self) -> list[tuple[str, str]]:
        """What `create` will do, in words, and where in the config it is asked for."""
        rows = [(f"set {row.name} = {row.value!r}", row.pointer) for row in self._properties(0) if row.name != "PIDs"]
        return [(f"start {self.unit}", POINTER), *rows]

    def create(self, pid: int = 0) -> None:
        """Start the scope with the process `pid` in it, and the limits that `writes` was asked for last."""
        wanted = self._properties(pid)
        what = f"start {self.unit}"
        try:
            result = self._ask(what, wanted, lambda manager: manager.start_scope(self.unit, _variants(wanted)))
            if result == "done":
                self._recognise(what)
        finally:
            self.close()
        if result != "done":
            raise CgroupError(f"{what}: systemd says {result!r}", pointer=POINTER, hint=f"systemctl status {self.unit}")
        try:
            for directory in self.directories:
                self._complete(directory)
            self.identify()
        except BaseException:
            try:
                self.destroy()
            except CgroupError:
                pass  # the caller ends the process, and with it the scope; why it came to this says more
            raise

    def _recognise(self, what: str) -> None:
        """Note what the scope is known by. A job that was skipped, for a condition, is done without one."""
        self._invocation = self._asked(lambda manager: manager.invocation(self.unit))
        self._inode = _inode(self.directories)
        if not (self._invocation and self._inode):
            words = "systemd says 'done', but there is no scope"
            hint = f"systemctl cat {self.unit}: a drop-in for scopes may set a condition"
            if self._invocation:
                self._asked(self._stop)
                words, hint = "there is no such cgroup", "is /sys/fs/cgroup the one that this systemd sees?"
            raise CgroupError(f"{what}: {words}", pointer=POINTER, hint=hint)

    def _properties(self, pid: int) -> list[Property]:
        from pyrun.cgroups.properties import Property  # lazy: only create

        wanted = self._limits + self._annotated
        chosen = {row.name for row in wanted}
        return [Property(POINTER, *row) for row in self._own(pid) if row[0] not in chosen] + wanted

    @property
    def _description(self) -> str:
        return f"container {self._container} [{self._mark}]" if self._mark else f"container {self._container}"

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
            directory.made = max(directories.make(directory.path, directory.top), 1)
            if "cpuset" in directory.controllers:
                directories.inherit_cpuset(directory)
        except OSError as error:
            raise refused(POINTER, "set up", error.filename or directory.path, error) from None

    def change(self, writes: list[Write]) -> list[Fault]:
        """The unit's properties first, then the files, as for a cgroup of our own. Raises CgroupError."""
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
            if self._reachable():
                self._asked(self._stop)
        except CgroupError as e:
            # A scope whose directory goes before systemd has seen it empty is never found to have ended.
            e.hint = e.hint or "delete it again when systemd answers: the container is kept till then"
            raise
        finally:
            self.close()
        super().destroy()

    def _reachable(self) -> bool:
        """Whether there is a manager: without one an empty directory can still be removed, and if it can't that says
        more. One that doesn't answer is there."""
        try:
            self._connected()
        except CgroupError as e:
            if e.errno == errno.ETIMEDOUT:
                raise
            return False
        return True

    def _stop(self, manager: Manager) -> None:
        now = manager.invocation(self.unit)
        if self._invocation:
            ours = now == self._invocation
        else:  # create has died half-way, and may have come to a scope
            ours = bool(now and self._mark) and manager.description(now) == self._description
        if now and ours:
            # What an annotation says of signals and timeouts is for others who stop it.
            manager.kill(now)
            manager.stop(now)

    # The manager ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Hang up."""
        if self._manager:
            self._manager.close()
            self._manager = None

    def _ask(self, what: str, properties: list[Property], act: Callable[[Manager], T]) -> T:
        """Let `act` ask; what is refused is worded with the property that the refusal names."""
        from pyrun.cgroups.bus import RefusedError  # lazy: loads jeepney

        try:
            return act(self._connected())
        except RefusedError as e:
            named = next((row for row in properties if row.name in e.words), None)
            if not named and len(self._annotated) == 1 and e.name == "org.freedesktop.DBus.Error.InvalidArgs":
                named = self._annotated[0]  # of some values systemd does not say whose they are
            pointer = named.pointer if named else POINTER
            words = f"{what}: systemd says {e.words!r}"
            if named and f"{named.name!r}" not in words:
                words += f" of {named.name}"
            raise CgroupError(words, pointer=pointer, hint="" if named else e.name) from None

    def _asked(self, act: Callable[[Manager], T]) -> T:
        return self._ask(f"ask for {self.unit}", [], act)

    def _connected(self) -> Manager:
        if self._manager is None:
            try:
                from pyrun.cgroups.bus import Manager  # lazy: loads jeepney
            except ImportError:
                raise CgroupError("the systemd driver needs the library jeepney", hint="pip install jeepney") from None
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
