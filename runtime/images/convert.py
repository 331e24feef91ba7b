"""The image's config to a container's (image-spec, conversion.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyrun.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyrun.spec.config import Config, User

_PREFIX = "org.opencontainers.image."
_OF_RUNTIMES = ("bundle", "org.criu.", "org.pyrun.", "org.systemd.", "run.oci.", "krun.", "module.wasm.")
_MOST_ID = (1 << 32) - 2


def apply(config: Config, image: dict[str, Any], args: Sequence[str], passwd: str, group: str) -> None:
    """Set what the image says in a config to start from. args: in place of the image's command; its entrypoint stays.
    passwd, group: those files of the image, as text. Raises Error."""
    said = image.get("config") or {}
    process = config["process"]
    process["args"] = [*_list(said, "Entrypoint"), *(args or _list(said, "Cmd"))]
    if not process["args"]:
        raise Error(
            "make the bundle", detail="the image names no program", hint="add it: pyrun bundle IMAGE DIR -- ARGS"
        )
    process["cwd"] = said.get("WorkingDir") or "/"
    given = _list(said, "Env")
    names = {line.partition("=")[0] for line in given}
    process["env"] = [line for line in process.get("env", []) if line.partition("=")[0] not in names] + given
    process["user"] = user(str(said.get("User") or ""), passwd, group)
    # What tells a runtime to do something is not the image's to say.
    labels = said.get("Labels") or {}
    annotations = {
        **{name: value for name, value in labels.items() if not name.startswith(_OF_RUNTIMES)},
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
    for number in (name, of):
        if _is_number(number) and (len(number) > 10 or int(number) > _MOST_ID):
            raise Error("make the bundle", detail=f"the image runs as {number[:20]}, which is no id")
    rows = list(_rows(passwd, 7))
    row = next((r for r in rows if r[0] == name or (_is_number(name) and r[2] == name)), None)
    if name and not _is_number(name) and not row:
        raise _unknown("user", name, "/etc/passwd")
    found: User = {"uid": int(row[2] if row else name or 0), "gid": int(row[3]) if row else 0}
    if colon and of:
        groups = next((r for r in _rows(group, 4) if r[0] == of), None)
        if not _is_number(of) and not groups:
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
        if len(row) == fields and _is_number(row[2]) and (fields == 4 or _is_number(row[3])):
            yield row


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _list(said: dict[str, Any], name: str) -> list[str]:
    found = said.get(name) or []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise TypeError(f"{name} is no list of strings")
    return found


def _unknown(kind: str, name: str, file: str) -> Error:
    return Error("make the bundle", detail=f"the image runs as {kind} {name!r}, and its {file} has none of that name")
