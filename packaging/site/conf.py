"""Sphinx's configuration for `make docs`: the documents where they lie, and the docstrings of the library.

The pages are Markdown as code hosts read it. What only the site has is put in when a page is read: the navigation,
which hangs on the README, and docstrings where `<!-- docstring: KIND NAME -->` stands.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# A pattern stands for the pages that are named nowhere else.
NAVIGATION = {
    "Learn": ("docs/tour", "docs/start", "docs/learn/namespaces", "docs/learn/*", "docs/glossary"),
    "Use": (
        "docs/debugging",
        "docs/errors",
        "docs/faults",
        "docs/packages",
        "docs/managers",
        "docs/systemd",
        "docs/security",
        "docs/comparison",
        "docs/performance",
    ),
    "Commands": ("docs/commands/global", "docs/commands/*"),
    "Python": ("docs/library", "docs/reference"),
    "How and why": (
        "docs/design",
        "docs/decisions/README",
        "docs/conformance",
        "bench/RESULTS",
        "conformance/README",
        "conformance/RESULTS",
        "CONTRIBUTING",
        "SECURITY",
        "CHANGELOG",
    ),
}

project = "pyrun"
root_doc = "README"
include_patterns = ["*.md", "docs/**.md", "bench/*.md", "conformance/*.md"]
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3
default_role = "code"
smartquotes = False
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False}
html_theme = "furo"
html_title = "pyrun"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_static_path = ["site.css"]
html_css_files = ["site.css"]
pygments_style, pygments_dark_style = "default", "github-dark"


def setup(app: Sphinx) -> None:
    app.connect("source-read", completed)
    app.connect("autodoc-process-docstring", as_rst)
    app.connect("autodoc-skip-member", is_field)


def completed(app: Sphinx, name: str, source: list[str]) -> None:
    if name == root_doc:
        trees = [_tree(caption, *pages) for caption, pages in NAVIGATION.items()]
        source[0] = "\n\n".join([source[0], *trees])
    elif name == "docs/decisions/README":
        source[0] += "\n\n" + _tree("", "*")
    source[0] = re.sub(r"<!-- docstring: (\w+) ([\w.]+) -->", r"```{eval-rst}\n.. auto\1:: \2\n```", source[0])


def _tree(caption: str, *pages: str) -> str:
    title = [f":caption: {caption}"] if caption else []
    return "\n".join(["```{toctree}", ":hidden:", ":glob:", *title, "", *pages, "```"])


def as_rst(app: Sphinx, kind: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text: what is indented in them is code, and a star is a star."""
    indented = False
    for number, line in enumerate(list(lines)):
        if line.startswith("    ") and not indented:
            lines[number] = f"::\n\n{line}"
        indented = line.startswith("    ") or (indented and not line)
        if not indented:
            lines[number] = line.replace("*", r"\*")
    lines[:] = "\n".join(lines).split("\n")


def is_field(app: Sphinx, kind: str, name: str, thing: object, skip: bool, options: object) -> bool | None:
    """A field of a named tuple says nothing but its number: the docstring of the class has it."""
    return True if type(thing).__name__ == "_tuplegetter" else None
