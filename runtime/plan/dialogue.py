"""Which exchanges of machine/messages.py a program and the runtime have, in their order.

The program's half is what the other modules here compile, the runtime's is container/session.py. Who adds an exchange
adds it here: a test compares these lists with what the compiled programs say.
"""

from __future__ import annotations

from pyrun.machine.messages import (
    BORN,
    CLOCKS,
    CONSOLE,
    COPY_FROM,
    COPY_UP,
    FILTER,
    GO,
    HOME,
    INIT,
    INTERMEDIATE,
    LIMITS,
    LISTENER,
    MADE,
    MAPS,
    PLACED,
    READY,
    ROOT,
    RUNTIME_HOOKS,
    Message,
)
from pyrun.plan import limits
from pyrun.plan.namespaces import Clocks, Namespaces, is_born_last
from pyrun.plan.process import asks_home
from pyrun.plan.seccomp import notifies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from pyrun.plan.facts import Facts
    from pyrun.spec.config import Config, Process

    RuntimeHook: TypeAlias = Literal["prestart", "createRuntime", "createContainer"]

# Hooks that run before pivot_root, while the runtime's own mounts can still be reached.
RUNTIME_HOOK_KINDS: tuple[RuntimeHook, ...] = (
    "prestart",
    "createRuntime",
    "createContainer",
)


def of_container(config: Config, facts: Facts) -> list[Message]:
    """The dialogue of plan/create.py."""
    namespaces = Namespaces(config)
    born_last = is_born_last(config, facts)
    intermediate = namespaces.has_userns or born_last
    process = config.get("process")
    hooks = config.get("hooks", {})
    rows = [
        (facts.held, PLACED),
        (bool(facts.device_filter) and facts.cgroup_stays, FILTER),
        (intermediate, INTERMEDIATE),
        (namespaces.has_userns and "user" not in namespaces.paths, MAPS),
        (namespaces.has_userns and bool(Clocks(config).offsets), CLOCKS),
        (namespaces.has_userns and born_last, MADE),
        (not intermediate, INIT),
        (intermediate and not born_last, BORN),
        (intermediate and not born_last, GO),
        (not namespaces.own("mount"), ROOT),
    ]
    for mount in config.get("mounts", []):
        copies = "tmpcopyup" in mount.get("options", ())
        rows += [(copies, COPY_FROM), (copies, COPY_UP)]
    rows.append((any(hooks.get(kind) for kind in RUNTIME_HOOK_KINDS), RUNTIME_HOOKS))
    return [
        *(message for happens, message in rows if happens),
        *_towards_execve(process, facts, has_userns=namespaces.has_userns, born_last=born_last, asks=bool(process)),
    ]


def of_newcomer(process: Process | None, facts: Facts, *, has_userns: bool, hook: bool = False) -> list[Message]:
    """The dialogue of plan/exec.py, and with `hook` of plan/hook.py: one more process, born last."""
    start = [PLACED, INTERMEDIATE] if facts.held else [INTERMEDIATE]
    return [*start, *_towards_execve(process, facts, has_userns=has_userns, born_last=True, asks=not hook)]


def _towards_execve(
    process: Process | None, facts: Facts, *, has_userns: bool, born_last: bool, asks: bool
) -> list[Message]:
    """`asks`: for the terminal and for HOME, which a hook has none of."""
    wanted: Process = process or {}
    rows = (
        (asks and wanted.get("terminal", False), CONSOLE),
        (asks and asks_home(wanted), HOME),
        (notifies(facts), LISTENER),
        (born_last, BORN),
        (born_last, GO),
        (limits.served(wanted, has_userns, born_last), LIMITS),
        (True, READY),
    )
    return [message for happens, message in rows if happens]
