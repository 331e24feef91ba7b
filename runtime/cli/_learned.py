"""run --seccomp-record FILE: the system calls that a container makes, as a profile that allows them and nothing else.

All of its calls are reported to us (seccomp_unotify(2)) and go on as if nobody had asked. Those of threads and children
are among them, since they inherit the filter; those of `exec` are not.

When nobody hears them any more, the kernel lets each of them fail with ENOSYS, and programs that don't look are in a
loop for ever. So init is killed then: by ourselves, or, when we have been killed, by a process that waits for our end.
"""

from __future__ import annotations

import array
import fcntl
import os
import platform
import select
import shutil
import socket
import stat
import struct
import tempfile
import threading
from contextlib import ExitStack, suppress
from errno import ENOENT, ENOTCONN
from typing import TYPE_CHECKING

from pyrun.container.policy import read
from pyrun.errors import Error
from pyrun.host.seccomp import call_name, call_names
from pyrun.kernel.files import write_all
from pyrun.kernel.signals import SIGKILL, pidfd_send_signal
from pyrun.spec import strictjson

if TYPE_CHECKING:
    from pyrun.log import Log
    from pyrun.spec.config import Seccomp

# linux/seccomp.h: SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND, SECCOMP_USER_NOTIF_FLAG_CONTINUE
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1
# struct seccomp_notif: id, pid, flags, then struct seccomp_data, which begins with the call's number and architecture
_NOTIFICATION, _RESPONSE = struct.Struct("<QIIiI56x"), struct.Struct("<QqiI")
_X32_BIT = 0x40000000
# Of each machine, its own first: the name in a profile, libseccomp's token, which is AUDIT_ARCH_ but for x32
_ARCHITECTURES = {
    "x86_64": {"SCMP_ARCH_X86_64": 0xC000003E, "SCMP_ARCH_X86": 0x40000003, "SCMP_ARCH_X32": 0x4000003E},
    "aarch64": {"SCMP_ARCH_AARCH64": 0xC00000B7, "SCMP_ARCH_ARM": 0x40000028},
}
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
_MOST_FD = (1 << 31) - 1
_SECONDS = 5  # for what another part of pyrun sends at once


def refuse(policy: str) -> None:
    """Raises Error where nothing can be recorded, or nothing may: what is recorded runs without a profile."""
    if os.geteuid() != 0:
        raise Error("--seccomp-record takes root: another can't take the listener, which is what tells of the calls")
    if policy and read(policy).rules.get("seccomp"):
        raise Error(
            "--seccomp-record replaces the config's profile",
            detail=f"{policy} asks for one, by its rule seccomp",
            hint="record without that policy",
        )


class Learned:
    """Listens while a container runs; `write` says what it has heard."""

    def __init__(self, file: str, log: Log) -> None:
        self._log = log
        self._architectures = _ARCHITECTURES[platform.machine()]
        self._names = set(call_names().values())
        self._seen: set[tuple[int, int]] = set()
        self._failure: BaseException | None = None
        self._init = -1
        # Before anything of the container is made.
        with ExitStack() as undo:
            self._output = _Output(file)
            undo.callback(self._output.close)
            try:
                self._folder = tempfile.mkdtemp(prefix="pyrun-")
                undo.callback(shutil.rmtree, self._folder, ignore_errors=True)
                self._heir = _Heir(self._folder, self._output.beside)
                undo.callback(self._heir.dismiss)
                self._socket = undo.enter_context(socket.socket(socket.AF_UNIX))
                self._socket.bind(f"{self._folder}/agent")
                self._socket.listen(8)
                self._ends, self._end = os.pipe()
            except OSError as e:
                raise Error("listen for the system calls", detail=str(e), hint="TMPDIR says where") from None
            self._undo = undo.pop_all()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def profile(self) -> Seccomp:
        """With which it is run: every call is reported, also one that libseccomp has no name for."""
        return {
            "defaultAction": "SCMP_ACT_NOTIFY",
            "architectures": [*self._architectures],
            "listenerPath": f"{self._folder}/agent",
        }

    def guard(self, pid: int) -> None:
        """The container is made, and `pid` is its init, a child of ours: it does not outlive who hears it."""
        self._init = os.pidfd_open(pid)
        self._heir.guard(self._init)
        if self._failure:  # before it could kill
            self._kill()

    def close(self) -> None:
        """Listen no more. FILE is as it was unless `write` has said otherwise: of a run that failed it would be no
        profile."""
        self._stop()
        if self._init >= 0:
            os.close(self._init)
        self._undo.close()

    def write(self) -> None:
        """The profile of what has been seen, once the run has come to its end. Raises Error."""
        self._stop()
        if self._failure:
            raise Error("record the system calls", detail=str(self._failure), hint="there is no profile of this run")
        names, used = {name for name in _ALWAYS if name in self._names}, [next(iter(self._architectures))]
        nameless = set()
        for token, number in self._seen:
            name = call_name(token, number)
            names |= {name} if name else set()
            nameless |= set() if name else {number}
            used += [word for word, known in self._architectures.items() if known == token and word not in used]
        if nameless:
            listed = ", ".join(map(str, sorted(nameless)))
            self._log.warning(f"libseccomp has no name for the system calls {listed}: the profile can't allow them")
        if len(used) > 1:
            self._log.warning(f"there were calls of {', '.join(used[1:])} too: the profile allows its names on each")
        profile: Seccomp = {
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": used,
            "syscalls": [{"names": sorted(names), "action": "SCMP_ACT_ALLOW"}],
        }
        self._output.write(strictjson.dumps(profile, indent=2) + "\n")

    def _stop(self) -> None:
        if self._end < 0:
            return
        os.close(self._end)
        self._end = -1
        self._thread.join()
        os.close(self._ends)

    def _kill(self) -> None:
        if self._init >= 0:
            with suppress(ProcessLookupError):
                pidfd_send_signal(self._init, SIGKILL)

    def _serve(self) -> None:
        listeners: list[int] = []
        try:
            while self._heard(listeners):
                continue
        except BaseException as e:  # whatever it is: nobody may wait for an answer from here on
            self._failure = e
            self._log.warning(f"the system calls can't be recorded any more, and the container is killed: {e}")
            self._kill()
        finally:
            self._socket.close()
            for fd in listeners:
                os.close(fd)

    def _heard(self, listeners: list[int]) -> bool:
        """What there is to be heard now. False: it is the end."""
        agent = self._socket.fileno()
        ready = select.select([self._ends, agent, *listeners], [], [])[0]
        for fd in listeners[:]:
            if fd in ready and not self._answer(fd):
                listeners.remove(fd)
                os.close(fd)
        if agent in ready:
            listeners += self._accept()
        return self._ends not in ready

    def _accept(self) -> list[int]:
        connection, _ = self._socket.accept()
        found = array.array("i")
        with connection:
            connection.settimeout(_SECONDS)
            for _, _, raw in connection.recvmsg(1, socket.CMSG_SPACE(4))[1]:
                found.frombytes(raw)
            while connection.recv(4096):
                continue
        return list(found)

    def _answer(self, listener: int) -> bool:
        """One call. False: nobody has that filter any more."""
        notification = bytearray(_NOTIFICATION.size)
        try:
            _ioctl(listener, _RECEIVE, notification)
            identity, _, _, number, token = _NOTIFICATION.unpack(notification)
            if token == _ARCHITECTURES["x86_64"]["SCMP_ARCH_X86_64"] and number & _X32_BIT:
                token = _ARCHITECTURES["x86_64"]["SCMP_ARCH_X32"]
            self._seen.add((token, number))
            _ioctl(listener, _SEND, bytearray(_RESPONSE.pack(identity, 0, 0, _CONTINUE)))
        except OSError as e:
            if e.errno not in (ENOENT, ENOTCONN):
                raise
            # Who called has been killed meanwhile, or there is nobody left.
            poll = select.poll()
            poll.register(listener, select.POLLIN)
            return not any(events & select.POLLHUP for _, events in poll.poll(0))
        return True


