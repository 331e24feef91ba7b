"""devices: an ordered list of rules (MUST 103) → version 1 writes, a version 2 eBPF program, or systemd's words.

What the rules mean, the same on both versions: of a request (device, some of read, write, mknod) each bit is decided by
the *last* rule that matches the device and names the bit; where there is none, it is denied. The request is granted
when all of its bits are. So `deny c 1:3 rwm, allow c 1:3 r, allow c 1:3 w` grants an open for reading and writing.
An empty list asks for nothing: no write, no program.
"""

from __future__ import annotations

from _struct import Struct
from errno import EPERM

from pyrun.cgroups.controller import POINTER as RESOURCES
from pyrun.cgroups.controller import Controller, Write
from pyrun.spec.faults import Fault, Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cgroups.controller import Wanted
    from pyrun.cgroups.properties import Property

    Rule = tuple[bool, str, int, int, int]
    """allow, type ("a", "b" or "c"), major, minor (-1: any), access (a sum of MKNOD, READ, WRITE)"""

POINTER = RESOURCES + "/devices"

MKNOD, READ, WRITE = 1, 2, 4  # BPF_DEVCG_ACC_* of linux/bpf.h
_ALL = MKNOD | READ | WRITE
_ACCESS = {"m": MKNOD, "r": READ, "w": WRITE}
_ANY = -1

# Appended to the rules of a container, as runc does: making any device node is harmless while it can't be opened, and
# these devices are in every container (config-linux.md, "Default Devices").
DEFAULT_RULES: tuple[Rule, ...] = (
    (True, "c", _ANY, _ANY, MKNOD),
    (True, "b", _ANY, _ANY, MKNOD),
    (True, "c", 1, 3, _ALL),  # null
    (True, "c", 1, 5, _ALL),  # zero
    (True, "c", 1, 7, _ALL),  # full
    (True, "c", 1, 8, _ALL),  # random
    (True, "c", 1, 9, _ALL),  # urandom
    (True, "c", 5, 0, _ALL),  # tty
    (True, "c", 5, 1, _ALL),  # console
    (True, "c", 5, 2, _ALL),  # ptmx
    (True, "c", 136, _ANY, _ALL),  # pts/*
)
_EVERYTHING_DENIED: Rule = (False, "a", _ANY, _ANY, _ALL)


class Devices(Controller):
    hints = {("devices.allow", EPERM): "the parent cgroup itself may not use this device"}

    def v1(self, wanted: Wanted) -> None:
        wanted.writes += v1_device_writes(wanted.resources.get("devices") or [], f"{wanted.pointer}/devices")


def parse(rules: list[dict[str, Any]]) -> list[Rule]:
    """The rules as tuples. Absent type, major, minor, access mean any."""
    return [
        (
            rule["allow"],
            rule.get("type") or "a",
            rule.get("major", _ANY),
            rule.get("minor", _ANY),
            sum(_ACCESS[letter] for letter in {*(rule.get("access") or "rwm")}),
        )
        for rule in rules
    ]


# Version 1 ------------------------------------------------------------------------------------------------------------


