"""A network for a container that is made by hand: a veth pair to a bridge, an address, a default route, and NAT.

As createRuntime hook it is called with the container's state; as poststop hook, with remove, it gives the address back,
and after the last container takes down what was made on the host. By ip(8), nsenter(1) and iptables(8).

A container's id says nothing: another store may have the same. What is known of it is its network namespace, which is
held open by a descriptor while its pid may become another's; the pair is named by the namespace's inode.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import re
import shutil
import stat
import subprocess
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from pyrun.errors import Error
from pyrun.kernel.files import read_bounded, write_all
from pyrun.kernel.process import has_ended, start_time
from pyrun.spec import strictjson
from pyrun.spec.faults import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    # Of what isn't as it should be, and stops nothing
    Warn = Callable[[str], None]
    # One thing that was made on the host: its kind in _UNDO, and what undoing it takes
    Row = list[str]

# A manager or a hook's config may give us no PATH.
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# Whatever a program waits for (the lock of xtables, of rtnl), it is not waited for longer. In seconds.
_MOST_WAIT, _LOCK_WAIT = 30, "20"
_MOST_NOTE, _MOST_PID = 1 << 20, 1 << 22  # limits.h: PID_MAX_LIMIT
# A name that ip and iptables take for nothing else: not for an option, and not for a pattern, as `x+` is.
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
# What no container's interface can have: this network, loopback, multicast, reserved with the broadcast address.
_UNUSABLE = tuple(map(ipaddress.IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4")))
_FEWEST_BITS = 30  # the bridge, and one container
_SETTINGS = "/proc/sys/net/ipv4/conf"


class NetworkError(Exception):
    """What could not be done, and what the program said."""


def add(state: dict[str, Any], folder: str, bridge: str, subnet: str, *, nat: bool, warn: Warn) -> str:
    """Give the container its network; returns its address. folder: where the addresses that are in use are noted, which
    must be there. Raises NetworkError, ValueError or OSError; then what this call has made is gone, no more."""
    network = _network(subnet)
    if not _INTERFACE.fullmatch(bridge):
        raise NetworkError(f"{bridge!r} can't be the name of a bridge")
    gateway, prefix = next(network.hosts()), network.prefixlen
    with _Namespace.of(state.get("pid")) as space, _Notes(folder, warn) as notes, ExitStack() as undo:
        notes.sweep()
        host = _Host(notes, bridge)
        undo.callback(host.undo, len(host.made))
        host.bridge(f"{gateway}/{prefix}")
        if nat:
            host.masquerade(str(network))
        pair, there = f"vp{space.inode:x}", f"/proc/self/fd/{space.fd}"
        _ip("link", "add", pair, "type", "veth", "peer", "name", "eth0", "netns", there, fd=space.fd)
        undo.callback(_unplug, pair)
        # The name was free: whoever is noted with it had a namespace that is gone.
        notes.forget(lambda note: note.pair == pair)
        address = notes.take(network, _Note(state["id"], _bundle(state), bridge, pair, space.pid, space.started))
        undo.callback(notes.unlink, address)
        _ip("link", "set", pair, "master", bridge, "up")
        for arguments in (
            ("address", "add", f"{address}/{prefix}", "dev", "eth0"),
            ("link", "set", "lo", "up"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", str(gateway)),
        ):
            _run(_program("nsenter"), f"--net={there}", _program("ip"), *arguments, fd=space.fd)
        undo.pop_all()
    return address


def remove(state: dict[str, Any], folder: str, warn: Warn) -> None:
    """Give the address of a container that has ended back, without waiting until the kernel has taken the pair away;
    and undo what was made for bridges that have no container any more. One of the same id that lives is left alone."""
    own = state["id"], _bundle(state)
    with _Notes(folder, warn) as notes:
        for note in notes.forget(lambda note: (note.id, note.bundle) == own and not note.lives()):
            _unplug(note.pair)
        notes.sweep()
        busy = {note.bridge for _, note in notes.all()}
        for bridge in _Host.bridges(folder) - busy:
            _Host(notes, bridge).undo(0)


def _network(subnet: str) -> ipaddress.IPv4Network:
    network = ipaddress.IPv4Network(subnet)
    if network.prefixlen > _FEWEST_BITS:
        raise NetworkError(f"{network} has no address for a container: at most /{_FEWEST_BITS}")
    for unusable in _UNUSABLE:
        if network.overlaps(unusable):
            raise NetworkError(f"{network} has addresses of {unusable}, which no interface can have")
    return network


def _bundle(state: dict[str, Any]) -> str:
    return str(state.get("bundle", ""))


class _Namespace(NamedTuple):
    """A container's network namespace, open."""

    fd: int
    inode: int
    pid: int
    started: int

    @classmethod
    def of(cls, pid: object) -> _Namespace:
        if type(pid) is not int or not 0 < pid <= _MOST_PID:
            raise NetworkError("the container's state has no pid of a process")
        with ExitStack() as undo:
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                raise NetworkError(f"there is no process {pid}") from None
            undo.callback(os.close, pidfd)
            started = start_time(pid)
            fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            made = cls(fd, os.fstat(fd).st_ino, pid, started)
            try:
                # Asked last: until here the number was this process's.
                if not started or has_ended(pidfd, 0):
                    raise NetworkError(f"process {pid} has ended")
                if os.path.samestat(os.fstat(fd), os.stat("/proc/self/ns/net")):
                    raise NetworkError("the container has no network namespace of its own: its network is the host's")
            except BaseException:
                os.close(fd)
                raise
        return made

    def __enter__(self) -> _Namespace:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


