"""Manual pages of docs/commands/*.md: python3 -IS manual.py COMMANDS_DIR INTO VERSION DATE. man(7), a page a command.

The pages of the docs use little of Markdown, and no more is known here: a heading, paragraphs, lists, tables of two
columns, code, and in a line `code`, *words*, [text](link).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../../runtime/cli")
from table import COMMANDS

_FENCE = "```"
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def page(name: str, text: str, version: str, date: str) -> str:
    """The manual page of a command, "" for the program's, from its page of the docs."""
    title = f"pyrun-{name}" if name else "pyrun"
    lines = text.splitlines()
    body = "\n".join(lines[1:]).strip()
    about = COMMANDS[name].summary if name else "an OCI container runtime that says what it does"
    head = [
        f'.TH {title.upper()} 1 "{date}" "pyrun {version}" "pyrun"',
        ".SH NAME",
        f"{title} \\- {_escaped(about)}",
        ".SH DESCRIPTION",
    ]
    return "\n".join([*head, *_body(body.splitlines()), ".SH SEE ALSO", _see(name)]) + "\n"


def _see(name: str) -> str:
    return ".BR pyrun (1)," if name else "The page of a command is pyrun-COMMAND(1)."


def _body(lines: list[str]) -> Iterator[str]:
    code = False
    for line in lines:
        if line.startswith(_FENCE):
            code = not code
            yield ".EX" if code else ".EE"
        elif code:
            yield _escaped(line)
        elif not line.strip():
            yield ".PP"
        elif line.startswith("#"):
            yield f".SH {_escaped(_plain(line.lstrip('# '))).upper()}"
        elif line.startswith("|"):
            yield from _row(line)
        elif line.startswith("- "):
            yield ".IP \\(bu 2"
            yield _words(line[2:])
        else:
            yield _words(line.strip())


def _row(line: str) -> Iterator[str]:
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    if set("".join(cells)) <= set("- :"):
        return
    if len(cells) > 1 and not cells[1] and not cells[0].startswith("`"):
        return  # the head of the table
    yield ".TP"
    yield _words(cells[0])
    yield _words("; ".join(cell for cell in cells[1:] if cell) or "\\&")


def _words(text: str) -> str:
    """A line of text: code is bold. A leading dot or quote would be a request."""
    parts = re.split(r"`([^`]*)`", _LINK.sub(r"\1", text))
    shown = "".join(f"\\fB{_escaped(p)}\\fR" if i % 2 else _escaped(_plain(p)) for i, p in enumerate(parts))
    return f"\\&{shown}" if shown[:1] in (".", "'") else shown


def _plain(text: str) -> str:
    return _LINK.sub(r"\1", text).replace("`", "").replace("*", "").replace("\\|", "|")


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text


def main(folder: str, into: str, version: str, date: str) -> None:
    os.makedirs(into, exist_ok=True)
    for file in sorted(os.listdir(folder)):
        name = file.removesuffix(".md")
        with open(f"{folder}/{file}", encoding="utf-8") as opened:
            text = opened.read()
        name = "" if name == "global" else name
        with open(f"{into}/pyrun{'-' if name else ''}{name}.1", "w", encoding="utf-8") as made:
            made.write(page(name, text, version, date))


if __name__ == "__main__":
    main(*sys.argv[1:])
