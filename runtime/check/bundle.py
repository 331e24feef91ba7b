"""What can be seen of a bundle besides its config.json: is all there that the config names?"""

from __future__ import annotations

import os
import stat
from functools import partial
from typing import TYPE_CHECKING

from pyrun.check.access import Access
from pyrun.check.executable import trouble
from pyrun.container.bundle import CreateOptions
from pyrun.container.gather import layout
from pyrun.errors import Error
from pyrun.images.layers import RECORD
from pyrun.machine.launch import FIRST_FD
from pyrun.plan import rootfs
from pyrun.plan.create import compile_container
from pyrun.plan.facts import Facts
from pyrun.plan.process import search_path
from pyrun.spec.audit import collect
from pyrun.spec.faults import Fault, show
from pyrun.spec.paths import clean
from pyrun.spec.seccomp import denial_of_execve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyrun.spec.config import Config

_ANY_CGROUP = [("", "/sys/fs/cgroup", "/check")]
_MOST_SYMLINKS = 40


def errors(config: Config, options: CreateOptions, *, sound: bool = True) -> list[Fault]:
    """What the bundle lacks. config: of the right shape; options: where the bundle is; sound: the rules of the text
    hold too, so that it can be compiled."""
    found = collect([partial(check, config, options) for check in CHECKS])
    if sound:
        found += _compiled(config, options)
    return found


def warnings(config: Config, options: CreateOptions) -> list[Fault]:
    """What lies outside of the bundle (MUST 2)."""
    root = rootfs.path(config, options.bundle) if "root" in config else options.bundle
    inside = os.path.realpath(options.bundle)
    if root != options.bundle and os.path.isdir(root) and not os.path.realpath(root).startswith(f"{inside}/"):
        return [Fault("/root/path", f"{show(root)} lies outside of the bundle", "MUST 2")]
    return []


def root_directory(config: Config, options: CreateOptions) -> Iterator[Fault]:
    """root.path is a directory (MUST 46)."""
    root = rootfs.path(config, options.bundle)
    if not os.path.isdir(root):
        what = "is not a directory" if os.path.exists(root) else "does not exist"
        yield Fault("/root/path", f"{show(root)} {what}", "MUST 46", "a relative path begins at the bundle")
    elif os.path.exists(f"{options.bundle}/{RECORD}") and not os.listdir(root):
        hint = f"pyrun bundle --mount {options.bundle}"
        yield Fault("/root/path", f"{show(root)} is empty: its layers are not mounted", "MUST 46", hint)


def bind_sources(config: Config, options: CreateOptions) -> Iterator[Fault]:
    """What is bound by a relative path is in the bundle (MUST 2)."""
    for i, mount in enumerate(config.get("mounts", [])):
        source = mount.get("source", "")
        binds = {"bind", "rbind"} & set(mount.get("options", []))
        if binds and source and not source.startswith("/") and not os.path.lexists(f"{options.bundle}/{source}"):
            yield Fault(f"/mounts/{i}/source", f"{show(source)} is not in the bundle", "MUST 2")


def executables(config: Config, options: CreateOptions) -> Iterator[Fault]:
    """Those of the image: where nothing is mounted that could hold them."""
    root = rootfs.path(config, options.bundle)
    if not os.path.isdir(root):
        return
    covered = [clean(mount["destination"]) for mount in config.get("mounts", [])]
    process = config.get("process", {})
    if process.get("args"):
        name = process["args"][0]
        candidates = [name] if "/" in name else [f"{directory}/{name}" for directory in search_path(process)]
        if "/" in name and not name.startswith("/"):
            candidates = [f"{process['cwd']}/{name}"]
        there = [path for path in candidates if _covered(path, covered) or _executable(root, path)]
        refusals = [_refusal(config, root, path, covered) for path in there]
        if "" in refusals:
            found = there[refusals.index("")]
            if words := trouble(found, partial(_place, root, covered)):
                yield Fault("/process/args/0", f"{show(found)} {words}", "MUST 33")
        elif there:
            hint = "give it x there, or run the program as another /process/user"
            yield Fault("/process/args/0", f"{show(there[0])}: {refusals[0]}", "MUST 33", hint)
        else:
            where = "" if "/" in name else " in the directories of PATH in /process/env"
            yield Fault("/process/args/0", f"there is no executable {show(name)} in the root{where}", "MUST 33")
    for i, hook in enumerate(config.get("hooks", {}).get("startContainer", [])):
        if not _covered(hook["path"], covered) and not _executable(root, hook["path"]):
            problem = f"there is no executable {show(hook['path'])} in the root"
            yield Fault(f"/hooks/startContainer/{i}/path", problem, "MUST 65", "this kind of hook runs inside")


