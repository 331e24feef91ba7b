"""What pyrun says when something is wrong: the tables of docs/errors.md, whose lines tests produce.

A {word} stands for what differs from case to case, … for more of the same. `python tests/errors.py` writes the tables
into the document. A line is produced by the function of its key in integration/test_error_words.py, or where that takes
more (systemd, cgroup v2, somebody else's files) by a test that hands what it was told to `says`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

DOCUMENT = Path(__file__).parents[1] / "docs/errors.md"


class Row(NamedTuple):
    """When it is said, and the line."""

    when: str
    line: str


CONFIG = {
    "no_config": Row("no config.json", "JSON specification file {path} not found: --bundle names its directory"),
    "no_json": Row("not JSON", "invalid config: line {n}, column {n}: …"),
    "a_key_twice": Row(
        "JSON that parsers read differently: a key twice, NaN, a lone surrogate",
        "invalid config: /process: …",
    ),
    "wrong_types": Row(
        "wrong types, missing or unknown values: every fault at once",
        "invalid config: /process/cwd: must be a string, not 7; /root/readonly: must be true or false, not 3",
    ),
    "a_rule": Row(
        "a rule of the specification broken", 'invalid config: /process/cwd: must be an absolute path, not "here"…'
    ),
    "no_security_module": Row(
        "something that this host doesn't have; `pyrun check --host` says so beforehand",
        "{name} is not enabled on this host ({pointer}): …",
    ),
    "no_terminal": Row(
        "process.terminal, and nothing to hold the terminal",
        "cannot allocate tty if pyrun will detach without setting console socket (/process/terminal)",
    ),
    "a_socket_for_nothing": Row(
        "`--console-socket` without a terminal",
        "cannot use console socket if pyrun will not detach or allocate tty (/process/terminal)",
    ),
    "too_large": Row("too large", "this bundle compiles to a program larger than the executor takes…"),
}
MAKING = {
    "a_mount": Row(
        "a mount that the kernel refuses",
        "mount /x ({pointer}): fsconfig size=64x: EINVAL (invalid argument), "
        "kernel says \"tmpfs: Bad value for 'size'\"",
    ),
    "no_source": Row(
        "a bind of what is not there", "mount /x ({pointer}): open_tree /nowhere: ENOENT (no such file or directory)…"
    ),
    "no_program": Row(
        "no such program", 'exec "/nope" (/process/args/0): statx /nope: ENOENT (no such file or directory)'
    ),
    "not_in_path": Row(
        "not found in PATH",
        'exec "nope" (/process/args/0): ENOENT (no such file or directory): executable file not found in $PATH',
    ),
    "no_permission": Row("no right to execute it", 'exec "/tool" (/process/args/0): …EACCES (permission denied)'),
    "out_of_memory": Row(
        "killed by the OOM killer",
        "container init was OOM-killed (memory limit too low?) (/linux/resources/memory): …",
    ),
    "not_enabled": Row(
        "a controller that the cgroup doesn't have",
        "the controller {name} is not enabled in {path}: … echo +{name} > {path}/cgroup.subtree_control…",
    ),
    "systemd_refuses": Row("systemd refuses", "…systemd says {words}…"),
    "systemd_is_silent": Row(
        "systemd doesn't answer; a delete then keeps the container",
        "…systemd's system manager has not answered within {n} s…",
    ),
    "systemd_skips": Row(
        "systemd skips the unit: a drop-in's condition",
        "…start {unit}: systemd says 'done', but there is no scope…",
    ),
    "an_annotation": Row("an annotation that may not set it", '…"{name}" can\'t be set by an annotation…'),
    "ids": Row(
        "ids that can't be mapped",
        "map ids (/linux/uidMappings): write uid_map: {errno} ({words}): "
        "mappings must not overlap, and the host ids must be mapped here",
    ),
    "a_cgroups_file": Row(
        "a value that a cgroup's file does not take",
        "write {words} to {path} (/linux/resources/{name}…): {errno} ({words})…",
    ),
    "a_hook": Row("a hook that fails", "hook /bin/sh (/hooks/createRuntime/0): exit status 3"),
}
LIFE = {
    "unknown": Row("unknown id", "container does not exist…"),
    "in_use": Row("id in use", "container with given ID already exists: {id}"),
    "bad_id": Row(
        "an id with other characters than letters, digits and `_+-.`, or too long", "invalid container ID format…"
    ),
    "anothers_store": Row(
        "--root, the cache or what is in them belongs to somebody else",
        "use {path}: {path} belongs to uid {n}: it must be {words}…",
    ),
    "an_open_store": Row("others can write it", "use {path}: {path} can be written by others (mode {n}): …"),
    "a_symlink": Row("--root is a symlink", "use {path}: {path} is a symlink: …"),
    "a_broken_state": Row(
        "state.json is broken or no regular file; `list` warns and goes on",
        "container {id}: state.json is broken: …: delete --force removes it",
    ),
    "not_a_container": Row(
        "`delete --force` of a directory that is not a container's: nothing is removed",
        "remove container {id}: it holds {name}, which is not a container's: …",
    ),
    "held": Row(
        "a command holds the container: ended by `delete --force` only",
        "process {n} has held container {id} for 10 s: it is ended",
    ),
    "started_twice": Row("`start` twice", "cannot start an already running container"),
    "started_too_late": Row(
        "`start` after the end, also when init has died before", "cannot start a container that has stopped…"
    ),
    "never_ran": Row(
        "a profile kills init on its way to execve",
        "the program has not run (/process/args/0): …",
    ),
    "no_executable": Row(
        "the program can't be executed",
        'exec "/tool" (/process/args/0): execve: ENOEXEC (exec format error)…',
    ),
    "not_running": Row("`kill` or `exec` after the end", "container not running…"),
    "not_stopped": Row("`delete` before the end", "cannot delete container {id} that is not stopped: running…"),
    "killed_by_seccomp": Row(
        "a seccomp profile has killed the program, and the kernel's log says for what",
        "container {id} was killed: SIGSYS: the seccomp profile ({pointer}) forbids mkdir",
    ),
}
SECTIONS = {"config": CONFIG, "making": MAKING, "life": LIFE}
ROWS = {key: row for rows in SECTIONS.values() for key, row in rows.items()}


def says(key: str, text: str) -> None:
    """The text, a line as it was logged or the message in it, is that of the row."""
    parts = re.split(r"(\{\w+\}|…)", ROWS[key].line)
    pattern = "".join(".*" if part[:1] in ("{", "…") else re.escape(part) for part in parts if part)
    assert any(re.fullmatch(pattern, line) for line in map(_message, text.splitlines())), (key, ROWS[key].line, text)


def _message(line: str) -> str:
    found = re.fullmatch(r'time="[^"]+" level=\w+ msg=(".*")', line)
    return str(json.loads(found[1])) if found else line


def table(section: str) -> str:
    """As Markdown."""
    shown = [
        (row.when, re.sub(r"\{(\w+)\}", lambda found: found[1].upper(), row.line)) for row in SECTIONS[section].values()
    ]
    return "".join(f"| {when} | `{line}` |\n" for when, line in shown)


def document(text: str) -> str:
    """The document with the tables as they are here."""
    for section in SECTIONS:
        head = f"<!-- {section}: from tests/errors.py -->\n\n| when | the line |\n| --- | --- |\n"
        text = re.sub(re.escape(head) + r"(\|.*\n)*", lambda _, h=head, s=section: h + table(s), text)
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(document(DOCUMENT.read_text()))
