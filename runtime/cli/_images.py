"""What the options of checkpoint and restore come to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pyrun.errors import Error

if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values

_SWITCHES = (
    "tcp_established", "tcp_close", "ext_unix_sk", "shell_job", "file_locks", "link_remap",
    "auto_dedup", "lazy_pages",
)  # fmt: skip


def common(context: Context, values: Values) -> dict[str, Any]:
    """Those of both."""
    image = os.path.abspath(values.text("image_path") or "checkpoint")
    return {
        "image_path": image,
        "work_path": os.path.abspath(values.text("work_path") or image),
        **{name: values.flag(name) for name in _SWITCHES if name in values},
        "manage_cgroups_mode": values.text("manage_cgroups_mode"),
        "network_lock": values.text("network_lock"),
        "empty_ns": tuple(values.texts("empty_ns")),
        "criu": context.criu,
    }


def number(values: Values, name: str) -> int:
    """-1 for one that is not given. Raises Error."""
    text = values.text(name)
    if text and not (text.isascii() and text.isdigit()):
        raise Error(f"--{name.replace('_', '-')} takes a number, not {text!r}")
    return int(text) if text else -1