def noexec(config: Config, options: CreateOptions) -> Iterator[Fault]:
    """No mount on which the program lies forbids to execute it."""
    path = next(iter(config.get("process", {}).get("args", [])), "")
    if not path.startswith("/"):
        return
    over = [
        (len(clean(mount["destination"])), i)
        for i, mount in enumerate(config.get("mounts", []))
        if _covered(path, [clean(mount["destination"])])
    ]
    if not over:
        return
    i = max(over)[1]  # the deepest, and of those the last, is what is seen
    given = config["mounts"][i].get("options", [])
    if "noexec" in given and "exec" not in given[given.index("noexec") :]:
        yield Fault(f"/mounts/{i}/options/{given.index('noexec')}", f"the program {show(path)} lies there")


def execve(config: Config, options: CreateOptions) -> Iterator[Fault]:
    """The seccomp profile lets init become the program."""
    if "process" in config and (pointer := denial_of_execve(config.get("linux", {}).get("seccomp"))):
        hint = "init becomes the program by execve, and the filter is in force by then: allow it"
        yield Fault(pointer, "denies the execve of the program", hint=hint)


CHECKS: tuple[Callable[[Config, CreateOptions], Iterator[Fault]], ...] = (
    root_directory,
    bind_sources,
    executables,
    noexec,
    execve,
)


def _refusal(config: Config, root: str, path: str, covered: list[str]) -> str:
    """What on the way to an executable is not open to the process's user."""
    if _covered(path, covered):
        return ""
    passed: list[str] = []
    file = _resolved(root, clean(path), passed)
    return Access(config).refusal(root + file, [root + directory for directory in passed], root)


def _place(root: str, covered: list[str], path: str) -> str | None:
    """check/executable.py's Place."""
    if _covered(path, covered):
        return None
    return root + _resolved(root, clean(path)) if _executable(root, path) else ""


def _covered(path: str, mounted: list[str]) -> bool:
    path = clean(path)
    return any(path == point or path.startswith(f"{point}/") for point in mounted)


def _executable(root: str, path: str) -> bool:
    """Whether the path, as the container will see it, is a file that somebody may execute."""
    try:
        found = os.stat(root + _resolved(root, clean(path)), follow_symlinks=False)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(found.st_mode) and bool(found.st_mode & 0o111)


def _resolved(root: str, path: str, passed: list[str] | None = None) -> str:
    """`path` with its symlinks followed inside `root`; the directories in which a name is looked up are added to
    `passed`. For looking only: create asks the kernel (plan/paths.py)."""
    todo, done = path[1:].split("/"), ""
    for _ in range(_MOST_SYMLINKS * 10):
        if not todo:
            return done
        name = todo.pop(0)
        if name in ("", "."):
            continue
        if passed is not None and done not in passed:
            passed.append(done)
        if name == "..":
            done = done.rpartition("/")[0]
            continue
        here = f"{done}/{name}"
        try:
            target = os.readlink(root + here)
        except OSError:
            done = here
            continue
        if target.startswith("/"):
            done = ""
        todo = target.split("/") + todo
    raise ValueError("too many symlinks")


def _compiled(config: Config, options: CreateOptions) -> Iterator[Fault]:
    """It compiles, and to a program that the executor takes."""
    try:
        facts = Facts(layout=layout(options, config), bundle=options.bundle, container="check", cgroups=_ANY_CGROUP)
        compile_container(config, facts).encode(FIRST_FD)
    except Error as e:
        yield Fault(e.pointer, e.detail or e.what, hint=e.hint)
    except OverflowError as e:
        yield Fault("", str(e))
