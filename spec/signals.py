"""Signals and their numbers on x86 and arm (signal(7)), and how a command line may name them."""

from __future__ import annotations

from pyrun.spec.faults import Fault, Invalid, show

SIGNALS = {
    "HUP": 1,
    "INT": 2,
    "QUIT": 3,
    "ILL": 4,
    "TRAP": 5,
    "ABRT": 6,
    "IOT": 6,
    "BUS": 7,
    "FPE": 8,
    "KILL": 9,
    "USR1": 10,
    "SEGV": 11,
    "USR2": 12,
    "PIPE": 13,
    "ALRM": 14,
    "TERM": 15,
    "STKFLT": 16,
    "CHLD": 17,
    "CLD": 17,
    "CONT": 18,
    "STOP": 19,
    "TSTP": 20,
    "TTIN": 21,
    "TTOU": 22,
    "URG": 23,
    "XCPU": 24,
    "XFSZ": 25,
    "VTALRM": 26,
    "PROF": 27,
    "WINCH": 28,
    "IO": 29,
    "POLL": 29,
    "PWR": 30,
    "SYS": 31,
}

# The first two real-time signals of the kernel, 32 and 33, are the C library's: for programs RTMIN is 34.
RTMIN = 34
RTMAX = 64


def parse(text: str) -> int:
    """The number of a signal given as "9", "KILL" or "SIGKILL", in any case, or "RTMIN+3" or "RTMAX-2".

    Raises Invalid when there is no such signal.
    """
    if text.isascii() and text.isdigit():
        # More than any signal needs, and int() is slow on long ones.
        number = int(text) if len(text) < 10 else 0
    else:
        name = text.upper().removeprefix("SIG")
        number = SIGNALS.get(name) or _realtime(name)
    if not 1 <= number <= RTMAX:
        hint = "a number from 1 to 64 or a name such as SIGTERM"
        raise Invalid([Fault("", f"unknown signal {show(text)}", hint=hint)])
    return number


def name(number: int) -> str:
    """The name of a signal, such as "SIGKILL" or "SIGRTMIN+3"."""
    for known, its_number in SIGNALS.items():
        if its_number == number:
            return f"SIG{known}"
    if number >= RTMIN:
        return f"SIGRTMIN+{number - RTMIN}" if number > RTMIN else "SIGRTMIN"
    return f"signal {number}"


def _realtime(name: str) -> int:
    if name in ("RTMIN", "RTMAX"):
        return RTMIN if name == "RTMIN" else RTMAX
    digits = name[6:]
    if not (digits.isascii() and digits.isdigit() and len(digits) < 3):
        return 0
    if name.startswith("RTMIN+"):
        number = RTMIN + int(digits)
    elif name.startswith("RTMAX-"):
        number = RTMAX - int(digits)
    else:
        return 0
    return number if RTMIN <= number <= RTMAX else 0
