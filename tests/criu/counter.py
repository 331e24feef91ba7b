"""What counts in a container of a manager's, looked at from outside: by its init, in whose root it writes."""

from __future__ import annotations

from pathlib import Path

from conftest import until

# One end says each number to the other, and it counts once that has heard it. A dump interrupts sleep(1) of busybox,
# which ends then: it is in a loop where its end would be that of the connection.
CONNECTED = (
    "echo begun >> /tmp/begun; while sleep 100; do :; done | nc -l -p 99 > /tmp/heard & "
    "while ! grep -q :0063 /proc/net/tcp*; do sleep 0.05; done; i=0; "
    'while :; do i=$((i+1)); echo $i; until [ "$(tail -n 1 /tmp/heard)" = $i ]; do sleep 0.05; done; '
    "echo $i > /tmp/.n; mv /tmp/.n /tmp/n; done | nc 127.0.0.1 99"
)


def text(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/root/tmp/{name}").read_text()
    except OSError:
        return ""


def counts(pid: int, above: int = -1) -> int:
    """Wait until the counter is above that, or has gone on. Returns it."""
    floor = above if above >= 0 else int(text(pid, "n") or 0)
    return int(until(f"the counter above {floor}", lambda: int(text(pid, "n") or 0) > floor and text(pid, "n")))


def went_on(pid: int, before: int) -> None:
    """It counts on from there, and not from the beginning: it has begun once, or its files were left behind. One number
    may have been on its way to the other end of a connection."""
    counts(pid, above=before + 1)
    assert text(pid, "begun") in ("begun\n", "")
