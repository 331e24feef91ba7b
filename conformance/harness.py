"""A runtime's command line as a black box: bundles, containers, and what may be left of them. Nothing here knows one
runtime from another."""

from __future__ import annotations

import array
import contextlib
import ctypes
import itertools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

MNT_DETACH, MS_REMOUNT = 2, 32
V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
V2_CONTROLLERS = {"cpu", "cpuset", "hugetlb", "io", "memory", "misc", "pids", "rdma"}
APPLETS = (
    "ash", "cat", "chmod", "chown", "cp", "cut", "dd", "df", "env", "find", "grep", "head", "hostname", "id",
    "ifconfig", "ip", "kill", "ln", "ls", "mkdir", "mkfifo", "mknod", "mount", "mv", "nc", "nproc", "printenv", "ps",
    "pwd", "readlink", "rm", "rmdir", "sed", "sh", "sleep", "sort", "stat", "stty", "sync", "tail", "test", "touch",
    "tr", "true", "tty", "umount", "uname", "unshare", "wc",
)  # fmt: skip
EXAMPLE: dict[str, Any] = {
    "ociVersion": "1.0.2",  # what every runtime in use takes
    "process": {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/true"],
        "env": ["PATH=/bin:/sbin:/usr/bin:/usr/sbin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {
            kind: ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
            for kind in ("bounding", "effective", "permitted")
        },
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "conformance",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
        },
    ],
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    },
}

WAITING = 'trap "exit 3" TERM; echo up; while true; do sleep 0.01; done'

libc = ctypes.CDLL(None, use_errno=True)
numbers = itertools.count(1)


def hear(fd: int) -> bytes:
    """What comes next; b"" when nobody is left who could write."""
    assert select.select([fd], [], [], 20)[0], "nothing is said"
    return os.read(fd, 4096)


@dataclass
class Done:
    """A command that has ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


def enterable(path: Path) -> None:
    """Others may enter a directory of a test's: it, and those that pytest keeps it in."""
    for directory in (*list(path.parents)[:2], path):
        mode = directory.stat().st_mode & 0o7777
        if not mode & 0o001:
            directory.chmod(mode | 0o011)


class Runtime:
    """The binary with a --root of the test's own. wide: options for all of its commands, which the command line of the
    tests asks for."""

    wide: ClassVar[tuple[str, ...]] = ()

    def __init__(self, binary: str, folder: Path) -> None:
        self.binary = binary
        self.name = Path(binary).name
        self.folder = folder
        self.root = folder / "state"
        self.containers: list[Container] = []

    def command(self, *arguments: str | Path, options: tuple[str, ...] = ()) -> list[str]:
        return [self.binary, "--root", str(self.root), *self.wide, *options, *map(str, arguments)]

    def __call__(self, *arguments: str | Path, options: tuple[str, ...] = (), **popen: Any) -> Done:
        """Run it to its end. Output goes through files: a pipe would be held open by a container that lives on."""
        out, err = self.folder / "out", self.folder / "err"
        with open(out, "wb") as o, open(err, "wb") as e, open(self.folder / "in", "a+b") as i:
            streams: dict[str, Any] = {"stdin": i, "stdout": o, "stderr": e, "timeout": 20, "check": False, **popen}
            code = subprocess.run(self.command(*arguments, options=options), **streams).returncode
        return Done(code, out.read_text(errors="replace"), err.read_text(errors="replace"))

    def ok(self, *arguments: str | Path, **popen: Any) -> str:
        """What it prints when it succeeds."""
        done = self(*arguments, **popen)
        assert done.code == 0, done
        return done.out

    def ids(self) -> list[str]:
        return sorted(os.listdir(self.root)) if self.root.exists() else []


