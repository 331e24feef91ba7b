"""A container in a program's hands: made, started, waited for and removed, with its streams."""

from __future__ import annotations

import os
import secrets
import select
import selectors
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from pyrun.caller import Caller
from pyrun.container.bundle import CreateOptions
from pyrun.container.container import Container as Inner
from pyrun.container.create import create
from pyrun.container.exec import ExecOptions
from pyrun.container.gather import seccomp_filter
from pyrun.container.store import containers
from pyrun.errors import ConfigError, DoesNotExistError, Error, NotRunningError
from pyrun.spec.checks import process_faults

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self, TypeAlias

    from pyrun.container.state import Status
    from pyrun.library.bundle import Bundle
    from pyrun.spec.config import Process as Wanted
    from pyrun.spec.config import Resources

    # As of subprocess: PIPE, DEVNULL, STDOUT (of stderr), a descriptor, a file; None: the program's own.
    Stream: TypeAlias = "int | BinaryIO | None"


_SECONDS = 10  # for the kernel to end what is killed


class Completed(NamedTuple):
    """How a program ended: its exit status, 128 + N when signal N ended it, and what it wrote to the pipes."""

    code: int
    stdout: bytes
    stderr: bytes


class Process:
    """A program that was started here: a container's first one, or one of `exec`. stdin, stdout, stderr: our ends of
    its pipes, where those were asked for. terminal: the master of its terminal, if it has one."""

    def __init__(self, pid: int, streams: _Streams, console: int) -> None:
        self.pid = pid
        self.stdin, self.stdout, self.stderr = streams.ours
        self.terminal = cast("BinaryIO", os.fdopen(console, "r+b", buffering=0)) if console >= 0 else None
        self._pidfd = os.pidfd_open(pid)
        self._code: int | None = None
        self._waiting = threading.Lock()

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, 128 + N when signal N ended it. timeout: seconds; TimeoutError when they are over."""
        if self._code is None:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            if not poll.poll(None if timeout is None else timeout * 1000):
                raise TimeoutError(f"process {self.pid} has not ended within {timeout} s")
        with self._waiting:  # it is told once how a child ended
            if self._code is None:
                ended = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
                assert ended
                self._code = ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status
        return self._code

    def has_ended(self) -> bool:
        """Whether `wait` would return at once."""
        return self._code is not None or bool(select.select([self._pidfd], [], [], 0)[0])

    def communicate(self, data: bytes = b"", timeout: float | None = None) -> Completed:
        """Write to its stdin, read its pipes to their ends, and wait for it. TimeoutError when the time is over: it
        runs on then, and so does whoever else has the pipes."""
        end = None if timeout is None else time.monotonic() + timeout
        found = {file: bytearray() for file in (self.stdout, self.stderr) if file}
        with selectors.DefaultSelector() as selector:
            for file in found:
                selector.register(file, selectors.EVENT_READ)
            if self.stdin and data:
                os.set_blocking(self.stdin.fileno(), False)
                selector.register(self.stdin, selectors.EVENT_WRITE)
            elif self.stdin:
                self.stdin.close()
            while selector.get_map():
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(f"process {self.pid} and its pipes have not ended within {timeout} s")
                for key, _ in selector.select(left):
                    if key.fileobj is self.stdin:
                        try:
                            data = data[os.write(key.fd, data) :]
                        except BlockingIOError:
                            continue
                        except BrokenPipeError:
                            data = b""  # it does not read
                        if data:
                            continue
                        selector.unregister(self.stdin)
                        self.stdin.close()
                    elif piece := os.read(key.fd, 1 << 16):
                        found[cast("BinaryIO", key.fileobj)] += piece
                    else:
                        selector.unregister(key.fileobj)
        code = self.wait(None if end is None else max(0.0, end - time.monotonic()))
        said = [bytes(found[file]) if file else b"" for file in (self.stdout, self.stderr)]
        return Completed(code, said[0], said[1])

    def kill(self, number: int = 9) -> None:
        """Send it a signal. Raises NotRunningError."""
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            raise NotRunningError() from None

    def close(self) -> None:
        """Close its streams. One that runs on can still be waited for: until somebody has, it keeps the container's pid
        namespace from ending."""
        for file in (self.stdin, self.stdout, self.stderr, self.terminal):
            if file:
                file.close()
        if self.has_ended():
            self.wait()
        if self._code is not None and self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Container:
    """A container of a store. As a context manager it is removed at the end, whatever it does then.

        with Container.create(bundle, stdout=subprocess.PIPE) as box:
            box.start()
            print(box.init.communicate().stdout)

    id: its name. root: the store. init: its first process, None when another program made it. Methods raise Error."""

    def __init__(self, root: str, name: str, init: Process | None = None) -> None:
        self.root = root
        self.id = name
        self.init = init
        self._programs: list[Process] = []

    @classmethod
    def create(
        cls,
        bundle: Bundle,
        name: str = "",
        *,
        root: str = "",
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        systemd: bool = False,
    ) -> Self:
        """Make it; its program waits for `start`. The bundle's config.json is written. name: a new one by default.
        root: the store (default: pyrun's own). systemd: let systemd make its cgroup. Raises Error, and leaves nothing
        behind."""
        bundle.save()
        caller = Caller(environ=os.environb)
        root = os.path.abspath(root) if root else caller.default_root()
        name = name or f"pyrun-{secrets.token_hex(6)}"
        with _Streams(stdin, stdout, stderr) as streams:
            options = CreateOptions(
                bundle=bundle.path,
                cgroup_manager="systemd" if systemd else "cgroupfs",
                keep_console=True,
                stdio=streams.its,
            )
            created = create(root, name, options, caller)
            try:
                created.executor.close()
                init = Process(created.container.state["pid"], streams, created.console)
            except BaseException:
                created.container.delete(force=True)
                raise
            finally:
                created.container.close()
        return cls(root, name, init)

    @classmethod
    def open(cls, name: str, *, root: str = "") -> Self:
        """One that is there. Raises DoesNotExistError."""
        found = cls(os.path.abspath(root) if root else Caller().default_root(), name)
        with found._inner():
            return found

    @classmethod
    def all(cls, *, root: str = "") -> list[Self]:
        """Those of a store, by name."""
        where = os.path.abspath(root) if root else Caller().default_root()
        return [cls(where, name) for name in containers(where)]

    def start(self) -> None:
        """Let its program run. Raises ExecutableError when it can't be executed."""
        with self._inner().locked() as inner:
            inner.start()

    @property
    def status(self) -> Status:
        """created, running, paused or stopped."""
        with self._inner() as inner:
            return inner.status

    @property
    def state(self) -> dict[str, object]:
        """The State of the specification, with owner and created."""
        with self._inner() as inner:
            return inner.describe()

    def wait(self, timeout: float | None = None) -> int:
        """The exit status of its first process. Raises Error for one that another program made: only a parent is told
        how a child ended."""
        if not self.init:
            raise Error(f"container {self.id}: how it ends is told to who made it")
        return self.init.wait(timeout)

    def exec(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        cwd: str = "",
        user: tuple[int, int] | None = None,
        terminal: bool = False,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
    ) -> Process:
        """Run one more program in it, as its first one but for what is said here. env: added to that one's."""
        with self._inner() as inner, _Streams(stdin, stdout, stderr) as streams:
            config = inner.config()
            process: Wanted = {**config.get("process", {}), "args": [*args], "terminal": terminal}
            process["env"] = [*process.get("env", []), *(f"{key}={value}" for key, value in (env or {}).items())]
            if cwd:
                process["cwd"] = cwd
            if user:
                process["user"] = {"uid": user[0], "gid": user[1]}
            if faults := process_faults(process):
                raise ConfigError(faults, "invalid process")
            options = ExecOptions(
                seccomp=seccomp_filter(config, inner.caller),
                profile=config.get("linux", {}).get("seccomp"),
                linux=config.get("linux"),
                stdio=streams.its,
            )
            pid, console = inner.execute(process, options)
            made = Process(pid, streams, console)
        self._programs = [program for program in self._programs if not program.has_ended()] + [made]
        return made

    def kill(self, number: int = 15, *, everything: bool = False) -> None:
        """Send a signal to its first process; everything: to all of them. Raises NotRunningError."""
        with self._inner() as inner:
            inner.kill(number, everything)

    def pause(self) -> None:
        """Stop all of its processes where they are."""
        with self._inner().locked() as inner:
            inner.pause()

    def resume(self) -> None:
        """Let them run again."""
        with self._inner().locked() as inner:
            inner.resume()

    def update(self, resources: Resources) -> None:
        """Other limits, as in linux.resources: all of them, or none."""
        with self._inner().locked() as inner:
            inner.update(resources)

    def processes(self) -> list[int]:
        """The pids of its processes, as the host has them."""
        with self._inner() as inner:
            return inner.processes()

    def stats(self) -> dict[str, object]:
        """What it uses, in the shape of runc's `events --stats`: cpu, memory, pids, blkio and more."""
        with self._inner() as inner:
            inner.require_running()
            return inner.statistics()

    def watch(self, interval: float = 1.0) -> Iterator[dict[str, object]]:
        """`stats`, every so many seconds, until its first process has ended."""
        with self._inner() as inner:
            pidfd = inner.open_init()
            try:
                while True:
                    yield inner.statistics()
                    if select.select([pidfd], [], [], interval)[0]:
                        return
            finally:
                os.close(pidfd)

    def delete(self, *, force: bool = False) -> None:
        """Remove it; force: also one that runs, which is killed. Raises DoesNotExistError."""
        for program in self._programs if force else ():
            # A child of this process: until it is waited for, the container's pid namespace doesn't end.
            if not program.has_ended():
                program.kill(9)
            program.wait(_SECONDS)
            program.close()
        with self._inner().locked() as inner:
            inner.delete(force)
        if self.init:
            self.init.wait()

    def close(self) -> None:
        """Let go of what is open of its first process; it stays as it is."""
        if self.init:
            self.init.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.delete(force=True)
        except DoesNotExistError:
            pass  # it has been deleted already
        finally:
            self.close()

    def _inner(self) -> Inner:
        return Inner.open(self.root, self.id, Caller(environ=os.environb))


def run(
    bundle: Bundle, *args: str, data: bytes = b"", timeout: float | None = None, root: str = "", name: str = ""
) -> Completed:
    """Run a bundle to its end, and remove the container: what subprocess.run is for programs. args: the program, in
    place of the config's; data: what it reads from stdin. TimeoutError when the time is over: it is killed then."""
    if args:
        bundle.run(*args)
    pipe = subprocess.PIPE
    with Container.create(bundle, name, root=root, stdin=pipe, stdout=pipe, stderr=pipe) as container:
        container.start()
        assert container.init
        return container.init.communicate(data, timeout)


class _Streams:
    """ours: our ends of pipes, None where there is none. its: the descriptors that the program gets for 0, 1 and 2,
    which are closed here at the end of the block where they were opened here."""

    def __init__(self, *asked: Stream) -> None:
        self.its: list[int] = []
        self.ours: list[BinaryIO | None] = []
        self._opened: list[int] = []
        try:
            self._open(asked)
        except BaseException as e:
            self.__exit__(type(e))
            raise

    def _open(self, asked: tuple[Stream, ...]) -> None:
        for number, stream in enumerate(asked):
            ours: BinaryIO | None = None
            if stream is None:
                fd = number
            elif stream == subprocess.PIPE:
                read, write = os.pipe()
                fd, mine = (read, write) if number == 0 else (write, read)
                ours = os.fdopen(mine, "rb", buffering=0) if number else os.fdopen(mine, "wb", buffering=0)
                self._opened.append(fd)
            elif stream == subprocess.DEVNULL:
                fd = os.open(os.devnull, os.O_RDWR)
                self._opened.append(fd)
            elif stream == subprocess.STDOUT:
                if number != 2:
                    raise ValueError("STDOUT is for stderr")
                fd = self.its[1]
            else:
                fd = stream if isinstance(stream, int) else stream.fileno()
            self.its.append(fd)
            self.ours.append(ours)

    def __enter__(self) -> _Streams:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for fd in self._opened:
            os.close(fd)
        for file in self.ours:
            if file and kind:
                file.close()
