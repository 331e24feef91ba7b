"""The image's config to a container's (image-spec, conversion.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyrun.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyrun.spec.config import Config, User

_PREFIX = "org.opencontainers.image."


def apply(config: Config, image: dict[str, Any], args: Sequence[str], passwd: str, group: str) -> None:
    """Set what the image says in a config to start from. args: in place of the image's command; its entrypoint stays.
    passwd, group: those files of the image, as text. Raises Error."""
    said = image.get("config") or {}
    process = config["process"]
    process["args"] = [*(said.get("Entrypoint") or []), *(args or said.get("Cmd") or [])]
    if not process["args"]:
        raise Error(
            "make the bundle", detail="the image names no program", hint="add it: pyrun bundle IMAGE DIR -- ARGS"
        )
    process["cwd"] = said.get("WorkingDir") or "/"
    given = said.get("Env") or []
    names = {line.partition("=")[0] for line in given}
    process["env"] = [line for line in process.get("env", []) if line.partition("=")[0] not in names] + given
    process["user"] = user(str(said.get("User") or ""), passwd, group)
    annotations = {
        **(said.get("Labels") or {}),
        **{
            f"{_PREFIX}{name}": str(image[name])
            for name in ("os", "architecture", "author", "created")
            if image.get(name)
        },
    }
    if said.get("StopSignal"):
        annotations[f"{_PREFIX}stopSignal"] = said["StopSignal"]
    if said.get("ExposedPorts"):
        annotations[f"{_PREFIX}exposedPorts"] = ",".join(sorted(said["ExposedPorts"]))
    if annotations:
        config["annotations"] = annotations
    config["root"]["readonly"] = False


def user(text: str, passwd: str, group: str) -> User:
    """Whom `user`, `uid`, `user:group` and the like name. Raises Error for a name that the image has not."""
    name, colon, of = text.partition(":")
    rows = list(_rows(passwd, 7))
    row = next((r for r in rows if r[0] == name or (name.isdigit() and r[2] == name)), None)
    if name and not name.isdigit() and not row:
        raise _unknown("user", name, "/etc/passwd")
    found: User = {"uid": int(row[2] if row else name or 0), "gid": int(row[3]) if row else 0}
    if colon and of:
        groups = next((r for r in _rows(group, 4) if r[0] == of), None)
        if not of.isdigit() and not groups:
            raise _unknown("group", of, "/etc/group")
        found["gid"] = int(groups[2] if groups else of)
    elif row:
        more = [int(r[2]) for r in _rows(group, 4) if row[0] in r[3].split(",") and int(r[2]) != found["gid"]]
        if more:
            found["additionalGids"] = more
    return found


def _rows(text: str, fields: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        row = line.split(":")
        if len(row) == fields and row[2].isdigit() and (fields == 4 or row[3].isdigit()):
            yield row


def _unknown(kind: str, name: str, file: str) -> Error:
    return Error("make the bundle", detail=f"the image runs as {kind} {name!r}, and its {file} has none of that name")
