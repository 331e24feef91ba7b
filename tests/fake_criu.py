"""In place of CRIU: `fake_criu.py swrk 3` speaks its protocol, and does what the file `play` beside its link says.

What it is asked goes to the file `asked`, a line of JSON each. It is stricter than CRIU: what it does not know by name
is an error. Its processes sleep.
"""

from __future__ import annotations

import array
import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pyrun.criu.messages import DUMP, FEATURE_CHECK, NOTIFY, PRE_DUMP, REQUEST, RESPONSE, RESTORE, VERSION
from pyrun.criu.protobuf import decode, encode

_CLONE_PARENT, _SYS_CLONE = 0x8000, {"x86_64": 56, "aarch64": 220}[os.uname().machine]
UNREACHABLE = "(00.000000) Can't connect to server 10.0.0.1:99\n"
LOG = """(00.000001) Version: 4.1 (gitid 0)
(00.000002) Error (criu/first.c:12): the first thing
(00.000003)      7: Error (criu/second.c:34): the last thing: No such device
(00.000004) Unseizing 7 into 1
"""
# What an image has that is whole.
WRITTEN = "inventory.img"


@contextmanager
def frozen(cgroup: str) -> Iterator[None]:
    """Meanwhile, unless it is frozen already."""
    words = {"freezer.state": ("FROZEN", "THAWED"), "cgroup.freeze": ("1", "0")}
    found = next((Path(cgroup, name) for name in words if cgroup and Path(cgroup, name).exists()), None)
    if not found or found.read_text().strip() == words[found.name][0]:
        yield
        return
    found.write_text(words[found.name][0])
    try:
        yield
    finally:
        found.write_text(words[found.name][1])


class Fake:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.play = json.loads((folder / "play").read_text())
        self.socket = socket.socket(fileno=3)
        peer = struct.unpack("3i", self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        self.peer = f"/proc/{peer}/fd"

    def serve(self) -> None:
        while raw := self.socket.recv(1 << 16):
            request = decode(raw, REQUEST)
            assert encode(request, REQUEST) == raw, "it has what rpc.proto has not, or another order"
            opts = request.get("opts", {})
            seen = dict(opts)
            for name in ("images_dir_fd", "work_dir_fd"):
                if name in opts:
                    seen[name] = os.readlink(f"{self.peer}/{opts[name]}")
            if opts.get("config_file", "").startswith("/proc/"):
                seen["config_file"] = Path(opts["config_file"]).read_text()
            for row in seen.get("inherit_fd", []):
                row["is"] = os.readlink(f"/proc/self/fd/{row['fd']}")
            with (self.folder / "asked").open("a") as file:
                file.write(json.dumps({**request, "opts": seen}) + "\n")
            self.answer(request, opts)

    def answer(self, request: dict[str, Any], opts: dict[str, Any]) -> None:
        kind = request["type"]
        if kind == VERSION:
            self.say({"type": VERSION, "success": True, "version": {"major_number": 4, "minor_number": 1}})
        elif kind == FEATURE_CHECK:
            features = {name: name in self.play["features"] for name in request["features"]}
            self.say({"type": FEATURE_CHECK, "success": True, "features": features})
        elif kind in (DUMP, PRE_DUMP, RESTORE):
            self.work(kind, opts)
        else:
            raise AssertionError(request)

    def work(self, kind: int, opts: dict[str, Any]) -> None:
        play = self.play["play"]
        if play == "deaf":
            sys.exit("the option --nonsense is none")
        if play == "options":  # of cgroup2 are taken away, as by CRIU
            with TemporaryDirectory() as place:
                subprocess.run(["mount", "-t", "cgroup2", "none", place], check=True)
                subprocess.run(["umount", place], check=True)
        log = Path(f"{self.peer}/{opts['work_dir_fd']}") / opts["log_file"]
        log.write_text({"silent": "", "unreachable": UNREACHABLE + LOG}.get(play, LOG))
        if kind == RESTORE:
            pid = self.born()
            try:
                self.finish(kind, opts, pid)
            except OSError:  # nobody hears it any more
                os.kill(pid, signal.SIGKILL)
        else:
            with frozen(opts.get("freeze_cgroup", "")):
                self.finish(kind, opts, opts["pid"])

    def finish(self, kind: int, opts: dict[str, Any], pid: int) -> None:
        play = self.play["play"]
        for script in self.play.get("notices", []):
            self.notify(script, pid)
        if play == "death":
            os.kill(os.getpid(), signal.SIGKILL)
        if play == "garbage":
            self.socket.send(b"\x0b\xff")
            return
        if play in ("failure", "silent", "errmsg", "unreachable"):
            said = {"cr_errmsg": "Error (criu/net.c:1): one\nError (criu/net.c:2): two\n"} if play == "errmsg" else {}
            self.say({"type": kind, "success": False, "cr_errno": 19, **said})
            return
        if kind != RESTORE:
            Path(f"{self.peer}/{opts['images_dir_fd']}/{WRITTEN}").write_text("")
        if kind == DUMP and not opts["leave_running"]:
            os.kill(pid, signal.SIGKILL)
        self.say({"type": kind, "success": True, **({"restore": {"pid": pid}} if kind == RESTORE else {})})

    def born(self) -> int:
        """A process that is no child of ours, but of who has started us; it has executed its program by then."""
        executed, executes = os.pipe()
        pid: int = ctypes.CDLL(None).syscall(_SYS_CLONE, _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            null = os.open("/dev/null", os.O_RDWR)
            for number in range(3):
                os.dup2(null, number)
            os.closerange(3, executes)
            os.closerange(executes + 1, 200)
            os.execv("/bin/sleep", ["sleep", "1000"])
        os.close(executes)
        os.read(executed, 1)
        os.close(executed)
        # execve closes the pipe before it sets the arguments: there are none for a moment, and none for a zombie.
        while Path(f"/proc/{pid}/cmdline").read_bytes() != b"sleep\x001000\0":
            if Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "Z":
                sys.exit("what was restored has ended")
            time.sleep(0.001)
        return pid

    def notify(self, script: str, pid: int) -> None:
        fds = []
        if script == "orphan-pts-master":
            fds = list(os.openpty())
        message = encode({"type": NOTIFY, "success": True, "notify": {"script": script, "pid": pid}}, RESPONSE)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds[:1]))] if fds else []
        self.socket.sendmsg([message], ancillary)
        answer = decode(self.socket.recv(1 << 16), REQUEST)
        assert answer["type"] == NOTIFY, answer
        with (self.folder / "asked").open("a") as file:
            file.write(json.dumps({"notice": script, "success": answer["notify_success"]}) + "\n")
        if not answer["notify_success"]:
            self.say({"type": RESTORE, "success": False})
            sys.exit(1)

    def say(self, response: dict[str, Any]) -> None:
        self.socket.send(encode(response, RESPONSE))


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        lacks = json.loads((Path(__file__).parent / "play").read_text())["play"] == "failure"
        sys.exit(LOG if lacks else 0)
    assert sys.argv[1:] == ["swrk", "3"], sys.argv
    Fake(Path(__file__).parent).serve()
