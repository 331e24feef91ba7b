"""Link each hot verb: all the modules that it imports, compiled, in one file, in the order in which they are imported.

Finding and reading sixty small modules takes longer than running them (bench/RESULTS.md has the figures). bin/pyrun
reads the one file, and runs the modules one after the other, so that no import statement has to look for anything.

usage: python3 -I -S link.py DESTDIR LIBRARY

LIBRARY is where the modules lie when they are used, DESTDIR what is to be put before it now. Writes
LIBRARY/linked/TAG/VERB, TAG being Python's own name for its byte code.
"""

import ast
import marshal
import os
import subprocess
import sys
import types

# The controllers whose limits managers set.
LIMITS = [f"cgroups.controllers.{name}" for name in ("cpuset", "memory", "cpu", "pids", "devices")]

# What a hot verb imports only when it gets there, but nearly always.
LATER = {
    "create": ["cgroups.resources", *LIMITS],
    "start": ["container.container"],
    "state": ["container.container"],
    "kill": ["container.container"],
    "delete": ["cgroups.drivers"],
    "exec": ["container.container", "cgroups.drivers", "cli.foreground"],
    "run": ["cgroups.resources", *LIMITS, "cli.foreground"],
    "features": ["cli.help"],
    "list": ["container.container"],
    "pause": ["container.container", "cgroups.drivers"],
    "resume": ["container.container", "cgroups.drivers"],
    "update": ["container.container", "container.update", "cgroups.drivers", "cgroups.resources", *LIMITS],
}

# Prints the modules below sys.argv[1] that the imports of the others load, each after those that it needs itself.
TRACE = """
import sys
from importlib import _bootstrap

def load(spec, load=_bootstrap._load_unlocked):
    module = load(spec)
    if spec.name.startswith("pyrun"):
        print(spec.name)
    return module

_bootstrap._load_unlocked = load
sys.path.append(sys.argv[1])
for name in sys.argv[2:]:
    __import__(name)
"""


class Bare(ast.NodeTransformer):
    """Takes away what only readers and tools need, annotations, docstrings and what is imported or defined for types:
    they would be read at every start."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return node.orelse
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        return self.without_docstring(node)

    def without_docstring(self, node: ast.FunctionDef | ast.ClassDef | ast.Module) -> ast.AST:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.copy_location(ast.Pass(), node.body[0])]
        return self.generic_visit(node)

    visit_ClassDef = without_docstring  # noqa: N815
    visit_Module = without_docstring  # noqa: N815

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module == "__future__" else node


def link(destination: str, library: str, verb: str) -> bytes:
    names = [f"pyrun.{name}" for name in ("cli.main", f"cli.{verb}", *LATER[verb])]
    trace = [sys.executable, "-ISc", TRACE, destination + library, *names]
    order = subprocess.run(trace, check=True, capture_output=True, text=True).stdout.split()
    # Packages first, bare: what is in one can be looked for when it is there. One that imports what is in it is run
    # after that, and takes the place of the bare one then.
    packages = sorted({name.rpartition(".")[0] for name in order} - {""} | {"pyrun"})
    modules = {name: module(destination, f"{library}/{name.replace('.', '/')}", name) for name in (*packages, *order)}
    bare = [(*modules[name][:3], None) for name in packages]
    return marshal.dumps([*bare, *(modules[name] for name in order if name not in packages or modules[name][3])])


def module(destination: str, path: str, name: str) -> tuple[object, ...]:
    """(name, __file__, __path__ or None, its code or None)"""
    package = os.path.isdir(destination + path)
    file = f"{path}/__init__.py" if package else f"{path}.py"
    if not os.path.exists(destination + file):
        return name, None, [path], None
    with open(destination + file, "rb") as source:
        tree = ast.fix_missing_locations(Bare().visit(ast.parse(source.read())))
    empty = all(type(node) is ast.Pass for node in tree.body)
    code = None if empty else without_lines(compile(tree, file, "exec", dont_inherit=True))
    return name, file, [path] if package else None, code


def without_lines(code: types.CodeType) -> types.CodeType:
    """Line numbers are a fifth of it, and only for tracebacks: with --debug the modules are imported as usual."""
    consts = tuple(without_lines(const) if isinstance(const, types.CodeType) else const for const in code.co_consts)
    return code.replace(co_linetable=b"", co_consts=consts)


def main() -> None:
    destination, library = sys.argv[1:]
    folder = f"{destination}{library}/linked/{sys.implementation.cache_tag}"
    os.makedirs(folder, exist_ok=True)
    for verb in LATER:
        code = link(destination, library, verb)
        with open(f"{folder}/{verb}", "wb") as file:
            file.write(code)


if __name__ == "__main__":
    main()
