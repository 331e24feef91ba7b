"""pyrun spec"""

from __future__ import annotations

import posix

from pyrun.cgroups.host import host
from pyrun.container.bundle import absolute
from pyrun.errors import Error
from pyrun.spec import strictjson
from pyrun.spec.example import example

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    path = values.text("file") or f"{absolute(values.text('bundle') or '.')}/config.json"
    config = example(values.flag("rootless"), host().mode == "v2", posix.geteuid(), posix.getegid())
    text = strictjson.dumps(config, indent=4) + "\n"
    if path == "-":
        print(text, end="")
        return 0
    try:
        fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise Error(f"File {path.rpartition('/')[2]} exists. Remove it first", detail=path) from None
    except OSError as e:
        raise Error("write config.json", call=f"open {path}", errno=e.errno) from None
    posix.write(fd, text.encode())
    posix.close(fd)
    return 0