def v1_device_writes(rules: list[dict[str, Any]], pointer: str = POINTER) -> list[Write]:
    """The lines for devices.allow and devices.deny, DEFAULT_RULES after the rules.

    The kernel (security/device_cgroup.c) keeps a default and a list of exceptions. Two of its ways are corrected here:
    `a` with numbers or fewer letters is taken for everything, so it is written as `b` and `c`; and a rule that takes
    back an exception only does so for the very same numbers, so it is written once for each exception that it covers.
    Taking back a part of an exception with wildcards would silently do nothing: that raises Invalid.
    """
    parsed = parse(rules)
    if not parsed:
        return []
    writes = []
    allowed = False  # the kernel's default
    exceptions: dict[tuple[str, int, int], int] = {}
    if parsed[0][1:] != _EVERYTHING_DENIED[1:]:  # a new cgroup has its parent's exceptions
        parsed.insert(0, _EVERYTHING_DENIED)
        first = 1
    else:
        first = 0
    for i, (allow, kind, major, minor, access) in enumerate((*parsed, *DEFAULT_RULES)):
        where = f"{pointer}/{i - first}" if first <= i < len(parsed) else pointer
        file = "devices.allow" if allow else "devices.deny"
        if (kind, major, minor, access) == _EVERYTHING_DENIED[1:]:
            allowed = allow
            exceptions.clear()
            writes.append(Write(where, "devices", file, "a *:* rwm"))
            continue
        for device in ("b", "c") if kind == "a" else (kind,):
            key = (device, major, minor)
            if allow != allowed:
                exceptions[key] = exceptions.get(key, 0) | access
                writes.append(Write(where, "devices", file, _line(key, access)))
                continue
            for other, bits in list(exceptions.items()):
                if not bits & access or not _overlap(key, other):
                    continue
                if not _covers(key, other):
                    verb = "allow" if allow else "deny"
                    text = f"version 1 can't {verb} {_line(key, access)} out of the earlier {_line(other, bits)}"
                    raise Invalid([Fault(where, text, "MUST 103", "list the devices one by one in the earlier rule")])
                exceptions[other] = bits & ~access
                writes.append(Write(where, "devices", file, _line(other, access)))
    return writes


def _line(key: tuple[str, int, int], access: int) -> str:
    kind, major, minor = key
    return f"{kind} {'*' if major == _ANY else major}:{'*' if minor == _ANY else minor} {_letters(access)}"


def _letters(access: int) -> str:
    return "".join(letter for letter in "rwm" if _ACCESS[letter] & access)


def _overlap(a: tuple[str, int, int], b: tuple[str, int, int]) -> bool:
    return a[0] == b[0] and all(x == y or _ANY in (x, y) for x, y in zip(a[1:], b[1:], strict=True))


def _covers(a: tuple[str, int, int], b: tuple[str, int, int]) -> bool:
    return a[0] == b[0] and all(x in (y, _ANY) for x, y in zip(a[1:], b[1:], strict=True))


# Version 2 ------------------------------------------------------------------------------------------------------------

# struct bpf_insn: u8 opcode, u8 destination | source << 4, s16 offset, u32 immediate (linux/bpf.h, RFC 9669).
_INSTRUCTION = Struct("=BBhI").pack
_LOAD_WORD, _AND, _RIGHT, _MOVE, _JUMP, _EXIT = 0x61, 0x54, 0x74, 0xB4, 0x05, 0x95  # ALU and jumps are 32 bits wide
_IF_SET, _IF_NOT_EQUAL = 0x46, 0x56
_R0, _TYPE, _BITS, _MAJOR, _MINOR = 0, 2, 3, 4, 5  # registers; 1 is the context
_TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*

_HEAD = b"".join(
    (  # struct bpf_cgroup_dev_ctx: u32 access_type (access << 16 | type), major, minor
        _INSTRUCTION(_LOAD_WORD, _TYPE | 1 << 4, 0, 0),
        _INSTRUCTION(_LOAD_WORD, _BITS | 1 << 4, 0, 0),
        _INSTRUCTION(_AND, _TYPE, 0, 0xFFFF),
        _INSTRUCTION(_RIGHT, _BITS, 0, 16),
        _INSTRUCTION(_LOAD_WORD, _MAJOR | 1 << 4, 4, 0),
        _INSTRUCTION(_LOAD_WORD, _MINOR | 1 << 4, 8, 0),
    )
)
_ANSWER = tuple(_INSTRUCTION(_MOVE, _R0, 0, answer) + _INSTRUCTION(_EXIT, 0, 0, 0) for answer in (0, 1))


