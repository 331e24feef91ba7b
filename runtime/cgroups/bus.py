"""systemd's manager over D-Bus (org.freedesktop.systemd1(5)). jeepney writes and reads the messages; the socket is
ours, so that every wait has an end: a manager that doesn't answer must not hold a container's lock for ever."""

from __future__ import annotations

import errno
import posix
from socket import AF_UNIX, SO_PEERCRED, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket
from struct import Struct
from time import monotonic

from jeepney import DBusAddress, HeaderFields, MessageType, Parser, new_method_call
from jeepney.bus import get_connectable_addresses

from pyrun.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from jeepney import Message

# For all that one command asks of a manager together. systemd itself gives up on a job after 90.
SECONDS = 30.0

_MANAGER = DBusAddress(
    "/org/freedesktop/systemd1", bus_name="org.freedesktop.systemd1", interface="org.freedesktop.systemd1.Manager"
)
_DRIVER = DBusAddress("/org/freedesktop/DBus", bus_name="org.freedesktop.DBus", interface="org.freedesktop.DBus")
_PROPERTIES = "org.freedesktop.DBus.Properties"
_JOBS = f"type='signal',interface='{_MANAGER.interface}',member='JobRemoved'"
_UNIT = "org.freedesktop.systemd1.Unit"
_GONE = ("org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.systemd1.NoUnitForInvocationID")
_CREDENTIALS = Struct("=iII")  # struct ucred: pid, uid, gid
_UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"