@dataclass
class Bundle:
    """A folder with a busybox in its rootfs; `config` is what write() puts into config.json."""

    path: Path
    config: dict[str, Any]
    rootfs: Path = field(init=False)

    def __post_init__(self) -> None:
        self.rootfs = self.path / "rootfs"

    @property
    def process(self) -> dict[str, Any]:
        process: dict[str, Any] = self.config["process"]
        return process

    @property
    def linux(self) -> dict[str, Any]:
        linux: dict[str, Any] = self.config["linux"]
        return linux

    def mount(self, destination: str, kind: str = "tmpfs", source: str = "", *options: str) -> dict[str, Any]:
        """Append a mount."""
        entry = {"destination": destination, "type": kind, "source": str(source) or kind, "options": list(options)}
        self.config["mounts"].append(entry)
        return entry

    def without_mount(self, *destinations: str) -> None:
        self.config["mounts"] = [m for m in self.config["mounts"] if m["destination"] not in destinations]

    def namespace(self, kind: str, path: str = "") -> None:
        """Add a namespace, or give the one that is there a path."""
        self.without_namespace(kind)
        self.linux["namespaces"].append({"type": kind, "path": path} if path else {"type": kind})

    def without_namespace(self, *kinds: str) -> None:
        self.linux["namespaces"] = [n for n in self.linux["namespaces"] if n["type"] not in kinds]

    def user_namespace(self, first: int = 100000, count: int = 65536) -> None:
        """A user namespace whose ids begin at `first` on the host; the image is given to its root."""
        self.namespace("user")
        for key in ("uidMappings", "gidMappings"):
            self.linux[key] = [{"containerID": 0, "hostID": first, "size": count}]
        for folder, _, names in os.walk(self.rootfs):
            for path in (folder, *(f"{folder}/{name}" for name in names if name != "busybox")):
                os.chown(path, first, first, follow_symlinks=False)

    def capabilities(self, *names: str, sets: tuple[str, ...] = ("bounding", "effective", "permitted")) -> None:
        self.process["capabilities"] = {kind: list(names) for kind in sets}

    def hook(self, kind: str, script: str, **more: Any) -> None:
        """A hook of the host's that is a shell script."""
        hook = {"path": "/bin/sh", "args": ["sh", "-c", script], **more}
        self.config.setdefault("hooks", {}).setdefault(kind, []).append(hook)

    def script(self, path: str, text: str, mode: int = 0o755) -> Path:
        """A file of the image."""
        file = self.rootfs / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def write(self) -> None:
        (self.path / "config.json").write_text(json.dumps(self.config, indent=1))