def _ioctl(fd: int, request: int, value: bytearray) -> None:
    """ioctl(2), again where a signal has come in between: an answer that is not given is waited for."""
    while True:
        try:
            fcntl.ioctl(fd, request, value)
        except InterruptedError:
            continue
        return


class _Output:
    """FILE: what is written lies beside it until it is whole."""

    def __init__(self, file: str) -> None:
        self._file = os.path.abspath(file)
        folder, name = os.path.split(self._file)
        try:
            with suppress(FileNotFoundError):
                if not stat.S_ISREG(os.lstat(self._file).st_mode):
                    raise Error("write the profile", detail=f"{file} is not a regular file")
            self._fd, self.beside = tempfile.mkstemp(prefix=f".{name[:200]}.", dir=folder)
        except OSError as e:
            raise Error("open the profile", call=f"open {file}", errno=e.errno) from None

    def write(self, text: str) -> None:
        mask = os.umask(0o077)
        os.umask(mask)
        try:
            write_all(self._fd, text.encode())
            os.fchmod(self._fd, 0o666 & ~mask)
            os.rename(self.beside, self._file)
        except OSError as e:
            raise Error("write the profile", call=f"rename to {self._file}", errno=e.errno) from None

    def close(self) -> None:
        os.close(self._fd)
        with suppress(FileNotFoundError):
            os.unlink(self.beside)


class _Heir:
    """A process that waits for our end, and, unless it has been dismissed before, kills init and removes our files.

    It is forked before there is a thread, and in a session of its own: a signal for our group is not for it. It has
    nothing of ours but one end of a socket: no listener, no lock, and no pipe that somebody waits for the end of."""

    def __init__(self, folder: str, file: str) -> None:
        self._ours, its = socket.socketpair()
        self._pid = os.fork()
        if not self._pid:
            try:
                os.setsid()
                os.closerange(0, its.fileno())
                os.closerange(its.fileno() + 1, _MOST_FD)
                os.chdir("/")
                self._inherit(its, folder, file)
            finally:
                os._exit(0)
        its.close()

    def guard(self, pidfd: int) -> None:
        socket.send_fds(self._ours, [b"i"], [pidfd])

    def dismiss(self) -> None:
        with suppress(OSError):
            self._ours.send(b"0")
        self._ours.close()
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    @staticmethod
    def _inherit(its: socket.socket, folder: str, file: str) -> None:
        init = -1
        while True:
            said, fds, _, _ = socket.recv_fds(its, 1, 1)
            if said == b"0":
                return
            if not said:
                break
            [init] = fds
        if init >= 0:
            with suppress(ProcessLookupError):
                pidfd_send_signal(init, SIGKILL)
        with suppress(FileNotFoundError):
            os.unlink(file)
        shutil.rmtree(folder, ignore_errors=True)
