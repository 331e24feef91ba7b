"""pyrun update ID: other limits, from options or from a document."""

from __future__ import annotations

from pyrun.container.bundle import absolute
from pyrun.errors import ConfigError, Error
from pyrun.kernel.files import read_bounded, read_document
from pyrun.spec import config as spec_config
from pyrun.spec import schema, strictjson
from pyrun.spec.faults import Invalid
from pyrun.spec.unknown import unknown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values
    from pyrun.log import Log
    from pyrun.spec.config import Resources

_SUFFIXES = "kmgtp"


def _bytes(text: str) -> int:
    """A number of bytes, with a suffix k, m, g, t or p (and b or ib behind it), or -1. Raises ValueError."""
    number = text.lower().removesuffix("b").removesuffix("i")
    factor = 1
    if number[-1:] in _SUFFIXES and number[-1:]:
        factor = 1024 ** (_SUFFIXES.index(number[-1]) + 1)
        number = number[:-1]
    return int(float(number) * factor) if "." in number else int(number) * factor


# option, section, member, conversion
OPTIONS: tuple[tuple[str, str, str, Callable[[str], Any]], ...] = (
    ("blkio_weight", "blockIO", "weight", int),
    ("cpu_period", "cpu", "period", int),
    ("cpu_quota", "cpu", "quota", int),
    ("cpu_burst", "cpu", "burst", int),
    ("cpu_share", "cpu", "shares", int),
    ("cpu_rt_period", "cpu", "realtimePeriod", int),
    ("cpu_rt_runtime", "cpu", "realtimeRuntime", int),
    ("cpu_idle", "cpu", "idle", int),
    ("cpuset_cpus", "cpu", "cpus", str),
    ("cpuset_mems", "cpu", "mems", str),
    ("memory", "memory", "limit", _bytes),
    ("memory_reservation", "memory", "reservation", _bytes),
    ("memory_swap", "memory", "swap", _bytes),
    ("kernel_memory", "memory", "kernel", _bytes),
    ("kernel_memory_tcp", "memory", "kernelTCP", _bytes),
    ("pids_limit", "pids", "limit", int),
)


def run(context: Context, values: Values, arguments: list[str]) -> int:
    wanted = _document(values.text("resources"), context.caller.log) if values["resources"] else _options(values)
    schemata = [(f"--{key.replace('_', '-')}", values.text(key)) for key in ("l3_cache_schema", "mem_bw_schema")]
    with context.open(arguments[0]).locked() as container:
        if context.require:
            from pyrun.container.policy import enforce_part  # lazy: only with --require

            enforce_part(context.require, "resources", wanted, container)
        container.update(wanted, [row for row in schemata if row[1]])
    return 0


def _options(values: Values) -> Resources:
    found: dict[str, dict[str, Any]] = {}
    for option, section, member, convert in OPTIONS:
        text = values.text(option)
        if not text:
            continue
        try:
            found.setdefault(section, {})[member] = convert(text)
        except (ValueError, OverflowError):
            raise Error(f"--{option.replace('_', '-')} takes a number, not {text!r}") from None
    return _checked(strictjson.dumps(found).encode())


def _document(path: str, log: Log) -> Resources:
    """Resources as in config.json, from a file, or from stdin for `-`. What is unknown there is warned of."""
    try:
        raw = read_bounded(0, "stdin") if path == "-" else read_document(absolute(path))
    except OSError as e:
        raise Error("read the resources", call=f"open {path}", errno=e.errno) from None
    found = _checked(raw)
    for fault in unknown(found, schema.load("config", "resources")):
        log.warning(str(fault))
    return found


def _checked(raw: bytes) -> Resources:
    try:
        return spec_config.load_resources(raw)
    except Invalid as e:
        raise ConfigError(e.faults, "invalid resources") from None
