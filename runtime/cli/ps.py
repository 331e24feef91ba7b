"""pyrun ps ID [ARGS...]: the container's processes, as the host sees them."""

from __future__ import annotations

import posix
import subprocess
import time

from pyrun.cli._screen import Screen, table
from pyrun.errors import Error
from pyrun.spec import strictjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values

_DAY = 86400

# A manager may call us without PATH.
_DIRECTORIES = ("/usr/bin", "/bin", "/usr/local/bin")


def run(context: Context, values: Values, arguments: list[str]) -> int:
    form = values["format"] or "table"
    if form not in ("table", "json"):
        raise Error(f"--format is table or json, not {form}")
    with context.open(arguments[0]) as container:
        # As with runc, one that has stopped has none; that is no error.
        pids = [] if container.status == "stopped" else container.processes()
    if form == "json":
        print(strictjson.dumps(pids))
        return 0
    options = arguments[1:]
    program = next((p for d in _DIRECTORIES if posix.access(p := f"{d}/ps", posix.X_OK)), "")
    if options and program:
        for line in _of_host(program, options, pids):
            print(line)
        return 0
    screen = Screen(context.caller.environ)
    for line in table([*_rows(pids, _asked(options))]):
        print(screen.cut(line))
    return 0


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 3600:02}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02}"


def _since(moment: float) -> str:
    return time.strftime("%H:%M" if time.time() - moment < _DAY else "%b%d", time.localtime(moment))


_STATES = {"running": "R", "sleeping": "S", "disk-sleep": "D", "stopped": "T", "zombie": "Z", "idle": "I"}
# ps(1)'s names of columns, their headings, and what psutil has for them.
COLUMNS: dict[str, tuple[str, Callable[[Any], object]]] = {
    "args": ("COMMAND", lambda p: " ".join(p.cmdline()) or f"[{p.name()}]"),
    "cmd": ("CMD", lambda p: " ".join(p.cmdline()) or f"[{p.name()}]"),
    "comm": ("COMMAND", lambda p: p.name()),
    "etime": ("ELAPSED", lambda p: _clock(time.time() - p.create_time())),
    "gid": ("GID", lambda p: p.gids().effective),
    "group": ("GROUP", lambda p: p.gids().effective),
    "ni": ("NI", lambda p: p.nice()),
    "nlwp": ("NLWP", lambda p: p.num_threads()),
    "pid": ("PID", lambda p: p.pid),
    "pmem": ("%MEM", lambda p: f"{p.memory_percent():.1f}"),
    "ppid": ("PPID", lambda p: p.ppid()),
    "rss": ("RSS", lambda p: p.memory_info().rss >> 10),
    "s": ("S", lambda p: _STATES.get(p.status(), "?")),
    "stat": ("STAT", lambda p: _STATES.get(p.status(), "?")),
    "stime": ("STIME", lambda p: _since(p.create_time())),
    "time": ("TIME", lambda p: _clock(sum(p.cpu_times()[:2]))),
    "tty": ("TTY", lambda p: (p.terminal() or "?").removeprefix("/dev/")),
    "uid": ("UID", lambda p: p.uids().effective),
    "uname": ("UID", lambda p: p.username()),
    "user": ("USER", lambda p: p.username()),
    "vsz": ("VSZ", lambda p: p.memory_info().vms >> 10),
}
# As `ps -f`, but for C.
_FULL = ["uname", "pid", "ppid", "stime", "tty", "time", "cmd"]


def _asked(options: list[str]) -> list[str]:
    """The columns of ps's options -o and -f, where there is no ps(1). Raises Error for others."""
    text = " ".join(options)
    if text in ("", "-f", "-ef", "f", "-fe"):
        return _FULL
    names = text.removeprefix("-e").strip().removeprefix("-eo").removeprefix("-o").removeprefix("o")
    found = names.replace(",", " ").split()
    unknown = next((name for name in found if name not in COLUMNS), "")
    if names == text or not found or unknown:
        detail = f"ps not found in {':'.join(_DIRECTORIES)}"
        hint = f"without it there are -f, and -o with {', '.join(COLUMNS)}"
        raise Error("list the processes", detail=detail, hint=hint)
    return found


def _rows(pids: list[int], columns: list[str]) -> Iterator[tuple[str, ...]]:
    """A heading first."""
    try:
        import psutil  # lazy: not with ARGS, nor for --format json
    except ImportError:
        raise Error("list the processes", detail="psutil is not installed", hint="--format json needs none") from None
    yield tuple(COLUMNS[name][0] for name in columns)
    for pid in pids:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                yield tuple(str(COLUMNS[name][1](process)) for name in columns)
        except psutil.NoSuchProcess:
            continue  # it has ended meanwhile


def _of_host(program: str, options: list[str], pids: list[int]) -> Iterator[str]:
    """What ps(1) of the host prints, of these processes alone."""
    done = subprocess.run([program, *options], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    heading, *lines = done.stdout.splitlines() or [""]
    if done.returncode or not heading:
        raise Error("list the processes", call=" ".join(["ps", *options]), detail=done.stderr.strip())
    names = heading.split()
    if "PID" not in names:
        raise Error("list the processes", detail="the output of ps has no column PID", hint="ask for it: -o pid,args")
    column = names.index("PID")
    yield heading
    wanted = {str(pid) for pid in pids}
    for line in lines:
        fields = line.split()
        if len(fields) > column and fields[column] in wanted:
            yield line
