"""pyrun spec"""

from __future__ import annotations

import posix
import shutil
import sys

from pyrun.cgroups.host import host
from pyrun.container.bundle import absolute
from pyrun.errors import Error
from pyrun.spec import strictjson
from pyrun.spec.example import example

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values
    from pyrun.spec.config import Config


def run(context: Context, values: Values, arguments: list[str]) -> int:
    path = values.text("file") or f"{absolute(values.text('bundle') or '.')}/config.json"
    config = example(values.flag("rootless"), host().mode == "v2", posix.geteuid(), posix.getegid())
    if values["network"]:
        _with_network(config)
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


def _with_network(config: Config) -> None:
    """Hooks that are this program itself, and the host's name servers."""
    program = absolute(shutil.which(sys.argv[0]) or sys.argv[0])
    config["hooks"] = {
        "createRuntime": [{"path": program, "args": ["pyrun", "hook", "network"]}],
        "poststop": [{"path": program, "args": ["pyrun", "hook", "network", "--remove"]}],
    }
    servers = {"destination": "/etc/resolv.conf", "type": "bind", "source": "/etc/resolv.conf"}
    config["mounts"].append({**servers, "options": ["bind", "ro", "nosuid", "nodev", "noexec"]})  # type: ignore[typeddict-item]