class Container(Bundle):
    """A bundle and the id under which it runs."""

    def __init__(self, runtime: Runtime, path: Path, config: dict[str, Any]) -> None:
        super().__init__(path, config)
        self.runtime = runtime
        self.id = f"test-{os.getpid()}-{next(numbers)}"
        runtime.containers.append(self)

    @property
    def args(self) -> list[str]:
        args: list[str] = self.process["args"]
        return args

    @args.setter
    def args(self, args: list[str]) -> None:
        self.process["args"] = args

    def sh(self, script: str) -> None:
        self.args = ["/bin/sh", "-c", script]

    def run(self, script: str = "", *flags: str, **popen: Any) -> Done:
        """`run` in the foreground; `script` is what the shell inside does."""
        if script:
            self.sh(script)
        self.write()
        return self.runtime("run", "--bundle", self.path, *flags, self.id, **popen)

    def sees(self, script: str, *flags: str, **popen: Any) -> str:
        """What the script prints in the container."""
        done = self.run(script, *flags, **popen)
        assert (done.code, done.err) == (0, ""), done
        return done.out.strip()

    def refused(self, verb: str = "create") -> str:
        """create fails, and nothing is left of it (MUST 19); returns what it says."""
        self.write()
        done = self.runtime(verb, "--bundle", self.path, self.id)
        assert done.code != 0, done
        assert done.err or done.out, "fails without a word"
        assert not self.exists(), "the container is there after all"
        return done.err

    def create(self, *flags: str, **popen: Any) -> None:
        self.write()
        done = self.runtime("create", "--bundle", self.path, *flags, self.id, **popen)
        assert (done.code, done.out, done.err) == (0, "", ""), done

    def start(self) -> None:
        self.runtime.ok("start", self.id)

    def up(self, script: str = WAITING, *flags: str) -> int:
        """Create and start it, until its program has said its first word; returns the pid."""
        read, write = os.pipe()
        self.sh(script)
        self.create(*flags, stdout=write)
        os.close(write)
        pid = self.pid
        self.start()
        assert hear(read) == b"up\n"
        os.close(read)
        return pid

    def kill(self, name: str = "KILL", *flags: str) -> None:
        self.runtime.ok("kill", *flags, self.id, name)

    def delete(self, *flags: str) -> None:
        self.runtime.ok("delete", *flags, self.id)

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.runtime.ok("state", self.id))
        return state

    @property
    def status(self) -> str:
        return str(self.state()["status"])

    @property
    def pid(self) -> int:
        return int(self.state()["pid"])

    def exists(self) -> bool:
        return (self.runtime.root / self.id).exists() or self.runtime("state", self.id).code == 0

    def wait(self, pid: int) -> int:
        """The end of init, which is a child of the tests by now: its exit code, or minus the signal's number."""
        pidfd = os.pidfd_open(pid)
        try:
            assert select.select([pidfd], [], [], 20)[0], "it doesn't end"
        finally:
            os.close(pidfd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def start_and_wait(self) -> int:
        pid = self.pid
        self.start()
        return self.wait(pid)


class Listener:
    """What conmon does: listens at a socket for one message with one descriptor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(1)
        self.socket.settimeout(20)
        self.master = -1

    def receive(self) -> bytes:
        connection, _ = self.socket.accept()
        with connection:
            connection.settimeout(20)
            data, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(8))
            assert connection.recv(100) == b""
        [(level, kind, raw)] = ancillary
        assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        [self.master] = array.array("i", raw)
        return data

    def read_to_end(self) -> str:
        return read_to_end(self.master)

    def close(self) -> None:
        self.socket.close()
        if self.master >= 0:
            os.close(self.master)


def read_to_end(master: int) -> str:
    """All that is written to the other side of a pty until it is closed."""
    said = b""
    while True:
        assert select.select([master], [], [], 20)[0], said
        try:
            part = os.read(master, 4096)
        except OSError:
            break
        if not part:
            break
        said += part
    return said.decode().replace("\r\n", "\n")


def process_status(container: Container) -> dict[str, str]:
    """/proc/self/status of the container's process, by name."""
    container.args = ["/bin/cat", "/proc/self/status"]
    return dict(line.split(":\t", 1) for line in container.sees("").splitlines() if ":\t" in line)


def mounts() -> set[str]:
    return set(Path("/proc/self/mountinfo").read_text().splitlines())


def descriptors() -> dict[str, str]:
    """The test process's own, by number; that of the listing itself is gone by the time of its readlink."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
    return found


def processes() -> list[int]:
    """Children of the test process that still run; what has ended is reaped."""
    children = map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
    return [pid for pid in children if os.waitpid(pid, os.WNOHANG) == (0, 0)]


def ends(pid: int) -> bool:
    """Give a child a moment to end, and reap it. It may have been killed just now, with the process group of a hook:
    nobody but the test process can wait for those."""
    pidfd = os.pidfd_open(pid)
    ended = bool(select.select([pidfd], [], [], 2)[0])
    os.close(pidfd)
    if ended:
        os.waitpid(pid, 0)
    return ended


def restore_options(before: set[str]) -> None:
    """Those of cgroup2, which has one superblock: they are of whoever mounts it last outside of a namespace of its own.
    One test looks at that (test_cgroups.py); it would fail all the others after it."""
    options = {line.split()[0]: line.split()[-1] for line in before}
    for line in mounts() - before:
        number, point, kind = (line.split()[i] for i in (0, 4, -3))
        if kind == "cgroup2" and number in options:
            data = options[number].removeprefix("rw").lstrip(",")
            libc.mount(b"none", point.encode(), None, MS_REMOUNT, data.encode())


def own_cgroup(container: Container, controller: str) -> Path:
    """The cgroup of the container's init where the controller is. Skips the test where this kernel hasn't got it."""
    for line in Path(f"/proc/{container.pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return Path(f"/sys/fs/cgroup/{names.removeprefix('name=')}{path}")
        # On version 2 freezer and devices are no controllers, and always there.
        if not names and V2 and (controller not in V2_CONTROLLERS or controller in controllers(path)):
            return Path(f"/sys/fs/cgroup{path}")
    pytest.skip(f"this kernel has no controller {controller}")


def controllers(path: str) -> list[str]:
    return Path(f"/sys/fs/cgroup{path}/cgroup.controllers").read_text().split()


def cgroups(marker: str) -> list[str]:
    """Cgroups with the marker in their names, in every hierarchy."""
    found = []
    for folder, below, _ in os.walk("/sys/fs/cgroup"):
        found += [f"{folder}/{name}" for name in below if marker in name]
    return found


def tidy(left: list[int], mounted: set[str], made: list[str]) -> None:
    """One test's leak must not fail the next."""
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    for line in sorted(mounted, key=lambda line: int(line.split()[0]), reverse=True):
        libc.umount2(line.split()[4].encode(), MNT_DETACH)
    plain = os.stat("/sys/fs/cgroup").st_dev if not os.path.exists("/sys/fs/cgroup/cgroup.procs") else -1
    for folder in made:
        if os.path.exists(folder) and os.stat(folder).st_dev == plain:
            # Beside the hierarchies, where a path that climbed has led: a folder with plain files.
            shutil.rmtree(folder)
            continue
        if not os.path.exists(folder):
            continue
        for pid in map(int, Path(folder, "cgroup.procs").read_text().split()):
            os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        for inner, _, _ in os.walk(folder, topdown=False):
            try:
                os.rmdir(inner)
            except OSError:
                continue


class MountLine:
    """A line of mountinfo (proc_pid_mountinfo(5))."""

    def __init__(self, text: str) -> None:
        fields = text.split()
        dash = fields.index("-")
        self.root = fields[3]
        self.point = fields[4]
        self.options = set(fields[5].split(","))
        self.tags = {field.partition(":")[0] for field in fields[6:dash]}
        self.kind = fields[dash + 1]
        self.source = fields[dash + 2]
        self.super_options = set(fields[dash + 3].split(","))


def mount_lines(container: Container) -> list[MountLine]:
    """The mounts that the container sees."""
    return [MountLine(line) for line in container.sees("cat /proc/self/mountinfo").splitlines()]


def mount_at(container: Container, point: str) -> MountLine:
    """The topmost mount there."""
    return [line for line in mount_lines(container) if line.point == point][-1]


HOOK_KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def trail(container: Container) -> list[str]:
    """Which hooks of `trace_hooks` have run, in order."""
    file = container.path / "trail"
    return file.read_text().split() if file.exists() else []


def trace_hooks(container: Container, *kinds: str) -> None:
    """Hooks that leave their names in the bundle, and their state beside it; the directory is bound at /bundle too, for
    those that look from inside."""
    container.config["root"]["readonly"] = False
    container.mount("/bundle", "bind", str(container.path), "rbind")
    for kind in kinds:
        where = "/bundle" if kind == "startContainer" else container.path
        late = "sleep 0.3; " if kind == "startContainer" else ""  # whoever doesn't wait for it is found out
        script = f"{late}echo {kind} >> {where}/trail; cat > {where}/state-{kind}"
        container.hook(kind, script)
        if kind == "createContainer":
            # Its path is the runtime's, but it runs in the container's mount namespace before pivot_root.
            container.config["hooks"][kind][-1]["args"][2] = script


def another_file_in_a_devices_place(container: Container, kind: str) -> None:
    """At /dev/kmsg of the image, where the config wants a device."""
    container.without_mount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    path = container.rootfs / "dev/kmsg"
    if kind == "file":
        path.write_text("")
    elif kind == "directory":
        path.mkdir()
    elif kind == "symlink":
        path.symlink_to("/etc/passwd")
    else:
        os.mknod(path, 0o20600, os.makedev(1, 5))
    container.linux["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]


def start_with_a_child(container: Container) -> tuple[int, int]:
    """Without a pid namespace: (init's pid, a pipe that ends when init and its child have)."""
    container.without_namespace("pid")
    read, write = os.pipe()
    container.sh("sleep 1000 & echo up; wait")
    container.create(stdout=write)
    os.close(write)
    pid = container.pid
    container.start()
    assert hear(read) == b"up\n"
    return pid, read
