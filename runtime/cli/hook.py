"""pyrun hook network|log|policy: a ready-made hook (hooks/): it reads the container's state from stdin."""

from __future__ import annotations

import os
import stat
import time

from pyrun.container.bundle import CreateOptions, absolute, read_config
from pyrun.container.policy import enforce
from pyrun.errors import Error
from pyrun.hooks import network
from pyrun.kernel.files import read_bounded, write_all
from pyrun.kernel.ownership import open_owned
from pyrun.spec import strictjson
from pyrun.spec.faults import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values

_BRIDGE, _SUBNET = "pyrun0", "10.87.0.0/16"
_MOST_STATE = 1 << 20
# What stands there may be anything: a symlink is not followed, a fifo not waited for, a terminal not taken.
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def run(context: Context, values: Values, arguments: list[str]) -> int:
    kind, *rest = arguments
    if kind not in ("network", "log", "policy") or (kind != "network") != bool(rest):
        raise Error("pyrun hook network, or pyrun hook log FILE, or pyrun hook policy FILE")
    state = _state()
    if kind == "log":
        _log(state, absolute(rest[0]))
        return 0
    if kind == "policy":
        _, config = read_config(CreateOptions(bundle=str(state.get("bundle"))))
        enforce(absolute(rest[0]), config, str(state.get("bundle")))
        return 0
    folder = context.caller.cache("network")
    try:
        os.close(open_owned(folder, make=True))
        if values["remove"]:
            network.remove(state, folder, context.caller.log.warning)
        else:
            bridge, subnet = values.text("bridge") or _BRIDGE, values.text("subnet") or _SUBNET
            warn = context.caller.log.warning
            network.add(state, folder, bridge, subnet, nat=not values["no_nat"], warn=warn)
    except (network.NetworkError, ValueError) as e:
        raise Error("set up the network", detail=str(e)) from None
    except OSError as e:
        raise Error("set up the network", call=f"open {e.filename}" if e.filename else "", errno=e.errno) from None
    return 0


def _state() -> dict[str, Any]:
    try:
        state = strictjson.loads(read_bounded(0, "the container's state from stdin", _MOST_STATE))
    except Invalid as e:
        raise Error("read the container's state from stdin", detail=str(e)) from None
    if not isinstance(state, dict) or not isinstance(state.get("id"), str):
        raise Error("read the container's state from stdin", detail="it has no id")
    return state


def _log(state: dict[str, Any], file: str) -> None:
    """A JSON object a line: when, and the state, which has no say in when."""
    line = {"time": "", **state}
    line["time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        fd = os.open(file, _APPEND, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Error("write the log", detail=f"{file} is not a regular file")
            write_all(fd, f"{strictjson.dumps(line)}\n".encode())
        finally:
            os.close(fd)
    except OSError as e:
        raise Error("write the log", call=f"open {file}", errno=e.errno) from None