def v2_device_program(rules: list[dict[str, Any]]) -> bytes:
    """A BPF_PROG_TYPE_CGROUP_DEVICE program for the rules and DEFAULT_RULES after them; b"" for no rules.

    It goes through the rules from the last to the first with the bits still undecided in a register: a deny rule that
    names one of them ends in "denied", an allow rule takes its bits out, and when none is left the answer is "allowed".
    """
    parsed = parse(rules)
    return _program((*parsed, *DEFAULT_RULES)) if parsed else b""


def _program(rules: tuple[Rule, ...]) -> bytes:
    code = [_HEAD]
    for allow, kind, major, minor, access in reversed(rules):
        if access == _ALL:
            body = _ANSWER[allow]
        elif allow:
            body = _INSTRUCTION(_AND, _BITS, 0, _ALL & ~access) + _INSTRUCTION(_IF_NOT_EQUAL, _BITS, 2, 0) + _ANSWER[1]
        else:
            body = _INSTRUCTION(_IF_SET, _BITS, 1, access) + _INSTRUCTION(_JUMP, 0, 2, 0) + _ANSWER[0]
        conditions = [
            (register, value)
            for register, value in ((_TYPE, _TYPES.get(kind, _ANY)), (_MAJOR, major), (_MINOR, minor))
            if value != _ANY
        ]
        skip = len(conditions) + len(body) // 8
        for n, (register, value) in enumerate(conditions, 1):
            code.append(_INSTRUCTION(_IF_NOT_EQUAL, register, skip - n, value))
        code.append(body)
        if access == _ALL and not conditions:  # decides everything; the verifier refuses code that is never reached
            return b"".join(code)
    code.append(_ANSWER[0])
    return b"".join(code)


# systemd --------------------------------------------------------------------------------------------------------------


def device_properties(rules: list[dict[str, Any]], drivers: str) -> list[Property]:
    """DevicePolicy and DeviceAllow, which allow all that the rules allow; drivers: the text of /proc/devices.

    On version 2 systemd's program and pyrun's own are both asked, so that more than the rules allow is no hole here; on
    version 1 it is what remains of them after a daemon-reload. systemd knows a whole driver by its name only: where
    the rules can't be said it is told to leave devices alone."""
    from pyrun.cgroups.properties import Property  # lazy: only for systemd's driver

    parsed = parse(rules)
    if not parsed:
        return []
    allowed: list[tuple[str, int, int, int]] = []
    for allow, kind, major, minor, access in (*parsed, *DEFAULT_RULES):
        if allow:
            allowed += [(k, major, minor, access) for k in (("b", "c") if kind == "a" else (kind,))]
        elif (kind, major, minor, access) == _EVERYTHING_DENIED[1:]:
            allowed.clear()
    names = _drivers(drivers)
    lines: dict[str, int] = {}  # systemd takes the last of two entries for one device
    for kind, major, minor, access in allowed:
        line = _said(kind, major, minor, names)
        if not line:
            return [Property(POINTER, "DevicePolicy", "s", "auto")]
        lines[line] = lines.get(line, 0) | access
    said = [(line, _letters(bits)) for line, bits in lines.items()]
    return [Property(POINTER, "DevicePolicy", "s", "strict"), Property(POINTER, "DeviceAllow", "a(ss)", said)]


def _said(kind: str, major: int, minor: int, names: dict[tuple[str, int], str]) -> str:
    """As DeviceAllow= names a device, or all of a driver's; "" for what it can't say."""
    group = {"b": "block", "c": "char"}[kind]
    if major >= 0 and minor >= 0:
        return f"/dev/{group}/{major}:{minor}"
    if major < 0:
        return f"{group}-*" if minor < 0 else ""
    name = names.get((kind, major), "")
    return f"{group}-{name}" if name else ""


def _drivers(text: str) -> dict[tuple[str, int], str]:
    """(b or c, major) → name (proc(5), /proc/devices)."""
    found = {}
    kind = ""
    for line in text.splitlines():
        if line.endswith("devices:"):
            kind = line[0].lower()
        elif kind and line.strip():
            major, _, name = line.strip().partition(" ")
            found[kind, int(major)] = name
    return found


CONTROLLER = Devices()
