"""Names of linux.seccomp, and the kernel's and libseccomp's numbers for them (linux/seccomp.h, seccomp.h)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import Seccomp

# What a filter returns, without the number that some of them carry (seccomp(2)).
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
# Those which carry one, of errnoRet.
WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
# Those with which the call is not made, whoever looks on.
DENYING = ("SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO")

# Those of them after which a program is at its end.
KILLING = DENYING[:4]

# Flags of seccomp(2), SECCOMP_SET_MODE_FILTER.
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0x01,
    "SECCOMP_FILTER_FLAG_LOG": 0x02,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 0x04,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 0x20,
}

# enum scmp_compare
OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}


def killing(profile: Seccomp | None, call: str) -> str:
    """What of the profile ends a program that makes the call, as a JSON pointer; "": nothing does."""
    if profile is None:
        return ""
    for i, rule in enumerate(profile.get("syscalls", ())):
        if call in rule["names"] and rule["action"] in KILLING:
            return f"/linux/seccomp/syscalls/{i}/names/{rule['names'].index(call)}"
    return "/linux/seccomp/defaultAction" if profile["defaultAction"] in KILLING else ""


def denial_of_execve(profile: Seccomp | None) -> str:
    """What of the profile denies execve, by which init becomes the program, as a JSON pointer; "": nothing does. A rule
    that looks at operands may let it through."""
    if profile is None:
        return ""
    rules = [(i, rule) for i, rule in enumerate(profile.get("syscalls", ())) if "execve" in rule["names"]]
    if any(rule["action"] not in DENYING for _, rule in rules):
        return ""
    for i, rule in rules:
        if not rule.get("args"):
            return f"/linux/seccomp/syscalls/{i}/names/{rule['names'].index('execve')}"
    return "/linux/seccomp/defaultAction" if profile["defaultAction"] in DENYING else ""
