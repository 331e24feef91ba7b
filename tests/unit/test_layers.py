"""Imports point one way: between the rooms of the package, and between modules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

# Who may import whom. All may import spec, and the modules above the rooms; spec knows nothing of the rest.
ARROWS = {
    "above": {"kernel", "cli"},  # caller asks who we are; __main__ starts the command line
    "spec": set(),
    "hooks": {"kernel"},
    "kernel": set(),
    "machine": {"kernel"},
    "host": {"kernel", "machine"},
    "cgroups": {"kernel"},
    "plan": {"kernel", "machine"},
    "container": {"kernel", "machine", "host", "cgroups", "plan", "hooks", "images", "criu"},
    "prove": {"kernel", "machine", "plan"},
    "timeline": {"machine", "plan"},
    "failures": {"kernel", "machine"},
    "criu": set(),
    "images": {"kernel"},
    "library": {"machine", "cgroups", "plan", "container", "check", "images"},
    "check": {"kernel", "machine", "host", "cgroups", "plan", "container", "images", "criu"},
    "cli": {
        "kernel",
        "machine",
        "host",
        "cgroups",
        "plan",
        "container",
        "check",
        "prove",
        "timeline",
        "failures",
        "images",
        "library",
        "hooks",
    },
}


def modules() -> dict[str, ast.Module]:
    found = {}
    for top, package in (("runtime", "pyrun"), ("spec", "pyrun.spec"), ("hooks", "pyrun.hooks")):
        for path in (CHECKOUT / top).rglob("*.py"):
            parts = path.relative_to(CHECKOUT / top).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            found[name] = ast.parse(path.read_text())
    return found


MODULES = modules()


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ARROWS else "above"


def imports(tree: ast.Module) -> Iterator[str]:
    """What a module imports, in functions too; not what only type checkers see."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            todo += node.orelse
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pyrun"):
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                yield below if below in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("pyrun"))
        todo += ast.iter_child_nodes(node)


GRAPH = {name: {other for other in imports(tree) if other != name} for name, tree in MODULES.items()}


def test_the_rooms_are_those_that_there_are() -> None:
    packages = {name.split(".")[1] for name in MODULES if name.count(".") > 1}
    assert packages == set(ARROWS) - {"above"}


@pytest.mark.parametrize("name", ARROWS)
def test_imports_point_one_way(name: str) -> None:
    allowed = ARROWS[name] | {name, "above", "spec"} if name != "spec" else {"spec"}
    strange = {
        (module, other) for module, others in GRAPH.items() if room(module) == name for other in others
        if room(other) not in allowed
    }  # fmt: skip
    assert not strange


@pytest.mark.parametrize("name", ARROWS)
def test_every_arrow_is_used(name: str) -> None:
    used = {room(other) for module, others in GRAPH.items() if room(module) == name for other in others}
    assert ARROWS[name] <= used


def test_no_module_imports_itself_by_way_of_others() -> None:
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for other in GRAPH.get(module, ()):
                walk(other, (*path, module))
            done.add(module)

    for module in GRAPH:
        walk(module, ())


def test_an_import_in_a_function_says_why() -> None:
    """It is there for speed, never to hide a cycle: `# lazy: only with a terminal`."""
    silent = []
    for top in ("runtime", "spec", "hooks"):
        for path in (CHECKOUT / top).rglob("*.py"):
            lines = path.read_text().splitlines()
            for function in ast.walk(ast.parse("\n".join(lines))):
                if isinstance(function, ast.FunctionDef):
                    silent += [
                        f"{path.relative_to(CHECKOUT)}:{node.lineno}"
                        for node in ast.walk(function)
                        if isinstance(node, ast.Import | ast.ImportFrom) and "# lazy: " not in lines[node.lineno - 1]
                    ]
    assert not silent
