"""Types at a terminal: `python at_terminal.py COMMAND PROMPT LINE...` runs a shell command at one, gives it each line
once it has printed the prompt, and prints what the terminal has shown."""

from __future__ import annotations

import os
import pty
import select
import sys

_SECONDS = 30
# Asks the terminal where its cursor is, which this one never says: busybox goes on without.
_WHERE = "\x1b[6n"


def main(command: str, prompt: str, *lines: str) -> None:
    pid, master = pty.fork()
    if not pid:
        os.execvp("sh", ["sh", "-c", command])
    shown = ""
    for line in lines:
        shown += _until(prompt, master)
        os.write(master, f"{line}\n".encode())
    print(shown + _until(None, master), end="")
    os.waitpid(pid, 0)


def _until(prompt: str | None, master: int) -> str:
    """What is shown up to the prompt at the beginning of a line, or else to the end."""
    shown = ""
    while not (prompt and f"\n{shown}".endswith(f"\n{prompt}")):
        if not select.select([master], [], [], _SECONDS)[0]:
            sys.exit(f"no prompt after {shown!r}")
        try:
            shown += os.read(master, 4096).decode().replace("\r", "").replace(_WHERE, "")
        except OSError:  # EIO: nobody has the terminal any more
            if prompt:
                sys.exit(f"no prompt after {shown!r}")
            break
    return shown


if __name__ == "__main__":
    main(*sys.argv[1:])
