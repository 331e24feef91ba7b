"""pyrun ps ID [ARGS...]: the container's processes, as the host sees them."""

from __future__ import annotations

import posix
import subprocess
import time

from pyrun.cli._screen import Screen
from pyrun.errors import Error
from pyrun.spec import strictjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

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
    if len(arguments) == 1:
        screen = Screen(context.caller.environ)
        for row in _rows(pids):
            print(screen.cut("{:<8} {:>7} {:>7} {:<8} {:<8} {:>8} {}".format(*row)))
        return 0
    heading, *lines = _host(arguments[1:])
    column = _column(heading)
    print(heading)
    wanted = {str(pid) for pid in pids}
    for line in lines:
        fields = line.split()
        if len(fields) > column and fields[column] in wanted:
            print(line)
    return 0


def _rows(pids: list[int]) -> Iterator[tuple[str, ...]]:
    """The columns of `ps -f` that say something of a container's processes, a heading first."""
    try:
        import psutil  # lazy: not with ARGS, nor for --format json
    except ImportError:
        raise Error("list the processes", detail="psutil is not installed", hint="--format json needs none") from None
    yield "UID", "PID", "PPID", "STIME", "TTY", "TIME", "CMD"
    for pid in pids:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                began = time.localtime(process.create_time())
                used = int(sum(process.cpu_times()[:2]))
                yield (
                    process.username(),
                    str(pid),
                    str(process.ppid()),
                    time.strftime("%H:%M" if time.time() - process.create_time() < _DAY else "%b%d", began),
                    (process.terminal() or "?").removeprefix("/dev/"),
                    f"{used // 3600:02}:{used // 60 % 60:02}:{used % 60:02}",
                    " ".join(process.cmdline()) or f"[{process.name()}]",
                )
        except psutil.NoSuchProcess:
            continue  # it has ended meanwhile


def _host(arguments: list[str]) -> list[str]:
    """What ps(1) of the host prints."""
    program = next((p for d in _DIRECTORIES if posix.access(p := f"{d}/ps", posix.X_OK)), "")
    if not program:
        words = f"ps not found in {':'.join(_DIRECTORIES)}"
        raise Error("list the processes", detail=words, hint="--format json needs none")
    done = subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise Error("list the processes", call=" ".join(["ps", *arguments]), detail=done.stderr.strip())
    return lines


def _column(heading: str) -> int:
    names = heading.split()
    if "PID" not in names:
        raise Error("list the processes", detail="the output of ps has no column PID", hint="ask for it: -o pid,args")
    return names.index("PID")
