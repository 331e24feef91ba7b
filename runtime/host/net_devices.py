"""linux.netDevices: interfaces of the host's move into the container's network namespace (config-linux.md "Network
Devices", MUST 90 to 95).

An interface travels under a name that nobody else has, so that it is known again on the other side whoever else makes
interfaces there. When create fails it comes back as it was.
"""

from __future__ import annotations

import ctypes
import posix
from errno import ENODEV

from pyrun.errors import Error
from pyrun.host.netlink import Netlink
from pyrun.spec.faults import escape
from pyrun.spec.namespaces import CLONE_NEWNET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.host.netlink import Address, Link
    from pyrun.log import Log
    from pyrun.spec.config import NetDevice


class NetDevices:
    """The interfaces of one container; move() them once, bring_back() when that or more fails, close() in the end."""

    __slots__ = ("_host", "_inside", "_moved", "_namespace", "_own")

    def __init__(self, pid: int) -> None:
        """pid: of init, in whose network namespace they go. Raises Error."""
        self._moved: list[_Moved] = []
        try:
            self._own = posix.open("/proc/self/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
            self._namespace = posix.open(f"/proc/{pid}/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
            self._host = Netlink()
            self._inside = _within(self._namespace, self._own)
        except OSError as e:
            raise Error("reach the network namespace", pointer="/linux/netDevices", errno=e.errno) from None

    def move(self, devices: dict[str, NetDevice]) -> None:
        """Raises Error at the first that can't be moved; it is where it was, those before it are inside."""
        for name, device in devices.items():
            pointer = f"/linux/netDevices/{escape(name)}"
            target = device.get("name") or name
            try:
                link = self._host.link(name)
            except OSError as e:
                hint = "no such interface in the runtime's network namespace" if e.errno == ENODEV else ""
                raise Error(f"move {name}", pointer=pointer, errno=e.errno, hint=hint) from None
            if link.loopback:
                raise Error(f"move {name}", pointer=pointer, detail="a loopback interface stays in its namespace")
            if "%" not in target and self._taken(target):
                words = f"the container has an interface {target} already"
                raise Error(f"move {name}", pointer=pointer, detail=words, hint="choose another name, or one with %d")
            self._move(name, target, link, pointer)

    def _taken(self, name: str) -> bool:
        try:
            self._inside.link(name)
        except OSError:
            return False
        return True

    def _move(self, name: str, target: str, link: Link, pointer: str) -> None:
        moved = _Moved(name, link, self._host.addresses(link.index))
        self._moved.append(moved)
        tried = "set it down"
        try:
            self._host.set(link.index, up=False)
            tried = f"rename it to {moved.travels}"
            self._host.rename(link.index, moved.travels)
            moved.renamed = True
            tried = "change its network namespace"
            self._host.move(link.index, self._namespace)
            moved.away = True
            moved.index = self._inside.link(moved.travels).index
            tried = f"rename it to {target}"
            self._inside.rename(moved.index, target)
            for address in moved.addresses:
                tried = f"add address {_text(address)}"
                self._inside.add_address(moved.index, address)
            tried = "set it up"
            self._inside.set(moved.index, up=True)
        except OSError as e:
            words = e.strerror or ""
            raise Error(f"move {name}", pointer=pointer, call=tried, errno=e.errno, detail=words) from None

    def bring_back(self, log: Log) -> None:
        """All of them, as they were; what stands in the way is a warning."""
        for moved in reversed(self._moved):
            try:
                if moved.away:
                    self._inside.set(moved.index, up=False)
                    self._inside.rename(moved.index, moved.travels)
                    self._inside.move(moved.index, self._own)
                index = self._host.link(moved.travels if moved.renamed else moved.name).index
                self._host.rename(index, moved.name)
                self._host.set(index, up=moved.link.up)
                for address in moved.addresses:
                    try:
                        self._host.add_address(index, address)
                    except FileExistsError:  # it has not lost this one
                        continue
            except OSError as e:
                log.warning(f"interface {moved.name} ({moved.travels}) is not as it was: {e}")

    def close(self) -> None:
        """Close the sockets and namespaces."""
        self._moved = []
        self._host.close()
        self._inside.close()
        posix.close(self._own)
        posix.close(self._namespace)


class _Moved:
    """An interface on its way. link: as it was; renamed: it has the other name; away: it is inside, as `index`."""

    __slots__ = ("addresses", "away", "index", "link", "name", "renamed", "travels")

    def __init__(self, name: str, link: Link, addresses: list[Address]) -> None:
        self.name = name
        self.link = link
        self.addresses = addresses
        self.travels = f"pyrun-{posix.urandom(4).hex()}"  # 14 of 15 bytes
        self.index = 0
        self.renamed = False
        self.away = False


def _within(namespace: int, own: int) -> Netlink:
    """A socket in another network namespace. It is made by this process, and so has its rights, whoever owns that."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(fd: int) -> None:
        if libc.setns(fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")

    enter(namespace)
    try:
        return Netlink()
    finally:
        enter(own)


def _text(address: Address) -> str:
    raw = next(iter(address.attributes.values()))
    words = [f"{raw[i] << 8 | raw[i + 1]:x}" for i in range(0, len(raw) - 1, 2)]
    return f"{'.'.join(map(str, raw)) if len(raw) == 4 else ':'.join(words)}/{address.prefix}"