class _Note(NamedTuple):
    """Whose an address is. pair: the host's end. pid, started: its init."""

    id: str
    bundle: str
    bridge: str
    pair: str
    pid: int
    started: int

    def lives(self) -> bool:
        return start_time(self.pid) == self.started


class _Notes:
    """Addresses that are in use, a file each; and what was made on the host, a file for each bridge. Whoever is in the
    block is alone there. A file is written beside and renamed: a kill leaves the old one or the new one."""

    def __init__(self, folder: str, warn: Warn) -> None:
        self.folder, self.warn = folder, warn
        self._blocked: set[str] = set()  # notes that are none, and can't be replaced either

    def __enter__(self) -> _Notes:
        self._lock = os.open(f"{self.folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def take(self, network: ipaddress.IPv4Network, note: _Note) -> str:
        used = {address for address, _ in self.all()} | self._blocked
        hosts = network.hosts()
        next(hosts)  # the bridge's own
        for address in map(str, hosts):
            if address not in used:
                self.write(address, note._asdict())
                return address
        raise NetworkError(f"all addresses of {network} are in use")

    def sweep(self) -> None:
        """An address is in use while its pair is there, or its container's init."""
        pairs = {link["ifname"] for link in _asked("link", "show", "type", "veth")}
        self.forget(lambda note: note.pair not in pairs and not note.lives())

    def forget(self, unwanted: Callable[[_Note], bool]) -> list[_Note]:
        found = [(address, note) for address, note in self.all() if unwanted(note)]
        for address, _ in found:
            self.unlink(address)
        return [note for _, note in found]

    def all(self) -> Iterator[tuple[str, _Note]]:
        """Address and note. What is no note is told of and removed, and then its address is free."""
        for address in sorted(name for name in os.listdir(self.folder) if name[:1].isdigit()):
            try:
                yield address, self._note(address)
            except (NetworkError, Error, Invalid, OSError) as e:
                if address not in self._blocked:
                    self.warn(f"{self.folder}/{address} says of no container that it has that address: {e}")
                try:
                    self.unlink(address)
                except OSError:
                    self._blocked.add(address)

    def _note(self, address: str) -> _Note:
        value = strictjson.loads(self.read(address))
        kinds = {"id": str, "bundle": str, "bridge": str, "pair": str, "pid": int, "started": int}
        if not isinstance(value, dict) or {name: type(said) for name, said in value.items()} != kinds:
            raise NetworkError("it is no note")
        return _Note(**value)

    def read(self, name: str) -> bytes:
        fd = os.open(f"{self.folder}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise NetworkError("it is not a regular file")
            return read_bounded(fd, f"{self.folder}/{name}", _MOST_NOTE)
        finally:
            os.close(fd)

    def write(self, name: str, value: object) -> None:
        """Whatever is left there of another that was killed is overwritten: we are alone."""
        beside = f"{self.folder}/new"
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, strictjson.dumps(value).encode())
        finally:
            os.close(fd)
        os.rename(beside, f"{self.folder}/{name}")

    def unlink(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(f"{self.folder}/{name}")


class _Host:
    """What was made on the host for a bridge: rows of _UNDO. All but the bridge are noted before they are made: a kill
    leaves nothing that nobody knows of."""

    def __init__(self, notes: _Notes, bridge: str) -> None:
        self._notes, self._bridge = notes, bridge
        self._file = f"{self._prefix()}{bridge}"
        self.made: list[Row] = []
        try:
            rows = strictjson.loads(notes.read(self._file))
            self.made = [[str(word) for word in row] for row in rows if row[0] in _UNDO]
        except FileNotFoundError:
            pass
        except (NetworkError, Error, Invalid, OSError, TypeError, LookupError) as e:
            notes.warn(f"{notes.folder}/{self._file} does not say what was made for {bridge}: {e}")
        if not _links(bridge):
            self.made = [row for row in self.made if row[0] not in ("link", "address")]  # these went with it

    @classmethod
    def bridges(cls, folder: str) -> set[str]:
        """Those for which something was made."""
        prefix = cls._prefix()
        return {name.removeprefix(prefix) for name in os.listdir(folder) if name.startswith(prefix)}

    @staticmethod
    def _prefix() -> str:
        """Another network namespace has other bridges."""
        return f"host-{os.stat('/proc/self/ns/net').st_ino:x}-"

    def bridge(self, address: str) -> None:
        name, links = self._bridge, _links(self._bridge)
        if not links:
            _ip("link", "add", name, "type", "bridge")
            self._note("link", name, str(_links(name)[0]["ifindex"]))
        elif links[0]["ifname"] != name or links[0].get("linkinfo", {}).get("info_kind") != "bridge":
            raise NetworkError(f"{name} is there, and is no bridge")
        held = [f"{one.get('local')}/{one.get('prefixlen')}" for one in _addresses(name)]
        if address not in held:
            self._note("address", address, name)
            _ip("address", "add", address, "dev", name)
        _ip("link", "set", name, "up")

    def masquerade(self, subnet: str) -> None:
        """What goes from the subnet to elsewhere goes by the host's address, and is forwarded."""
        name = self._bridge
        for rule in (
            ("nat", "POSTROUTING", "-s", subnet, "!", "-o", name, "-j", "MASQUERADE"),
            ("filter", "FORWARD", "-i", name, "-s", subnet, "-j", "ACCEPT"),
            ("filter", "FORWARD", "-o", name, "-d", subnet, "-m", "state", "--state", "RELATED,ESTABLISHED",
             "-j", "ACCEPT"),
        ):  # fmt: skip
            if _done(*_rule("-C", *rule)):
                self._note("rule", *rule)
                _run(*_rule("-A", *rule))
        # Not ip_forward, which has the host forward between all that it is connected to.
        outwards = [route["dev"] for route in _asked("-4", "route", "show", "default") if "dev" in route]
        for interface in (name, *outwards):
            if not _forwards(interface):
                self._note("forwarding", interface)
                _forward(interface, "1")

    def undo(self, since: int) -> None:
        """The rows from there on, the last first."""
        for kind, *rest in self.made[since:][::-1]:
            try:
                _UNDO[kind](*rest)
            except (NetworkError, OSError, TypeError) as e:
                self._notes.warn(f"could not undo {kind} {' '.join(rest)}: {e}")
        del self.made[since:]
        self._keep()

    def _note(self, *row: str) -> None:
        if list(row) not in self.made:
            self.made.append(list(row))
            self._keep()

    def _keep(self) -> None:
        if self.made:
            self._notes.write(self._file, self.made)
        else:
            self._notes.unlink(self._file)


def _undo_link(name: str, index: str) -> None:
    """Unless it is another one by now, or somebody has connected something to it."""
    links = _links(name)
    if links and str(links[0]["ifindex"]) == index and not _asked("link", "show", "master", name):
        _unplug(name)


def _undo_address(address: str, name: str) -> None:
    _done(_program("ip"), "address", "del", address, "dev", name)


def _undo_rule(*rule: str) -> None:
    _done(*_rule("-D", *rule))


def _undo_forwarding(interface: str) -> None:
    """Unless somebody has had all forward since."""
    with suppress(OSError):
        if not _forwards("all"):
            _forward(interface, "0")


_UNDO: dict[str, Callable[..., None]] = {
    "link": _undo_link,
    "address": _undo_address,
    "rule": _undo_rule,
    "forwarding": _undo_forwarding,
}


def _forwards(interface: str) -> bool:
    with open(f"{_SETTINGS}/{interface}/forwarding", encoding="ascii") as file:
        return file.read().strip() == "1"


def _forward(interface: str, value: str) -> None:
    with open(f"{_SETTINGS}/{interface}/forwarding", "w", encoding="ascii") as file:
        file.write(value)


def _rule(what: str, table: str, chain: str, *rule: str) -> tuple[str, ...]:
    return _program("iptables"), "-w", _LOCK_WAIT, "-t", table, what, chain, *rule


def _links(name: str) -> list[dict[str, Any]]:
    """The interface, or none."""
    return _asked("-d", "link", "show", "dev", name, missing=True)


def _addresses(name: str) -> list[dict[str, Any]]:
    return [one for link in _asked("-4", "address", "show", "dev", name) for one in link.get("addr_info", [])]


def _asked(*arguments: str, missing: bool = False) -> list[dict[str, Any]]:
    """What ip(8) shows. missing: what is asked for may not be there."""
    command = (_program("ip"), "-j", *arguments)
    done = _called(command)
    if done.returncode:
        if missing:
            return []
        raise _failure(command, done)
    found: list[dict[str, Any]] = strictjson.loads(done.stdout.strip() or b"[]")
    return [row for row in found if row]  # some releases show an empty one for what a filter leaves out


def _unplug(name: str) -> None:
    """It may not be there."""
    _done(_program("ip"), "link", "del", name)


def _ip(*arguments: str, fd: int = -1) -> None:
    _run(_program("ip"), *arguments, fd=fd)


def _program(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    if not found:
        raise NetworkError(f"{name} is not installed")
    return found


def _run(*command: str, fd: int = -1) -> None:
    done = _called(command, fd)
    if done.returncode:
        raise _failure(command, done)


def _done(*command: str) -> int:
    """Its exit status."""
    return _called(command).returncode


def _called(command: tuple[str, ...], fd: int = -1) -> subprocess.CompletedProcess[bytes]:
    """fd: which it has as well, by the same number."""
    kept = () if fd < 0 else (fd,)
    try:
        return subprocess.run(
            command, capture_output=True, check=False, stdin=subprocess.DEVNULL, pass_fds=kept, timeout=_MOST_WAIT
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, b"", b"it has not ended within %d s" % _MOST_WAIT)


def _failure(command: tuple[str, ...], done: subprocess.CompletedProcess[bytes]) -> NetworkError:
    said = done.stderr.decode(errors="replace").strip() or f"status {done.returncode}"
    return NetworkError(f"{' '.join(command)}: {said}")
