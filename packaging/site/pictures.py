"""Draws docs/pictures/*.svg from the plan of the bundle that `pyrun spec` writes: `make pictures`.

What is drawn is the same on every host, so that a test can compare it: the bundle is the one for cgroup v2, and steps
that follow the host's cgroups are left out. A part of the program that the tables here have no words for is an error: a
picture can't leave out what a new plan does.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html import escape
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).parents[2]
PICTURES = CHECKOUT / "docs/pictures"

# Readable by themselves, wherever they are shown: with colours for both schemes, and a ground of their own.
_STYLE = """
svg { --ink: #1f2328; --soft: #59636e; --ground: #ffffff; --box: #f3f5f8; --line: #c3ccd6;
      --python: #8250df; --host: #9a6700; --init: #0969da; --own: #ddeaf9; }
@media (prefers-color-scheme: dark) {
  svg { --ink: #e6edf3; --soft: #9aa4af; --ground: #14171c; --box: #21262d; --line: #444c56;
        --python: #c297ff; --host: #e3b341; --init: #6cb6ff; --own: #16304d; }
}
text { font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--ink); }
.head { font-weight: 600; font-size: 14px; }
.soft { fill: var(--soft); font-size: 11.5px; }
.code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 11px; fill: var(--soft); }
.ground { fill: var(--ground); } .box { fill: var(--box); stroke: var(--line); } .own { fill: var(--own); }
.python { stroke: var(--python); } .host { stroke: var(--host); } .init { stroke: var(--init); }
.edge { stroke-width: 2.5; }
line, path { stroke: var(--line); fill: none; } .arrow { stroke: var(--ink); } .tip { fill: var(--ink); stroke: none; }
"""

# Of the runtime, which is no part of the plan: before the executor is started, and at each message of the program.
_BEFORE = (
    ("load and check", "config.json, by pointer"),
    ("compile", "each step, before any is done"),
    ("make the cgroup", "and set its limits"),
    ("start the executor", "and give it the program"),
)
_AT = {
    "INIT": ("learn the pid of init", "for the state"),
    "CONSOLE": ("pass the terminal on", "by --console-socket, or relay it"),
    "HOME": ("find HOME", "in the container's /etc/passwd"),
    "READY": ("the state is created", "create returns"),
}
_START = ("pyrun start", "returns once execve has worked")
# Of the program: stage and a call that tells the group from others of that stage -> what is done.
_WORDS = {
    ("root", "open_tree"): "open the root file system",
    ("namespaces", "clone3"): "clone init: new namespaces",
    ("namespaces", "unshare"): "make the cgroup namespace",
    ("namespaces", "ioctl"): "set up the loopback device",
    ("root", "move_mount"): "attach the root, as a mount",
    ("mounts", "fsopen"): "mount, in the order of the list",
    ("devices", "mknodat"): "make the devices",
    ("root", "pivot_root"): "the root becomes /, the host's is gone",
    ("process", "dup3"): "make the terminal, /dev/console",
    ("kernel", "sethostname"): "name the host",
    ("masks", "read_only"): "make paths read-only",
    ("masks", "mask"): "mask paths",
    ("root", "mount_setattr"): "make the root read-only",
    ("limits", "prlimit64"): "set the limits of the process",
    ("identity", "capset"): "become the user, drop capabilities",
    ("process", "new_directory"): "enter the working directory",
    ("process", "getcwd"): "see that it is below the root",
    ("exec", "faccessat2"): "find the executable",
    ("exec", "sendmsg"): "ask for HOME",
    ("exec", "execve"): "become the program",
    ("", "READY"): "say that all is done but execve",
    ("", "setsid"): "a session and a keyring of its own",
    ("", "readv"): "wait for start, at a fifo",
}
# Routines of the plan, by the system calls for which they are there.
_ROUTINES = {
    "new_directory": ("mkdirat",),
    "read_only": ("open_tree", "mount_setattr", "move_mount"),
    "mask": ("open_tree", "move_mount"),
    "mount_point": (),
    "directory": (),
    "bind": (),
}
# Not worth a word: what only prepares another call, or ends it; and the stage that follows the host.
_ASIDE = {
    "close",
    "openat",
    "openat2",
    "statx",
    "fstatfs",
    "close_range",
    "umask",
    "rt_sigaction",
    "read",
    "exit_group",
}
_LEFT_OUT = {"cgroup"}
# A mount of the hierarchies of cgroup v1 is a tmpfs with a bind for each, and made read-only in the end.
_V1 = {("mounts", "mount_setattr")}
# The kinds of namespace -> what the plan does in it (a pattern of a step), in words.
_INSIDE = {
    "pid": (r'fsopen\("proc"', "init is process 1, and so /proc says"),
    "network": (r"SIOCSIFFLAGS", "lo is set up, there is no other device"),
    "ipc": (r'fsopen\("mqueue"', "/dev/mqueue is its own"),
    "uts": (r"sethostname\((\"\w+\")", "sethostname({})"),
    "mount": (r"pivot_root", "mounts, then pivot_root"),
    "user": (r"uid_map", ""),
    "cgroup": (r"unshare\(CLONE_NEWCGROUP", "by unshare, once init is in its cgroup: this is / there"),
    "time": (r"timens_offsets", ""),
}


class Step(NamedTuple):
    stage: str
    pointer: str
    text: str

    @property
    def call(self) -> str:
        found = re.match(r"(?:r\d+ = )?(?:call )?(\w+)\(", self.text)
        return found[1] if found else ""

    @property
    def message(self) -> str:
        """The one that is said. The terminal is told of by hand, since a descriptor goes with it."""
        found = re.match(r"say (\w+)", self.text)
        if not found and self.call == "sendmsg":
            return "CONSOLE" if self.pointer == "/process/terminal" else ""
        return found[1] if found else ""


class Plan(NamedTuple):
    """The program of the default bundle: what runs on the host up to the clone, and what init does after it."""

    host: list[Step]
    init: list[Step]
    becomes: dict[str, str]


def plan(pyrun: Path) -> Plan:
    with tempfile.TemporaryDirectory() as bundle:
        subprocess.run([pyrun, "spec", "--bundle", bundle], check=True)
        _as_on_v2(Path(bundle, "config.json"))
        said = subprocess.check_output([pyrun, "plan", "--json", "--bundle", bundle, "box"])
    document = json.loads(said)
    stages = {line["pointer"]: line["stage"] for line in document["stages"]}

    def step(row: dict[str, str]) -> Step:
        pointer = row["pointer"]
        while pointer and pointer not in stages:
            pointer = pointer.rpartition("/")[0]
        return Step(stages[pointer] if pointer else "", pointer, row["step"])

    steps = [step(row) for row in document["program"]]
    clone = next(i for i, one in enumerate(steps) if one.call == "clone3")
    inside = int(steps[clone + 1].text.rpartition(" ")[2])
    last = next(i for i, one in enumerate(steps) if one.call == "execve")
    becomes = {line["pointer"]: line["becomes"] for line in document["stages"]}
    return Plan(steps[:inside], steps[inside : last + 1], becomes)


def _as_on_v2(config: Path) -> None:
    """spec asks for a cgroup namespace where the host has cgroup v2."""
    written = json.loads(config.read_text())
    namespaces = written["linux"]["namespaces"]
    if {"type": "cgroup"} not in namespaces:
        namespaces.append({"type": "cgroup"})
    config.write_text(json.dumps(written))


class Canvas:
    """An SVG that is drawn from the top to the bottom."""

    def __init__(self, width: int, title: str, description: str) -> None:
        self.width, self.title, self.description = width, title, description
        self.parts: list[str] = []

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        self.parts.append(f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>')

    def box(self, x: float, y: float, width: float, height: float, kind: str = "box") -> None:
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4" class="{kind}"/>')

    def line(self, x: float, y: float, to_x: float, to_y: float, kind: str = "", dashed: bool = False) -> None:
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self.parts.append(f'<line x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}" class="{kind}"{dash}/>')

    def arrow(self, x: float, y: float, to_x: float, words: str) -> None:
        way = 1 if to_x > x else -1
        self.line(x, y, to_x - 5 * way, y, "arrow")
        self.parts.append(f'<path class="tip" d="M{to_x:g} {y:g}l{-8 * way} -4v8z"/>')
        if words:
            self.text((x + to_x) / 2, y - 5, words, "code", "middle")

    def svg(self, height: int) -> str:
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {height}" role="img"'
                f' width="{self.width}" height="{height}" aria-labelledby="title description">',
                f'<title id="title">{escape(self.title)}</title>',
                f'<desc id="description">{escape(self.description)}</desc>',
                f"<style>{_STYLE}</style>",
                f'<rect width="{self.width}" height="{height}" rx="6" class="ground"/>',
                *self.parts,
                "</svg>\n",
            ]
        )


class Group(NamedTuple):
    """Steps that belong together: what they do, by which calls, for which pointer, and what is said at their end."""

    words: str
    calls: str
    pointer: str
    message: str


def groups(steps: list[Step]) -> Iterator[Group]:
    told = [one for one in steps if (one.stage, one.call) not in _V1 and one.stage not in _LEFT_OUT]
    told = [one for one in told if one.call or one.message]
    waits = [i for i, one in enumerate(told) if one.call == "readv"]
    runs = (list(run) for _, run in groupby(enumerate(told), key=lambda row: _kind(row[1], row[0] in waits)))
    for run in runs:
        of_run = [one for _, one in run]
        names = list(dict.fromkeys(one.call for one in of_run if one.call and one.call not in _ASIDE))
        said = next((one.message for one in of_run if one.message), "")
        keys = {(of_run[0].stage, name) for name in (*names, said)}
        words = [text for key, text in _WORDS.items() if key in keys]
        if not words:
            if of_run[0].stage and names:
                raise LookupError(f"no words for {of_run[0].stage}: {', '.join(names)}")
            if not said:
                continue
            words = [""]
        pointers = list(dict.fromkeys(one.pointer for one in of_run))
        last = pointers[-1].rpartition("/")[2]
        pointer = pointers[0] + f" … {last if last.isdigit() else ''}".rstrip() * (len(pointers) > 1)
        calls = list(dict.fromkeys(call for name in names for call in _ROUTINES.get(name, (name,))))
        yield Group(words[0], " ".join(calls[:5]) + " …" * (len(calls) > 5), pointer, said)


def _kind(step: Step, waits: bool) -> tuple[str, str]:
    """What tells a group from the next: the stage, and of some the part of the config."""
    apart = step.stage in ("masks", "process") or (step.stage == "exec" and step.call != "execve")
    return ("wait" if waits else step.stage, step.pointer if apart else "")


# Lane -> where it begins, how wide it is, what it is.
_LANES = {
    "python": (20, 225, "pyrun, in Python"),
    "host": (285, 215, "the executor, on the host"),
    "init": (540, 400, "the executor, inside: init"),
}
_TOP = 50


def start(of: Plan) -> str:
    """Who does what, from the top to the bottom."""
    canvas = Canvas(
        960, "How a container starts", "Three lanes: pyrun, the executor on the host, and init, with what each does."
    )
    y = _TOP
    for words, more in _BEFORE:
        y = _box(canvas, "python", y, words, more, "soft")
    y -= _HIGH
    _between(canvas, y, "python", "host", "")
    for lane, steps in (("host", of.host), ("init", of.init)):
        for group in groups(steps):
            if group.words:
                y = _box(canvas, lane, y, group.words, group.calls, "code", group.pointer)
            row = y - _HIGH
            if group.words == _WORDS["namespaces", "clone3"]:
                _between(canvas, row, "host", "init", "")
            if group.words == _WORDS["", "readv"]:
                _between(canvas, row, "python", "init", "a byte")
                _box(canvas, "python", row, *_START, "soft")
            if group.message:
                _between(canvas, row, lane, "python", group.message)
                _box(canvas, "python", row, *_AT[group.message], "soft")
        y -= _HIGH * (lane == "host")
    for lane, (x, width, name) in _LANES.items():
        canvas.text(x, 32, name, "head")
        canvas.line(x, 40, x + width, 40, lane)
    return canvas.svg(y + 4)


_HIGH = 46


def _box(canvas: Canvas, lane: str, y: int, words: str, more: str, kind: str, pointer: str = "") -> int:
    """Returns where the next one goes."""
    x, width, _ = _LANES[lane]
    canvas.box(x, y, width, _HIGH - 8)
    canvas.line(x + 1, y + 3, x + 1, y + _HIGH - 11, f"{lane} edge")
    canvas.text(x + 10, y + 16, words)
    canvas.text(x + 10, y + 31, more, kind)
    if lane == "init":
        canvas.text(x + width - 8, y + 16, pointer, "code", "end")
    return y + _HIGH


def _between(canvas: Canvas, y: int, lane: str, to: str, words: str) -> None:
    """An arrow from one lane to another, into the box that begins at y."""
    if _LANES[lane][0] < _LANES[to][0]:
        x, to_x = _LANES[lane][0] + _LANES[lane][1], _LANES[to][0]
    else:
        x, to_x = _LANES[lane][0], _LANES[to][0] + _LANES[to][1]
    canvas.arrow(x, y + 19, to_x, words)


def namespaces(of: Plan) -> str:
    """A row for each kind: the host's up to the clone, from there the container's own, if the config has it."""
    own = of.becomes["/linux/namespaces"].split(", ")
    canvas = Canvas(
        960, "Namespaces of the default bundle", f"The container's own: {', '.join(own)}. The host's: all others."
    )
    left, clone, right = 110, 360, 940
    canvas.text(left, 32, "the executor, on the host", "head")
    canvas.text(clone + 12, 32, "init, inside", "head")
    y = _TOP
    text = "\n".join(one.text for one in of.init)
    for kind in sorted(_INSIDE, key=lambda kind: (own.index(kind) if kind in own else len(own), kind)):
        pattern, words = _INSIDE[kind]
        canvas.text(20, y + 19, kind, "head")
        if kind in own:
            found = re.search(pattern, text)
            if not found:
                raise LookupError(f"nothing is done in the {kind} namespace")
            new = clone + 30 * (kind == "cgroup")
            canvas.box(left, y, new - left, 28)
            canvas.text(left + 10, y + 19, "the host's", "soft")
            canvas.box(new, y, right - new, 28, "own init")
            canvas.text(new + 12, y + 19, words.format(*found.groups()))
        else:
            canvas.box(left, y, right - left, 28)
            canvas.text(left + 10, y + 19, "the host's", "soft")
            canvas.text(clone + 12, y + 19, "the host's: the config has no such namespace", "soft")
        y += 36
    canvas.line(clone, 18, clone, y, "arrow", dashed=True)
    canvas.text(clone, y + 16, "clone3", "code", "middle")
    return canvas.svg(y + 28)


class Row(NamedTuple):
    """When a mount is made, by the number of its step; what asks for it; where, and what it is."""

    when: int
    pointer: str
    place: str
    what: str


def mounts(of: Plan) -> str:
    """A row for each mount point, as a tree; a bar from when it is there."""
    rows = sorted(_rows(of), key=lambda row: row.place)
    when = sorted({row.when for row in rows})
    pivot = next(i for i, one in enumerate(of.init) if one.call == "pivot_root")
    order = sorted([*when, pivot])
    canvas = Canvas(960, "Mounts of the default bundle", "Each mount point, from the step that mounts it to the end.")
    left, right, y = 190, 940, _TOP
    step = 34

    def at(moment: int) -> float:
        return left + step * order.index(moment)

    canvas.text(20, 32, "mount point", "head")
    canvas.text(left, 32, "from when it is there, in the order of the plan", "head")
    # Behind the bars, which go on.
    end = y + 33 * len(rows)
    canvas.line(at(pivot) + 8, 44, at(pivot) + 8, end + 2, "arrow", dashed=True)
    canvas.text(at(pivot) + 8, end + 16, "pivot_root: the host's mounts are gone", "code", "middle")
    for row in rows:
        depth = row.place.count("/") - (row.place == "/")
        canvas.text(20 + 14 * depth, y + 18, row.place, "code")
        canvas.box(at(row.when), y, right - at(row.when), 26, "own init")
        canvas.text(at(row.when) + 10, y + 17.5, row.what, "soft")
        canvas.text(right - 8, y + 17, row.pointer, "code", "end")
        y += 33
    return canvas.svg(end + 28)


# Of those that are no entry of the list: pointer -> where the first of them is, and what it is.
_OTHERS = {
    "/root": ("/", "the bundle's root file system; made read-only at last"),
    "/process/terminal": ("/dev/console", "the terminal, bound on a file"),
    "/linux/readonlyPaths": ("", "and others: each bound on itself, read-only"),
    "/linux/maskedPaths": ("", "and others: hidden"),
}
_MOUNTS = ("move_mount", "read_only", "mask")


def _rows(of: Plan) -> Iterator[Row]:
    first: dict[str, tuple[int, Step]] = {}
    for i, one in enumerate(of.init):
        if one.call in _MOUNTS and one.stage not in _LEFT_OUT:
            first.setdefault(one.pointer, (i, one))
    for pointer, (when, step) in first.items():
        if pointer.startswith("/mounts/"):
            place, _, what = of.becomes[pointer].partition(": ")
            yield Row(when, pointer, place, what.replace(",", ", "))
        else:
            place, what = _OTHERS[pointer]
            yield Row(when, pointer, place or step.text.split('"')[1], what)


DRAWN = {"start": start, "namespaces": namespaces, "mounts": mounts}


def drawn(pyrun: Path) -> dict[str, str]:
    """File name -> SVG."""
    of = plan(pyrun)
    return {f"{name}.svg": draw(of) for name, draw in DRAWN.items()}


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for name, text in drawn(CHECKOUT / "build/pyrun").items():
        (PICTURES / name).write_text(text)
    sys.exit()
