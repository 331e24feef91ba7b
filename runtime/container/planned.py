"""What create would do with a bundle, before anything is made: for `plan`, `prove` and `create --expect-plan`."""

from __future__ import annotations

import posix

from pyrun.cgroups.host import host
from pyrun.container.gather import facts, own_cgroup, resources
from pyrun.errors import ConfigError, Error
from pyrun.plan.create import compile_container
from pyrun.plan.identity import LAST_CAPABILITY
from pyrun.spec import strictjson
from pyrun.spec.faults import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.caller import Caller
    from pyrun.container.bundle import CreateOptions
    from pyrun.machine.program import Program
    from pyrun.plan.facts import Facts
    from pyrun.spec.config import Config


class Planned:
    """program: what will be executed, and the facts that it was compiled from. rows: (step, pointer) of what is done to
    the cgroup before. Raises Error."""

    __slots__ = ("config", "facts", "program", "rows")

    def __init__(self, name: str, config: Config, options: CreateOptions, caller: Caller) -> None:
        """`name`: the container's id. What root would do, whoever asks; with options.rootless, what a user would."""
        try:
            hierarchies = host()
            cgroup = own_cgroup(options, hierarchies, name, config, caller)
            if not cgroup.needs_process:
                cgroup.foresee()
            writes = cgroup.writes(resources(config, cgroup))  # type: ignore[arg-type]
            self.facts: Facts = facts(name, config, options, hierarchies, cgroup, caller, cache=False)
            self.facts.privileged = not options.rootless
            if posix.geteuid() != 0:
                self.facts.capabilities = (1 << LAST_CAPABILITY + 1) - 1
            self.program: Program = compile_container(config, self.facts)
        except Invalid as e:
            raise ConfigError(e.faults) from None
        except OverflowError as e:
            raise Error(str(e)) from None
        self.config = config
        self.rows = cgroup.steps() + [(f"write {write.value!r} to {write.file}", write.pointer) for write in writes]

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the program with its data, of what is done to the cgroup, and of the config,
        whose hooks are run besides. Two that are alike do the same, on this host, for a container of this id."""
        from hashlib import sha256  # lazy: only for this

        found = sha256(self.program.encode(self.facts.layout.host))
        found.update(strictjson.dumps([self.rows, self.config]).encode())
        return found.hexdigest()


def expect(digest: str, name: str, config: Config, options: CreateOptions, caller: Caller) -> None:
    """Raises Error when the plan is another one than was expected."""
    found = Planned(name, config, options, caller).digest()
    if found != digest:
        what, hint = "the plan is not the expected one", "pyrun plan --digest, with this id, on this host"
        raise Error(what, detail=f"its digest is {found}, not {digest}", hint=hint)
