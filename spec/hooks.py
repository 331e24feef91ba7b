"""The hooks of config.json (config.md "POSIX-platform Hooks")."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import HookKind

# In the order in which they run (runtime.md "Lifecycle").
HOOKS: tuple[HookKind, ...] = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)
