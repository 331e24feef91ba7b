"""All programs that a container may have run for it, with what each is to be judged by."""

from __future__ import annotations

from pyrun.machine.launch import Layout
from pyrun.plan.create import FIFOS
from pyrun.plan.exec import compile_exec
from pyrun.plan.facts import Facts
from pyrun.plan.hook import NAMES, compile_hook
from pyrun.plan.mounting import compile_addition, compile_removal
from pyrun.plan.mounts import is_mapped
from pyrun.plan.namespaces import FLAGS, Namespaces
from pyrun.prove.rules import Asked
from pyrun.spec.namespaces import CLONE_NEWNS, CLONE_NEWPID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyrun.machine.program import Program
    from pyrun.spec.config import Config, Hook


def of_container(config: Config, facts: Facts, program: Program) -> Iterator[tuple[str, Program, Asked]]:
    """(name, program, what is asked) of create's own, of an exec of the config's process, of mounts that are
    added and removed, and of each hook inside."""
    namespaces = Namespaces(config)
    process = config.get("process")
    has_filter = bool(facts.seccomp)
    yield (
        "create",
        program,
        Asked(
            config=config,
            process=process,
            layout=facts.layout,
            has_filter=has_filter,
            # Those who are in a pid namespace that it joins.
            others="pid" in namespaces.paths,
            preserve=facts.preserve,
            waits=FIFOS,
        ),
    )
    own = sum(flag for kind, flag in FLAGS.items() if namespaces.own(kind))
    if process is not None:
        inside = _joining(config, facts, own, ["pidfd"])
        asked = Asked(config=config, process=process, layout=inside.layout, has_filter=has_filter, others=True)
        yield "exec", compile_exec(process, own, inside), asked
    if own & CLONE_NEWNS and not namespaces.has_userns:
        # What `mounts add` might be asked for: the config's own once more.
        rows = [row for row in config.get("mounts", []) if row.get("type") not in ("cgroup", "cgroup2")]
        more: Config = {**config, "mounts": [row for row in rows if not is_mapped(row)]}
        inside = _joining(config, facts, own, ["pidfd"])
        asked = Asked(config=more, process=None, layout=inside.layout, has_filter=False, others=True)
        yield "mounts add", compile_addition(more, own, inside), asked
        yield "mounts remove", compile_removal(more, own, inside), asked
    hooks: Mapping[str, list[Hook]] = config.get("hooks", {})  # type: ignore[assignment]
    for kind in ("createContainer", "startContainer"):
        for i, hook in enumerate(hooks.get(kind, [])):
            of_container = kind == "startContainer" and process is not None
            inside = _joining(config, facts, own if of_container else own | CLONE_NEWNS, NAMES)
            # A program of the host's stays out of a pid namespace in which there are others.
            joined = 0 if of_container or "pid" not in namespaces.paths else CLONE_NEWPID
            pointer = f"/hooks/{kind}/{i}"
            program = compile_hook(hook, pointer, own & ~joined, inside, process if of_container else None)
            asked = Asked(
                config=config,
                process=process if of_container else None,
                layout=inside.layout,
                has_filter=has_filter,
                others=of_container,
            )
            yield pointer, program, asked


def _joining(config: Config, facts: Facts, own: int, names: list[str]) -> Facts:
    return Facts(
        layout=Layout([*names, *([] if own & CLONE_NEWNS else ["root"])]),
        bundle=facts.bundle,
        container=facts.container,
        privileged=facts.privileged,
        nested=facts.nested,
        capabilities=facts.capabilities,
        unified_cgroup=facts.unified_cgroup,
        v1_cgroups=facts.v1_cgroups,
        cgroups_optional=facts.cgroups_optional,
        seccomp=facts.seccomp,
        seccomp_flags=facts.seccomp_flags,
        keyring=facts.keyring,
    )
