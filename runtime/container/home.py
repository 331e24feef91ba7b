"""HOME, where process.env doesn't set it: from the container's own /etc/passwd, by number (CVE-2016-3697)."""

from __future__ import annotations

import posix

from pyrun.plan.process import HOME_ROOM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import Process

_MOST = 1 << 20
_S_IFMT, _S_IFREG = 0o170000, 0o100000


def answer(passwd: int, process: Process) -> bytes:
    """What a program that asks is told: "HOME=...", ended by NUL. `passwd`: the open file, or -1; it is closed."""
    home = "/"
    if passwd >= 0:
        home = _home_of(passwd, process.get("user", {}).get("uid", 0))
        posix.close(passwd)
    return f"HOME={home}\0".encode()


def _home_of(passwd: int, uid: int) -> str:
    if posix.fstat(passwd).st_mode & _S_IFMT != _S_IFREG:
        return "/"
    for line in posix.pread(passwd, _MOST, 0).split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == b"%d" % uid and fields[5]:
            home = fields[5].decode(errors="replace")
            return home if len(fields[5]) < HOME_ROOM - 16 and home.isprintable() else "/"
    return "/"
