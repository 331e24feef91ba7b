"""The rules hold of every program; and each rule notices when what it is about is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from examples import many
from hypothesis import given
from hypothesis import strategies as st
from test_check_is_enough import MOUNT, sound
from test_plan import V1, V2, Edit, gathered, mount, namespace, user_namespace

from pyrun.kernel import constants as linux
from pyrun.machine.program import MOVE, PASS, SYSCALL, Instruction, Program, Register
from pyrun.plan.create import compile_container
from pyrun.prove.programs import of_container
from pyrun.prove.prove import Proof, prove
from pyrun.prove.rules import RULES, Asked
from pyrun.spec import checks

FILTER = {"seccomp": b"\x06\0\0\0\0\0\xff\x7f"}


def programs(*edits: Edit, **facts: Any) -> Iterator[tuple[str, Program, Asked]]:
    config, found = gathered(*edits, **facts)
    return of_container(config, found, compile_container(config, found))


def member(*path: str, **values: Any) -> Edit:
    """Sets values of an object of the config."""

    def edit(c: dict[str, Any]) -> None:
        for name in path:
            c = c.setdefault(name, {})
        c.update(values)

    return edit


PROFILE = member("linux", seccomp={"defaultAction": "SCMP_ACT_ALLOW"})
HOOK = {"path": "/bin/true", "args": ["true"]}
EDITS: dict[str, Edit] = {
    "user namespace": user_namespace,
    "joined pid": namespace("pid", "/proc/1/ns/pid"),
    "joined net": namespace("network", "/proc/1/ns/net"),
    "joined user": namespace("user", "/proc/1/ns/user"),
    "joined mount": namespace("mount", "/proc/1/ns/mnt"),
    "cgroup namespace": namespace("cgroup"),
    "terminal": member("process", terminal=True),
    "another user": member("process", "user", uid=1000, gid=1000, additionalGids=[5]),
    "no new privileges": member("process", noNewPrivileges=True),
    "privileges": member("process", noNewPrivileges=False),
    "no capabilities": member("process", capabilities={}),
    "rlimits": member("process", rlimits=[{"type": "RLIMIT_NPROC", "soft": 9, "hard": 9}]),
    "scheduler": member("process", scheduler={"policy": "SCHED_OTHER", "nice": 3}),
    "HOME": member("process", env=["PATH=/bin:/usr/bin"]),
    "a path": member("process", args=["/bin/sh"]),
    "a sysctl": member("linux", sysctl={"net.ipv4.ip_forward": "1"}),
    "a fifo": member("linux", devices=[{"path": "/dev/a/b", "type": "p"}]),
    "a device": member("linux", devices=[{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "uid": 5}]),
    "propagation": member("linux", rootfsPropagation="rshared"),
    "writable": member("root", readonly=False),
    "bind": mount("/a/b", "none", "rbind", "ro", source="/src"),
    "bind in /proc": mount("/proc/cpuinfo", "none", "bind", source="/src"),
    "tmpfs": mount("/t", "tmpfs", "tmpfs", "size=1m"),
    "copyup": mount("/u", "tmpfs", "tmpcopyup"),
    "no masks": member("linux", maskedPaths=[], readonlyPaths=[]),
    "hooks": member("hooks", createRuntime=[HOOK], createContainer=[HOOK], startContainer=[HOOK], poststop=[HOOK]),
    "profile": PROFILE,
}
FACTS: dict[str, dict[str, Any]] = {
    "v1": {"cgroup_v2": False, "cgroups": V1, "v1_cgroups": ["/sys/fs/cgroup/cpu/c"]},
    "v2": {"cgroups": V2, "unified_cgroup": "/sys/fs/cgroup/box", "device_filter": bytes(8)},
    "systemd": {"cgroups": V2, "unified_cgroup": "/sys/fs/cgroup/box", "held": True},
    "rootless": {"privileged": False, "cgroups_optional": True},
    "nested": {"nested": True},
    "filter": FILTER,
    "listener": {**FILTER, "seccomp_flags": linux.SECCOMP_FILTER_FLAG_NEW_LISTENER},
    "no pivot": {"pivot": False},
    "no keyring": {"keyring": False},
    "preserve": {"preserve": 2},
    "an older kernel": {"procfs_takes_namespace": False},
}


def violations(*edits: Edit, **facts: Any) -> list[str]:
    return [
        f"{name}: {found.rule.name}: {found.problem}: {found.step} {found.pointer}"
        for name, program, asked in programs(*edits, **facts)
        for found in prove(program, asked).violations
    ]


@pytest.mark.parametrize(
    ("edit", "fact"),
    [*((edit, fact) for edit in ["", *EDITS] for fact in ("filter", "rootless")), *(("", fact) for fact in FACTS)],
)
def test_every_rule_holds(edit: str, fact: str) -> None:
    assert not violations(*([EDITS[edit]] if edit else []), **FACTS.get(fact, {}))


CHOSEN = st.tuples(
    st.sets(st.sampled_from(sorted(EDITS)), max_size=6),
    st.sets(st.sampled_from(sorted(FACTS)), max_size=3),
    st.lists(MOUNT, max_size=3),
)


@pytest.mark.slow
@given(CHOSEN)
@many(2000)
def test_every_rule_holds_of_any_config(chosen: tuple[set[str], set[str], Any]) -> None:
    names, facts, mounts = chosen

    def add(c: dict[str, Any]) -> None:
        whole = sound({**c, "mounts": [*c["mounts"], *mounts]}, checks.config_faults)
        c.clear()
        c.update(whole)

    found: dict[str, Any] = {}
    for name in sorted(facts):
        found |= FACTS[name]
    if names >= {"joined pid"} and "an older kernel" in facts:
        return  # the one that is known: below
    assert not violations(*(EDITS[name] for name in sorted(names)), add, **found)


def test_before_linux_6_17_who_joins_a_pid_namespace_is_seen() -> None:
    """decisions/05: a procfs can't be mounted for a namespace that one isn't in."""
    found = violations(EDITS["joined pid"], **FACTS["an older kernel"])
    assert found and all(line.startswith("create: visible: ") for line in found)


def raised(number: int) -> Callable[[Instruction], None]:
    def change(i: Instruction) -> None:
        i.operands = (linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_RAISE, number, 0, 0)

    return change


# --- undone

Change = Callable[[Instruction], None]


def nothing(i: Instruction) -> None:
    """As if it were not there."""
    i.op, i.name, i.operands, i.destination, i.rules = MOVE, 0, (0,), Register(199), None


def without_password(i: Instruction) -> None:
    i.operands = tuple(0 if operand is PASS else operand for operand in i.operands)


def unresolved(i: Instruction) -> None:
    how = i.operands[2]
    assert isinstance(how, bytes)
    i.operands = (*i.operands[:2], how[:16] + bytes(8), *i.operands[3:])


def by_path(i: Instruction) -> None:
    i.operands = (linux.AT_FDCWD, *i.operands[1:])


def call(name: str, *operands: object, pointer: str = "") -> Callable[[Instruction], bool]:
    """Whether it is this system call, with these operands first (None: any), asked for there."""

    def is_it(i: Instruction) -> bool:
        same = all(wanted is None or wanted == given for wanted, given in zip(operands, i.operands, strict=False))
        return i.op == SYSCALL and i.name == name and same and pointer in i.pointer

    return is_it


ANY: dict[str, Any] = {}
UNDONE: list[tuple[str, str, list[Edit], dict[str, Any], Callable[[Instruction], bool], Change]] = [
    ("filter", "create", [PROFILE], FILTER, call("seccomp"), nothing),
    ("filter", "exec", [PROFILE], FILTER, call("seccomp"), nothing),
    ("password", "create", [PROFILE], FILTER, call("readv"), without_password),
    ("password", "exec", [PROFILE], FILTER, call("clone"), without_password),
    ("capabilities", "create", [], ANY, call("capset"), nothing),
    ("capabilities", "exec", [], ANY, call("prctl", linux.PR_CAPBSET_DROP, 21), nothing),
    ("capabilities", "create", [], ANY, call("prctl", linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_CLEAR_ALL), nothing),
    ("ambient", "create", [], ANY, call("prctl", linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_CLEAR_ALL), raised(21)),
    ("user", "create", [EDITS["another user"]], ANY, call("setresuid", pointer="/process/user"), nothing),
    ("user", "exec", [EDITS["another user"]], ANY, call("setresgid", pointer="/process/user"), nothing),
    ("privileges", "create", [], ANY, call("prctl", linux.PR_SET_NO_NEW_PRIVS), nothing),
    ("root", "create", [], ANY, call("chroot"), nothing),
    ("root", "create", [], ANY, call("getcwd"), nothing),
    ("root", "exec", [], ANY, call("getcwd"), nothing),
    ("descriptors", "create", [], ANY, call("close_range", None, 0xFFFFFFFF, linux.CLOSE_RANGE_CLOEXEC), nothing),
    ("descriptors", "exec", [], ANY, call("close_range"), nothing),
    ("visible", "exec", [], ANY, call("close_range"), nothing),
    ("visible", "exec", [], ANY, call("capset"), nothing),
    ("visible", "exec", [PROFILE], FILTER, call("seccomp"), nothing),
    ("visible", "create", [EDITS["joined pid"]], ANY, call("close_range"), nothing),
    ("visible", "/hooks/startContainer/0", [EDITS["hooks"]], ANY, call("close_range"), nothing),
    ("dumpable", "create", [], ANY, call("prctl", linux.PR_SET_DUMPABLE, 0), nothing),
    ("dumpable", "exec", [], ANY, call("prctl", linux.PR_SET_DUMPABLE, 0, pointer="/process/user"), nothing),
    ("resolution", "create", [], ANY, call("openat2"), unresolved),
    ("made", "create", [], ANY, call("mkdirat"), by_path),
    ("made", "create", [], ANY, call("mknodat"), by_path),
    ("mount point", "create", [], ANY, call("openat2"), unresolved),
    ("mount point", "create", [], ANY, call("fstatfs"), nothing),
    ("mount point", "create", [], ANY, call("statx"), nothing),
    ("written", "create", [EDITS["a sysctl"]], ANY, call("openat2", pointer="sysctl"), unresolved),
    ("null", "create", [], ANY, call("statx"), nothing),
    ("terminal", "create", [EDITS["terminal"]], ANY, call("fstatfs"), nothing),
    ("terminal", "create", [EDITS["terminal"]], ANY, call("statx"), nothing),
]


@pytest.mark.parametrize(
    ("rule", "which", "edits", "facts", "chosen", "change"),
    UNDONE,
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_undone_is_noticed(
    rule: str,
    which: str,
    edits: list[Edit],
    facts: dict[str, Any],
    chosen: Callable[[Instruction], bool],
    change: Change,
) -> None:
    [(program, asked)] = [(p, a) for name, p, a in programs(*edits, **facts) if name == which]
    assert not prove(program, asked).violations
    hit = [i for i in program.instructions if chosen(i)]
    assert hit
    for instruction in hit:
        change(instruction)
    proof: Proof = prove(program, asked)
    found = [violation for violation in proof.violations if violation.rule.name == rule]
    assert found, sorted({violation.rule.name for violation in proof.violations})
    assert all(violation.path and violation.problem and violation.step for violation in found)


def test_every_rule_can_be_broken() -> None:
    assert {row[0] for row in UNDONE} == {rule.name for rule in RULES}
