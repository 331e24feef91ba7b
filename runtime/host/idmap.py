"""linux.uidMappings and gidMappings, written from outside (user_namespaces(7))."""

from __future__ import annotations

import posix

from pyrun.errors import Error
from pyrun.kernel import files
from pyrun.kernel.process import await_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.caller import Caller
    from pyrun.spec.config import IDMapping, Linux

# Callers start the runtime with no PATH at all.
HELPER_DIRECTORIES = ("/usr/bin", "/bin", "/usr/local/bin")


def write(pid: int, linux: Linux, caller: Caller, at: str = "/linux") -> None:
    """Map the ids of the user namespace that `pid` has just made. `at`: where in the config the mappings are. Raises
    Error."""
    uids, gids = linux.get("uidMappings", []), linux.get("gidMappings", [])
    privileged = posix.geteuid() == 0
    if not privileged and not _helped(gids, posix.getegid()):
        # Before gid_map: otherwise groups that deny access could be dropped (CVE-2014-8989).
        _write(pid, "setgroups", "deny", f"{at}/gidMappings")
    for file, helper, mappings, own, pointer in (
        ("uid_map", "newuidmap", uids, posix.geteuid(), f"{at}/uidMappings"),
        ("gid_map", "newgidmap", gids, posix.getegid(), f"{at}/gidMappings"),
    ):
        if not privileged and _helped(mappings, own):
            _help(pid, helper, mappings, pointer, caller)
        else:
            text = "".join(f"{m['containerID']} {m['hostID']} {m['size']}\n" for m in mappings)
            _write(pid, file, text, pointer)


def root_ids(pid: int) -> tuple[int, int]:
    """The uid and gid that 0 is in the user namespace of `pid`, as ids of the host (user_namespaces(7))."""
    found = []
    for name in ("uid_map", "gid_map"):
        rows = [line.split() for line in files.read_bytes(f"/proc/{pid}/{name}").splitlines()]
        found.append(next((int(outside) for inside, outside, _ in rows if inside == b"0"), 0))
    return found[0], found[1]


def _helped(mappings: list[IDMapping], own: int) -> bool:
    """Without privilege only the caller's own id can be mapped; for others there are newuidmap and newgidmap."""
    return len(mappings) != 1 or mappings[0]["size"] != 1 or mappings[0]["hostID"] != own


def _write(pid: int, file: str, text: str, pointer: str) -> None:
    path = f"/proc/{pid}/{file}"
    try:
        files.write(path, text)
    except OSError as e:
        hint = "mappings must not overlap, and the host ids must be mapped here"
        raise Error("map ids", pointer=pointer, call=f"write {file}", errno=e.errno, hint=hint) from None


def _help(pid: int, helper: str, mappings: list[IDMapping], pointer: str, caller: Caller) -> None:
    numbers = [str(n) for m in mappings for n in (m["containerID"], m["hostID"], m["size"])]
    for directory in HELPER_DIRECTORIES:
        try:
            child = posix.posix_spawn(f"{directory}/{helper}", [helper, str(pid), *numbers], {})
        except FileNotFoundError:
            continue
        if posix.waitstatus_to_exitcode(await_child(child, caller)):
            words = f"{helper} {pid} {' '.join(numbers)} failed"
            raise Error("map ids", pointer=pointer, detail=words, hint="see /etc/subuid and /etc/subgid")
        return
    hint = "install the package uidmap, or map only your own id"
    raise Error("map ids", pointer=pointer, detail=f"{helper} not found in {':'.join(HELPER_DIRECTORIES)}", hint=hint)
