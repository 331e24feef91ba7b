"""packaging/site: what can be told of the site without building it (make docs)."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import pyrun

CHECKOUT = Path(__file__).parents[2]


def module(name: str) -> ModuleType:
    """Of packaging/site, which is no package: the name is taken by one of Python's."""
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / f"packaging/site/{name}.py")
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize(
    ("name", "text", "loaded"),
    [
        ("a.html", '<script src="https://cdn.example/x.js"></script>', ["https://cdn.example/x.js"]),
        ("a.html", '<link rel=stylesheet href="//fonts.example/css">', ["//fonts.example/css"]),
        ("a.html", '<img alt="x"\n src="http://example/x.png">', ["http://example/x.png"]),
        ("a.html", "<style>@import 'https://example/y.css'; a { background: url(//example/z) }</style>", 2),
        ("a.html", '<a href="https://example/">x</a> <img src="x.svg"> <code>src="https://x"</code>', []),
        ("a.css", '@font-face { src: url("https://fonts.example/x.woff") }', ["https://fonts.example/x.woff"]),
        ("a.css", 'a { background: url("x.png") } /* https://example */', []),
        ("a.js", 'fetch("https://api.example/x")', ["https://api.example"]),
        ("a.js", '/* https://example */ x = "http://www.w3.org/2000/svg"; // https://example', []),
        ("a.svg", '<image href="https://example/x.png"/>', ["https://example/x.png"]),
        ("a.txt", '<script src="https://example"></script>', []),
    ],
)
def test_what_a_page_loads_from_elsewhere(tmp_path: Path, name: str, text: str, loaded: list[str] | int) -> None:
    (tmp_path / name).write_text(text)
    found = module("loads").elsewhere(tmp_path)
    if isinstance(loaded, int):
        assert len(found) == loaded
    else:
        assert found == [f"{name}: {address}" for address in loaded]


def test_the_reference_has_each_public_name() -> None:
    page = (CHECKOUT / "docs/reference.md").read_text()
    shown = re.findall(r"<!-- docstring: (?:class|exception|function) pyrun\.(\w+) -->", page)
    assert {*shown, "PIPE", "STDOUT", "DEVNULL"} == set(pyrun.__all__) and len(shown) == len(set(shown))
    for names, file in re.findall(r"^`(runtime/[\w/]+\.py)`: (.*)$", page, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", file):
            assert getattr(pyrun, name).__module__.replace("pyrun", "runtime", 1).replace(".", "/") + ".py" == names
    for name in shown:
        assert getattr(pyrun, name).__doc__, name


def test_each_page_is_in_the_navigation() -> None:
    conf = module("conf")
    patterns = [pattern for pages in conf.NAVIGATION.values() for pattern in pages]
    pages = {str(page.relative_to(CHECKOUT)).removesuffix(".md") for page in (CHECKOUT / "docs").rglob("*.md")}
    assert all(any(Path(page).match(pattern) for page in pages) for pattern in patterns if pattern.startswith("docs/"))
    for page in pages:
        assert any(Path(page).match(pattern) for pattern in (*patterns, "docs/decisions/*")), page


def test_a_picture_leaves_out_nothing_new() -> None:
    pictures = module("pictures")
    plan = pictures.plan(CHECKOUT / "build/pyrun")
    with pytest.raises(LookupError, match="no words for kernel: unheard_of"):
        pictures.start(plan._replace(host=[pictures.Step("kernel", "/new", "unheard_of(1)"), *plan.host]))
    with pytest.raises(LookupError, match="nothing is done in the uts namespace"):
        pictures.namespaces(plan._replace(init=[step for step in plan.init if step.call != "sethostname"]))
