"""run --seccomp-record FILE: the system calls that a container makes, as a profile that allows them and nothing else.

All of its calls are reported to us (seccomp_unotify(2)) and go on as if nobody had asked. Those of threads and children
are among them, since they inherit the filter; those of `exec` are not.
"""

from __future__ import annotations

import array
import fcntl
import os
import platform
import select
import shutil
import socket
import struct
import tempfile
import threading
from typing import TYPE_CHECKING

from pyrun.errors import Error
from pyrun.host.seccomp import call_names
from pyrun.spec import strictjson

if TYPE_CHECKING:
    from pyrun.spec.config import Seccomp

# linux/seccomp.h: SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND, SECCOMP_USER_NOTIF_FLAG_CONTINUE
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1
# struct seccomp_notif: id, pid, flags, then struct seccomp_data, whose first member is the number of the call
_NOTIFICATION, _RESPONSE = struct.Struct("<QIIi60x"), struct.Struct("<QqiI")
# What never shows: calls that the vDSO answers where it can, and those that the kernel has a process make.
_ALWAYS = {
    "clock_gettime",
    "execve",
    "exit",
    "exit_group",
    "getcpu",
    "gettimeofday",
    "restart_syscall",
    "rt_sigreturn",
    "time",
}


class Learned:
    """Listens while a container runs; `write` says what it has heard."""

    def __init__(self, file: str) -> None:
        try:
            # Before anything is made.
            self._output = open(file, "w", encoding="utf-8")  # noqa: SIM115
        except OSError as e:
            raise Error("open the profile", call=f"open {file}", errno=e.errno) from None
        self._names = call_names()
        self._seen: set[int] = set()
        self._folder = tempfile.mkdtemp(prefix="pyrun-")
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(f"{self._folder}/agent")
        self._socket.listen(8)
        self._ends, self._end = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def profile(self) -> Seccomp:
        """With which it is run: every call is reported."""
        return {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": f"{self._folder}/agent",
            "syscalls": [{"names": sorted(self._names.values()), "action": "SCMP_ACT_NOTIFY"}],
        }

    def close(self) -> None:
        """Listen no more. What is in FILE is written by `write` alone: of a run that failed it would be no profile."""
        os.write(self._end, b"0")
        self._thread.join()
        os.close(self._end)
        os.close(self._ends)
        self._socket.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def write(self) -> None:
        """The profile of what has been seen; after `close`."""
        known = {self._names[number] for number in self._seen if number in self._names}
        there = set(self._names.values())
        machine = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[platform.machine()]
        profile: Seccomp = {
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": [machine],
            "syscalls": [{"names": sorted(known | _ALWAYS & there), "action": "SCMP_ACT_ALLOW"}],
        }
        with self._output:
            self._output.write(strictjson.dumps(profile, indent=2) + "\n")

    def _serve(self) -> None:
        listeners: list[int] = []
        agent = self._socket.fileno()
        while True:
            ready = select.select([self._ends, agent, *listeners], [], [])[0]
            for fd in listeners[:]:
                if fd in ready and not self._answer(fd):
                    listeners.remove(fd)
                    os.close(fd)
            if agent in ready:
                listeners += self._accept()
            if self._ends in ready:
                break
        for fd in listeners:
            os.close(fd)

    def _accept(self) -> list[int]:
        connection, _ = self._socket.accept()
        found = array.array("i")
        with connection:
            for _, _, raw in connection.recvmsg(1, socket.CMSG_SPACE(4))[1]:
                found.frombytes(raw)
            while connection.recv(4096):
                continue
        return list(found)

    def _answer(self, listener: int) -> bool:
        """One call. False: nobody has that filter any more."""
        notification = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, _RECEIVE, notification)
            identity, _, _, number = _NOTIFICATION.unpack(notification)
            self._seen.add(number)
            fcntl.ioctl(listener, _SEND, _RESPONSE.pack(identity, 0, 0, _CONTINUE))
        except FileNotFoundError:  # who called has been killed meanwhile, or there is nobody left
            poll = select.poll()
            poll.register(listener, select.POLLIN)
            return not any(events & select.POLLHUP for _, events in poll.poll(0))
        return True
