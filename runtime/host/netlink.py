"""As much of rtnetlink(7) as it takes to move a network interface, over a socket of one network namespace.

Own code, and little of it: a library for all of netlink takes longer to load than a container to start."""

from __future__ import annotations

import posix
from _socket import AF_NETLINK, NETLINK_ROUTE, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET, socket
from _struct import Struct
from errno import ENODEV

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# linux/netlink.h
_HEADER = Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = Struct("=HH")  # nlattr: length, type
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP, _NLM_F_CREATE, _NLM_F_EXCL = 0x1, 0x4, 0x300, 0x400, 0x200
_NLM_F_CAPPED = 0x100
_SOL_NETLINK, _NETLINK_EXT_ACK, _NLMSGERR_ATTR_MSG = 270, 11, 1

# linux/rtnetlink.h, if_link.h, if_addr.h
_RTM_NEWLINK, _RTM_GETLINK, _RTM_NEWADDR, _RTM_GETADDR = 16, 18, 20, 22
_IFINFO = Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_IFADDR = Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
IFLA_IFNAME, IFLA_NET_NS_FD = 3, 28
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_IFA_F_PERMANENT = 0x80
# What an address can be given, and is not of the kernel's own making: NODAD, MANAGETEMPADDR, NOPREFIXROUTE.
_IFA_F_GIVEN = 0x02 | 0x100 | 0x200
_RT_SCOPE_UNIVERSE = 0
_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8

_ROOM = 1 << 18
_SO_RCVTIMEO = 20


class Link:
    """A network interface: its index in the namespace of the socket that was asked, and flags."""

    __slots__ = ("index", "loopback", "up")

    def __init__(self, index: int, flags: int) -> None:
        self.index = index
        self.up = bool(flags & _IFF_UP)
        self.loopback = bool(flags & _IFF_LOOPBACK)


class Address:
    """A global permanent address; `attributes` as the kernel wants them."""

    __slots__ = ("attributes", "family", "prefix")

    def __init__(self, family: int, prefix: int, attributes: dict[int, bytes]) -> None:
        self.family = family
        self.prefix = prefix
        self.attributes = attributes


class Netlink:
    """A socket in the network namespace that the caller is in. Methods raise OSError, with the kernel's own words."""

    __slots__ = ("_sequence", "_socket")

    def __init__(self) -> None:
        self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(SOL_SOCKET, _SO_RCVTIMEO, Struct("@ll").pack(10, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def link(self, name: str) -> Link:
        """The interface of this name (RTM_GETLINK). Raises OSError."""
        body = _IFINFO.pack(0, 0, 0, 0, 0) + _attributes({IFLA_IFNAME: name.encode() + b"\0"})
        for kind, content in self._ask(_RTM_GETLINK, 0, body):
            if kind == _RTM_NEWLINK:
                _, _, index, flags, _ = _IFINFO.unpack_from(content)
                return Link(index, flags)
        raise OSError(ENODEV, posix.strerror(ENODEV))

    def set(self, index: int, up: bool | None = None, attributes: Mapping[int, bytes] | None = None) -> None:
        """Change the interface: put it up or down, and what the attributes (IFLA_...) say."""
        flags, change = (_IFF_UP if up else 0), (0 if up is None else _IFF_UP)
        self._ask(_RTM_NEWLINK, 0, _IFINFO.pack(0, 0, index, flags, change) + _attributes(attributes or {}))

    def rename(self, index: int, name: str) -> None:
        """`name` may hold a %d, for the kernel to fill in."""
        self.set(index, attributes={IFLA_IFNAME: name.encode() + b"\0"})

    def move(self, index: int, namespace: int) -> None:
        """Into the network namespace of which `namespace` is a descriptor."""
        self.set(index, attributes={IFLA_NET_NS_FD: namespace.to_bytes(4, "little")})

    def addresses(self, index: int) -> list[Address]:
        """The addresses of the interface (RTM_GETADDR) that last. Raises OSError."""
        found = []
        for kind, content in self._ask(_RTM_GETADDR, _NLM_F_DUMP, _IFADDR.pack(0, 0, 0, 0, 0)):
            if kind != _RTM_NEWADDR:
                continue
            family, prefix, flags, scope, owner = _IFADDR.unpack_from(content)
            attributes = _parse(content[_IFADDR.size :])
            if _IFA_FLAGS in attributes:
                flags = int.from_bytes(attributes[_IFA_FLAGS], "little")
            if owner == index and scope == _RT_SCOPE_UNIVERSE and flags & _IFA_F_PERMANENT:
                kept = {k: v for k, v in attributes.items() if k in (_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST)}
                kept[_IFA_FLAGS] = (flags & _IFA_F_GIVEN).to_bytes(4, "little")
                found.append(Address(family, prefix, kept))
        return found

    def add_address(self, index: int, address: Address) -> None:
        """RTM_NEWADDR. Raises OSError."""
        head = _IFADDR.pack(address.family, address.prefix, 0, _RT_SCOPE_UNIVERSE, index)
        self._ask(_RTM_NEWADDR, _NLM_F_CREATE | _NLM_F_EXCL, head + _attributes(address.attributes))

    def _ask(self, kind: int, flags: int, body: bytes) -> list[tuple[int, bytes]]:
        self._sequence += 1
        flags |= _NLM_F_REQUEST | _NLM_F_ACK
        head = _HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0)
        self._socket.sendto(head + body, (0, 0))
        answers: list[tuple[int, bytes]] = []
        while True:
            raw, sender = self._socket.recvfrom(_ROOM)
            if sender[0]:
                continue  # not the kernel: anybody may write to a netlink socket
            while raw:
                length, kind, flags, sequence, _ = _HEADER.unpack_from(raw)
                content, raw = raw[_HEADER.size : length], raw[(length + 3) & ~3 :]
                if sequence != self._sequence:
                    continue
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    _check(content, flags)
                    return answers
                answers.append((kind, content))


def _check(content: bytes, flags: int) -> None:
    """Raises the error of an acknowledgement."""
    error = -int.from_bytes(content[:4], "little", signed=True)
    if error <= 0:
        return
    # After the error comes the request, whole or only its head, and then what the kernel has to say.
    asked = content[4:]
    length = _HEADER.size if flags & _NLM_F_CAPPED else int.from_bytes(asked[:4], "little")
    words = _parse(asked[(length + 3) & ~3 :]).get(_NLMSGERR_ATTR_MSG, b"").rstrip(b"\0")
    raise OSError(error, words.decode(errors="replace"))


def _attributes(values: Mapping[int, bytes]) -> bytes:
    parts = []
    for kind, value in values.items():
        size = _ATTRIBUTE.size + len(value)
        parts.append(_ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4))
    return b"".join(parts)


def _parse(raw: bytes) -> dict[int, bytes]:
    found = {}
    while len(raw) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(raw)
        if size < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = raw[_ATTRIBUTE.size : size]
        raw = raw[(size + 3) & ~3 :]
    return found
