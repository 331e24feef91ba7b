"""What a config can ask for and pyrun can't do yet: refused by name, never accepted and ignored."""

from __future__ import annotations

from pyrun.runtime.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.spec.config import Config

# JSON pointers
PROPERTIES = (
    "/process/apparmorProfile",
    "/process/selinuxLabel",
    "/linux/netDevices",
    "/linux/mountLabel",
    "/linux/intelRdt",
)
NAMESPACES: tuple[str, ...] = ()
MOUNT_OPTIONS = ("tmpcopyup", "copy-symlink", "src-nofollow", "dest-nofollow")


def refuse(config: Config) -> None:
    """Raises Error for the first property that is asked for but not built."""
    for pointer in PROPERTIES:
        value: Any = config
        for name in pointer[1:].split("/"):
            value = value.get(name) if isinstance(value, dict) else None
        if value:
            raise Error(f"{pointer[1:].replace('/', '.')} is not supported yet", pointer=pointer)
    for i, namespace in enumerate(config.get("linux", {}).get("namespaces", [])):
        if namespace["type"] in NAMESPACES:
            raise Error(
                f"namespaces of type {namespace['type']} are not supported yet", pointer=f"/linux/namespaces/{i}/type"
            )