class RefusedError(Exception):
    """An error that was answered: its D-Bus name, and words."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(name, words)
        self.name = name
        self.words = words


class Manager:
    """A connection to the manager of the system, or with `user` to the caller's own. Methods raise CgroupError when
    there is none or it doesn't answer within `seconds`, all calls together, and RefusedError where they say so."""

    def __init__(self, user: bool, environ: Mapping[bytes, bytes], seconds: float = SECONDS) -> None:
        self._end = monotonic() + seconds
        self._seconds = seconds
        self._parser = Parser()
        self._serial = 0
        self._jobs: dict[str, str] = {}  # those that have ended: object path → result
        self._bus = "user" if user else "system"
        self._socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            path = next(iter(get_connectable_addresses(_address(user, environ))))
            self._wait(lambda: self._socket.connect(path))
            if user:
                self._require_own()
            self._authenticate()
            self._call(_DRIVER, "Hello")
            self._call(_DRIVER, "AddMatch", "s", _JOBS)
        except (RefusedError, RuntimeError, ValueError) as e:  # the latter two: an address that can't be understood
            self.close()
            raise self._unreachable(str(e)) from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    # What is asked ----------------------------------------------------------------------------------------------------

    def cgroup(self) -> str:
        """The cgroup that all units are below: "" for the top one."""
        return str(self._get(_MANAGER, str(_MANAGER.interface), "ControlGroup")).rstrip("/")

    def most_tasks(self) -> int:
        """The limit of tasks that a unit has which asks for none."""
        return int(self._get(_MANAGER, str(_MANAGER.interface), "DefaultTasksMax"))

    def start_scope(self, unit: str, properties: list[tuple[str, tuple[str, Any]]]) -> str:
        """Make a transient scope and wait until it is there; returns "done", or what became of it instead. One of the
        same name that has failed is taken away. Raises RefusedError."""
        try:
            return self._start(unit, properties)
        except RefusedError as e:
            if e.name != _UNIT_EXISTS:
                raise
        self.forget(unit)
        return self._start(unit, properties)

    def _start(self, unit: str, properties: list[tuple[str, tuple[str, Any]]]) -> str:
        (job,) = self._call(_MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", properties, [])
        return self._job(job)

    def invocation(self, unit: str) -> str:
        """The ID, in hexadecimal, of what runs under a unit's name now: no other run ever has it. "" when none does."""
        try:
            (path,) = self._call(_MANAGER, "GetUnit", "s", unit)
            return bytes(self._get(_unit(path), _UNIT, "InvocationID")).hex()
        except RefusedError as e:
            if e.name not in _GONE:
                raise
            return ""

    def description(self, invocation: str) -> str:
        """That of a unit; "" when it is gone."""
        try:
            return str(self._get(_run(invocation), _UNIT, "Description"))
        except RefusedError as e:
            if e.name not in _GONE:
                raise
            return ""

    def kill(self, invocation: str) -> None:
        """Send SIGKILL to all processes of a unit, if there are any."""
        try:
            self._call(_run(invocation), "Kill", "si", "all", 9)
        except RefusedError:
            return

    def stop(self, invocation: str) -> None:
        """Stop a unit and wait until it is, or is gone. Raises RefusedError."""
        try:
            (job,) = self._call(_run(invocation), "Stop", "s", "replace")
            self._job(job)
            self._call(_run(invocation), "ResetFailed")
        except RefusedError as e:
            if e.name not in _GONE:
                raise

    def attach(self, unit: str, pid: int) -> None:
        """Move a process of the caller's into a unit. Raises RefusedError."""
        self._call(_MANAGER, "AttachProcessesToUnit", "ssau", unit, "", [pid])

    def forget(self, unit: str) -> None:
        """Take away a unit that has failed, if there is one."""
        try:
            self._call(_MANAGER, "ResetFailedUnit", "s", unit)
        except RefusedError:
            return

    def properties(self, unit: str) -> dict[str, tuple[str, Any]]:
        """A scope's, as D-Bus variants. Raises RefusedError."""
        (path,) = self._call(_MANAGER, "GetUnit", "s", unit)
        (found,) = self._call(_unit(path).with_interface(_PROPERTIES), "GetAll", "s", "org.freedesktop.systemd1.Scope")
        return dict(found)

    def set_properties(self, unit: str, properties: list[tuple[str, tuple[str, Any]]]) -> None:
        """Until the unit ends. When it returns systemd has written its files. Raises RefusedError, and then has changed
        nothing."""
        self._call(_MANAGER, "SetUnitProperties", "sba(sv)", unit, True, properties)
        # The files are written after the answer, but before anything else is done for us.
        self.cgroup()

    # The protocol -----------------------------------------------------------------------------------------------------

    def _authenticate(self) -> None:
        """By what the kernel says of us: so it holds in a user namespace too, where our id is another one."""
        self._wait(lambda: self._socket.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"))
        said = b""
        while said.count(b"\r\n") < 2:
            said += self._receive()
            if b"REJECTED" in said or b"ERROR" in said:
                raise self._unreachable("authentication rejected")

    def _require_own(self) -> None:
        """Whoever has made the directory that XDG_RUNTIME_DIR names may listen there (unix(7), SO_PEERCRED)."""
        _, uid, _ = _CREDENTIALS.unpack(self._socket.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS.size))
        if uid not in (0, posix.geteuid()):
            raise self._unreachable(f"who listens there is uid {uid}")

    def _get(self, address: DBusAddress, interface: str, name: str) -> Any:
        (value,) = self._call(address.with_interface(_PROPERTIES), "Get", "ss", interface, name)
        return value[1]

    def _job(self, job: str) -> str:
        while job not in self._jobs:
            self._next()
        return self._jobs.pop(job)

    def _call(self, address: DBusAddress, member: str, signature: str = "", *body: Any) -> tuple[Any, ...]:
        self._serial += 1
        message = new_method_call(address, member, signature or None, body).serialise(serial=self._serial)
        self._wait(lambda: self._socket.sendall(message))
        while True:
            answer = self._next()
            fields = answer.header.fields
            if fields.get(HeaderFields.reply_serial) != self._serial:
                continue
            if answer.header.message_type == MessageType.error:
                words = str(answer.body[0]) if answer.body else ""
                raise RefusedError(fields.get(HeaderFields.error_name, ""), words)
            result: tuple[Any, ...] = answer.body
            return result

    def _next(self) -> Message:
        """The next message; the end of a job is noted."""
        while (message := self._parser.get_next_message()) is None:
            self._parser.add_data(self._receive())
        if message.header.fields.get(HeaderFields.member) == "JobRemoved":
            _, job, _, result = message.body
            self._jobs[job] = result
        return message

    def _receive(self) -> bytes:
        data: bytes = self._wait(lambda: self._socket.recv(1 << 16))
        if not data:
            raise self._unreachable("it has hung up")
        return data

    def _wait(self, act: Callable[[], Any]) -> Any:
        """Do it, unless it takes longer than there is time left."""
        left = self._end - monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            return act()
        except TimeoutError:
            words = f"systemd's {self._bus} manager has not answered within {self._seconds:g} s"
            raise CgroupError(words, errno=errno.ETIMEDOUT) from None
        except OSError as e:
            raise self._unreachable("", e.errno or 0) from None

    def _unreachable(self, words: str, number: int = 0) -> CgroupError:
        hint = "leave out --systemd-cgroup where systemd does not run"
        if self._bus == "user":
            hint = "without root it takes a login session: DBUS_SESSION_BUS_ADDRESS or XDG_RUNTIME_DIR"
        what = f"reach systemd on the {self._bus} bus"
        return CgroupError(f"{what}: {words}" if words else what, errno=number, hint=hint)


def _unit(path: str) -> DBusAddress:
    return DBusAddress(path, bus_name=_MANAGER.bus_name, interface=_UNIT)


def _run(invocation: str) -> DBusAddress:
    """The unit by its invocation ID: what has its name meanwhile does not hear of it. No part of a path begins with a
    digit in D-Bus."""
    first = invocation[0]
    first = f"_{ord(first):02x}" if first.isdigit() else first
    return _unit(f"/org/freedesktop/systemd1/unit/{first}{invocation[1:]}")


def _address(user: bool, environ: Mapping[bytes, bytes]) -> str:
    variable = b"DBUS_SESSION_BUS_ADDRESS" if user else b"DBUS_SYSTEM_BUS_ADDRESS"
    given = environ.get(variable, b"").decode("utf-8", "surrogateescape")
    if given:
        return given
    if not user:
        return "unix:path=/run/dbus/system_bus_socket"
    directory = environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    return f"unix:path={directory or f'/run/user/{posix.geteuid()}'}/bus"
