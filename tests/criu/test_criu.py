"""checkpoint and restore with CRIU itself."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import threading
from functools import partial
from pathlib import Path

import pytest
from conftest import CGROUPS, COUNT, SECONDS, V1, Box, until


def test_it_goes_on(box: Box) -> None:
    box.run()
    box.counts(above=2)
    assert box.checkpoint() == ""
    before = int(box.text("n"))
    assert box.status() == ""
    assert box.remnants() == []
    assert box.restore() == ""
    box.went_on(before)
    assert box.execute("sh", "-c", "echo inside") == "inside\n"
    assert box.status() == "running"
    assert box.cgroup() in ("/boxes/c", "/system.slice/box-c.scope")
    assert str(box.state()["pid"]) in (CGROUPS / box.cgroup()[1:] / "cgroup.procs").read_text().split()
    box.call("delete", "--force", "c")
    assert box.remnants() == []


def test_twice(box: Box) -> None:
    box.run()
    box.counts(above=2)
    box.checkpoint()
    before = int(box.text("n"))
    for _ in range(2):
        box.restore()
        box.counts(above=before)
        box.call("delete", "--force", "c")
    assert box.text("begun") == "begun\n"


def test_left_running(box: Box) -> None:
    box.run()
    box.counts(above=2)
    pid = box.state()["pid"]
    box.checkpoint("--leave-running")
    assert (box.status(), box.state()["pid"]) == ("running", pid)
    box.went_on(int(box.text("n")))


@pytest.mark.beyond(runc="it is in the cgroup of the image, without limits of its own")
def test_another_id_cgroup_and_limits(box: Box) -> None:
    """What holds for it is the config that it is restored by."""
    if box.options:
        pytest.skip("cgroupsPath is a path here; systemd has names of units")
    box.linux["cgroupsPath"] = "/first/c"
    box.run()
    box.counts(above=2)
    box.checkpoint()
    before = int(box.text("n"))
    box.linux["cgroupsPath"] = "/second/d"
    box.linux["resources"] = {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
        ],
        "pids": {"limit": 77},
    }
    box.write()
    box.restore(name="d")
    box.went_on(before)
    assert box.cgroup("d") == "/second/d"
    assert (CGROUPS / "second/d/pids.max").read_text() == "77\n"
    assert not (CGROUPS / "first/c").exists()
    refused = box.execute("sh", "-c", "mknod /tmp/kmsg c 1 11 2>&1 || :", name="d")
    assert "not permitted" in refused
    box.execute("sh", "-c", "echo > /dev/null", name="d")
    box.call("delete", "--force", "d")
    assert not (CGROUPS / "second/d").exists()


def test_chain_of_dumps(box: Box) -> None:
    box.run()
    box.counts(above=2)
    assert box.checkpoint("--pre-dump", image="first") == ""
    assert box.status() == "running"
    box.counts()
    assert box.checkpoint("--parent-path", "../first") == ""
    before = int(box.text("n"))
    assert (box.image / "parent").is_symlink()
    box.restore()
    box.went_on(before)


def test_paused(box: Box) -> None:
    box.run()
    box.counts(above=2)
    box.call("pause", "c")
    before = int(box.text("n"))
    box.checkpoint()
    box.restore()
    box.went_on(before)


def _established(box: Box, how: str = "bind") -> None:
    box.counting(
        "server = socket.create_server(('127.0.0.1', 99)); client = socket.create_connection(('127.0.0.1', 99))\n"
        "peer = server.accept()[0]",
        "client.send(b'x'); assert peer.recv(9)",
        how,
    )


@pytest.mark.parametrize("paused", [False, True])
def test_dump_that_fails(box: Box, paused: bool) -> None:
    """TCP connections are not taken unasked. It runs on, or is paused, as before."""
    _established(box)
    box.run()
    box.counts(above=2)
    if paused:
        box.call("pause", "c")
    said = box.checkpoint(fails=True)
    if box.runtime.endswith("pyrun"):
        assert "Connected TCP socket" in said
        assert f"see {box.work}/dump.log" in said
        assert len(said.splitlines()) == 1
    assert box.status() == ("paused" if paused else "running")
    if paused:
        box.call("resume", "c")
    box.counts()


@pytest.mark.beyond("they don't name what is mounted below a bind")
def test_mounts_below_a_bind(box: Box) -> None:
    """They are the host's as well: the modules of the kernel are mounted below /usr."""
    box.counting("", how="rbind")
    before = box.lets_go()
    box.restore()
    box.went_on(before)
    assert os.listdir(f"/proc/{box.state()['pid']}/root/usr/lib/modules")


@pytest.mark.beyond(runc="the network is not in the image, and the loopback device is down")
def test_tcp(box: Box) -> None:
    _established(box)
    before = box.lets_go("--tcp-established")
    box.restore("--tcp-established")
    box.went_on(before)


def test_unix_sockets(box: Box) -> None:
    box.counting(
        "server = socket.socket(socket.AF_UNIX); server.bind('/tmp/socket'); server.listen()\n"
        "one = socket.socket(socket.AF_UNIX); one.connect('/tmp/socket'); peer = server.accept()[0]\n"
        "a, b = socket.socketpair()",
        "one.send(b'x'); assert peer.recv(9); a.send(b'x'); assert b.recv(9)",
    )
    before = box.lets_go()
    box.restore()
    box.went_on(before)


@pytest.mark.beyond("they have no --link-remap")
def test_file_without_a_name(box: Box) -> None:
    """It has been removed, but has another name: --link-remap gives it one for the while."""
    box.counting(
        "file = open('/tmp/open', 'w'); os.link('/tmp/open', '/tmp/other'); os.unlink('/tmp/open')",
        "file.seek(0); file.write(str(i)); file.flush()",
    )
    box.run()
    box.counts(above=2)
    box.checkpoint(fails=True)
    box.checkpoint("--link-remap")
    before = int(box.text("n"))
    box.restore()
    box.went_on(before)
    box.counts("other", above=before)
    assert {*os.listdir(box.root / "tmp")} - {".n"} == {"begun", "n", "other"}


@pytest.mark.beyond("the image is root's alone, and its root looks into it")
def test_user_namespace(box: Box) -> None:
    box.linux["namespaces"].append({"type": "user"})
    box.linux["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    box.linux["gidMappings"] = box.linux["uidMappings"]
    for path in (box.folder, *box.root.rglob("*")):
        os.chown(path, 100000, 100000, follow_symlinks=False)
    for path in box.folder.parents:
        os.chmod(path, stat.S_IMODE(path.stat().st_mode) | 0o111)
    box.run()
    box.counts(above=2)
    box.checkpoint()
    before = int(box.text("n"))
    box.restore()
    box.went_on(before)
    assert os.stat(f"/proc/{box.state()['pid']}").st_uid == 100000
    assert box.execute("sh", "-c", "cat /proc/timer_list /proc/keys; echo > /dev/null; ls -l /dev/zero")[:1] == "c"
    box.call("delete", "--force", "c")
    assert box.remnants() == []


@pytest.mark.beyond("it does not come to see its own cgroup again")
def test_without_a_cgroup_namespace(box: Box) -> None:
    """The mount of its cgroup is one of the host's then."""
    box.linux["namespaces"] = [row for row in box.linux["namespaces"] if row["type"] != "cgroup"]
    before = box.lets_go()
    box.restore()
    box.went_on(before)
    inside = box.execute("cat", "/sys/fs/cgroup/pids/cgroup.procs" if V1 else "/sys/fs/cgroup/cgroup.procs")
    assert inside.split()[0] == "1"


@pytest.mark.skipif(V1, reason="options of cgroup2")
@pytest.mark.beyond("CRIU takes them away")
def test_options_of_the_hosts_cgroups(box: Box) -> None:
    def options() -> str:
        line = next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line)
        return line.rpartition(" ")[2]

    subprocess.run(["mount", "-o", "remount,nsdelegate,memory_recursiveprot", CGROUPS], check=True)
    before = options()
    assert "nsdelegate" in before
    box.lets_go()
    assert options() == before
    box.restore()
    assert options() == before


def test_seccomp(box: Box) -> None:
    box.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mknod", "mknodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 11}],
    }
    box.run()
    box.counts(above=2)
    box.checkpoint()
    box.restore()
    status = Path(f"/proc/{box.state()['pid']}/status").read_text()
    assert "Seccomp:\t2" in status
    assert "Seccomp_filters:\t1" in status


def test_binds_and_tmpfs(box: Box) -> None:
    """Of a directory, a file, and where the root has nothing to mount on any more."""
    (box.folder / "data").mkdir()
    (box.folder / "data/file").write_text("in data\n")
    box.config["mounts"] += [
        {"destination": "/data", "type": "bind", "source": str(box.folder / "data"), "options": ["rbind", "ro"]},
        {"destination": "/etc/one", "type": "bind", "source": str(box.folder / "data/file"), "options": ["bind"]},
        {"destination": "/mem", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]},
    ]
    box.config["process"]["args"][2] = "echo kept > /mem/file; " + COUNT
    box.run()
    box.counts(above=2)
    box.checkpoint()
    for path in ("data", "mem"):
        (box.root / path).rmdir()
    (box.root / "etc/one").unlink()
    box.restore()
    box.counts()
    assert box.execute("cat", "/data/file", "/etc/one", "/mem/file") == "in data\nin data\nkept\n"
    assert "read-only" in box.execute("sh", "-c", "(echo > /data/file) 2>&1 || true").lower()
    box.call("delete", "--force", "c")
    assert box.remnants() == []


def test_network_namespace_by_path(box: Box) -> None:
    subprocess.run(["ip", "netns", "add", "criu"], check=True)
    try:
        row = next(row for row in box.linux["namespaces"] if row["type"] == "network")
        row["path"] = "/run/netns/criu"
        box.run()
        box.counts(above=2)
        box.checkpoint()
        before = int(box.text("n"))
        box.restore()
        box.went_on(before)
        assert os.stat(f"/proc/{box.state()['pid']}/ns/net").st_ino == os.stat("/run/netns/criu").st_ino
    finally:
        subprocess.run([box.runtime, "delete", "--force", "c"], capture_output=True)
        subprocess.run(["ip", "netns", "del", "criu"], check=True)


def test_pipes_as_stdio(box: Box) -> None:
    """What it writes after restore comes to the pipes of that."""
    box.config["process"]["args"][2] = "i=0; while :; do i=$((i+1)); echo out$i; echo err$i >&2; sleep 0.05; done"
    ends = [os.pipe() for _ in range(4)]

    def hear(fd: int, prefix: str, above: int = 0) -> int:
        found, heard = 0, b""
        while found <= above:
            heard += os.read(fd, 4096)
            numbers = [line for line in heard.decode().split("\n")[:-1] if line.startswith(prefix)]
            found = int(numbers[-1].removeprefix(prefix)) if numbers else 0
        return found

    try:
        box.run(stdout=ends[0][1], stderr=ends[1][1])
        last = max(hear(ends[0][0], "out"), hear(ends[1][0], "err"))
        box.checkpoint()
        box.restore(stdout=ends[2][1], stderr=ends[3][1])
        hear(ends[2][0], "out", last)
        hear(ends[3][0], "err", last)
    finally:
        box.clean()
        for fd in (fd for pair in ends for fd in pair):
            os.close(fd)


class Console:
    """A console socket, and what comes of the terminal that is sent there."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = str(folder / name)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen()
        self._listening.settimeout(SECONDS)

    def terminal(self) -> int:
        connection, _ = self._listening.accept()
        connection.settimeout(SECONDS)
        _, fds, _, _ = socket.recv_fds(connection, 99, 1)
        return fds[0]


def _read_until(fd: int, wanted: bytes) -> None:
    heard = b""
    while wanted not in heard:
        assert select.select([fd], [], [], SECONDS)[0], heard
        heard += os.read(fd, 4096)


TERMINAL = "stty -echo 2>/dev/null; while read line; do echo heard $line; done"


def test_terminal_by_console_socket(box: Box) -> None:
    box.config["process"].update(terminal=True, args=["sh", "-c", TERMINAL])
    first, second = Console(box.folder, "first"), Console(box.folder, "second")
    box.write()
    null = subprocess.DEVNULL
    box.call("--log", box.folder / "log", "run", "-d", "--console-socket", first.path, "c", stdout=null, stderr=null)
    terminal = first.terminal()
    os.write(terminal, b"one\n")
    _read_until(terminal, b"heard one")
    box.checkpoint()
    os.close(terminal)
    box.restore("--console-socket", second.path)
    terminal = second.terminal()
    os.write(terminal, b"two\n")
    _read_until(terminal, b"heard two")
    os.close(terminal)


@pytest.mark.beyond(crun="it does not relay the terminal")
def test_terminal_in_the_foreground(box: Box) -> None:
    box.config["process"].update(terminal=True, args=["sh", "-c", TERMINAL + "; exit 7"])
    console = Console(box.folder, "first")
    box.write()
    null = subprocess.DEVNULL
    box.call("--log", box.folder / "log", "run", "-d", "--console-socket", console.path, "c", stdout=null, stderr=null)
    terminal = console.terminal()
    os.write(terminal, b"one\n")
    _read_until(terminal, b"heard one")
    box.checkpoint()
    os.close(terminal)
    master, slave = os.openpty()
    command = [box.runtime, "restore", "--image-path", box.image, "--work-path", box.work, "c"]
    with subprocess.Popen(command, cwd=box.folder, stdin=slave, stdout=slave, stderr=slave) as running:
        try:
            os.write(master, b"two\n")
            _read_until(master, b"heard two")
            os.write(master, b"\x04")
            assert running.wait(SECONDS) == 7
        finally:
            running.kill()
    os.close(master)
    os.close(slave)
    assert box.remnants() == []


@pytest.mark.beyond(crun="it leaves the cgroup")
def test_in_the_foreground(box: Box) -> None:
    """It stays to the end, with the code of that, and the container is gone then."""
    box.config["process"]["args"][2] = COUNT.replace("while :", "while [ ! -e /tmp/end ]") + "; exit 9"
    box.run()
    box.counts(above=2)
    box.checkpoint()
    before = int(box.text("n"))
    command = [box.runtime, "restore", "--image-path", box.image, "--work-path", box.work, "c"]
    with subprocess.Popen(command, cwd=box.folder, stdin=subprocess.DEVNULL) as running:
        try:
            box.counts(above=before)
            (box.root / "tmp/end").touch()
            assert running.wait(SECONDS) == 9
        finally:
            running.kill()
    assert box.remnants() == []


def test_pid_file(box: Box) -> None:
    box.run()
    box.counts(above=2)
    box.checkpoint()
    box.restore("--pid-file", box.folder / "pid")
    assert (box.folder / "pid").read_text() == str(box.state()["pid"])


@pytest.mark.pyrun_only("the others run other hooks")
def test_hooks(box: Box) -> None:
    said = box.folder / "said"
    script = "cat >> {0}; echo {1} >> {0}"
    kinds = ("prestart", "createRuntime", "poststop")
    box.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", script.format(said, kind)]}] for kind in kinds
    }
    box.run()
    box.counts(above=2)
    box.checkpoint()
    said.write_text("")
    box.restore()
    state, _, name = said.read_text().splitlines()[0].rpartition("}")
    assert name == "prestart"
    assert json.loads(state + "}")["pid"] == box.state()["pid"]
    box.call("delete", "--force", "c")
    assert [line.rpartition("}")[2] for line in said.read_text().splitlines()] == list(kinds)


@pytest.mark.pyrun_only("about what it leaves behind")
@pytest.mark.parametrize("how", ["image", "pages", "hook", "log", "bind"])
def test_restore_that_fails(box: Box, how: str) -> None:
    """It leaves nothing: at an image that is broken or cut short, a hook that fails, one that lacks its bind."""
    (box.folder / "data").mkdir()
    bind = {"destination": "/data", "type": "bind", "source": str(box.folder / "data"), "options": ["bind"]}
    box.config["mounts"].append(bind)
    box.run()
    box.counts(above=2)
    box.checkpoint()
    if how == "image":
        for path in box.image.glob("core-*.img"):
            path.write_bytes(path.read_bytes()[:20])
    elif how == "pages":
        os.truncate(box.image / "pages-1.img", (box.image / "pages-1.img").stat().st_size - 1)
    elif how == "hook":
        box.config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    elif how == "log":
        (box.image / "inventory.img").unlink()
    else:
        (box.folder / "data").rmdir()
    box.write()
    said = box.restore(fails=True)
    words = {"hook": "hook /bin/false", "pages": f"{box.image}/pages-1.img has "}
    assert words.get(how, f"see {box.work}/restore.log") in said
    assert len(said.splitlines()) == 1
    until("nothing left", lambda: not box.remnants())


@pytest.mark.pyrun_only("about what it leaves behind")
@pytest.mark.parametrize("at", range(6))
def test_pyrun_is_killed(box: Box, at: int) -> None:
    """At moments of either: a dump goes on or is given up; what a restore has begun goes by delete --force."""
    box.run()
    box.counts(above=2)
    box.checkpoint("--leave-running")
    for verb, options in (("checkpoint", ()), ("restore", ("-d",))):
        command = [box.runtime, verb, *options, "--image-path", box.folder / verb, "--work-path", box.work, "c"]
        if verb == "restore":
            command[command.index("--image-path") + 1] = box.image
            box.call("delete", "--force", "c")
            assert box.remnants() == []
        shutil.rmtree(box.work, ignore_errors=True)
        with subprocess.Popen(command, cwd=box.folder, stdin=subprocess.DEVNULL) as running:
            # As many lines into its log as that; whatever it is doing then.
            until("so many lines", partial(_has_come_to, running, box.work, at * 60))
            running.kill()
        until("CRIU's end", lambda: not _criu())
        if verb == "checkpoint" and box.status() == "running":
            box.counts()
    box.call("delete", "--force", "c")
    until("nothing left", lambda: not box.remnants())


@pytest.mark.pyrun_only("about what it leaves behind")
@pytest.mark.parametrize("at", range(6))
def test_restore_is_interrupted(box: Box, at: int) -> None:
    """At moments of it: nothing is left, unless it has come to its end."""
    box.lets_go()
    shutil.rmtree(box.work)
    command = [box.runtime, "restore", "-d", "--image-path", box.image, "--work-path", box.work, "c"]
    with subprocess.Popen(command, cwd=box.folder, stdin=subprocess.DEVNULL) as running:
        until("so many lines", partial(_has_come_to, running, box.work, at * 60))
        running.terminate()
        code = running.wait(SECONDS)
    if code == 0:
        assert box.status() == "running"
        box.call("delete", "--force", "c")
    else:
        assert code in (128 + signal.SIGTERM, -signal.SIGTERM)  # the latter before there is anything to undo
    until("nothing left", lambda: not box.remnants())


def _has_come_to(running: subprocess.Popen[bytes], work: Path, lines: int) -> bool:
    return running.poll() is not None or max((_lines(path) for path in work.glob("*.log")), default=0) >= lines


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def _criu() -> list[str]:
    done = subprocess.run(["pgrep", "-x", "criu"], capture_output=True, text=True)
    return done.stdout.split()


@pytest.mark.pyrun_only("about what it leaves behind")
def test_criu_is_killed(box: Box) -> None:
    """The container is not left frozen."""
    box.run()
    box.counts(above=2)
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.01):
            log = box.work / "dump.log"
            if _lines(log) > 20:
                for pid in _criu():
                    try:
                        os.kill(int(pid), signal.SIGKILL)
                    except ProcessLookupError:
                        continue
                    return

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        said = box.checkpoint(fails=True)
    finally:
        stop.set()
        thread.join()
    assert "status -9" in said
    assert box.status() in ("running", "stopped")
    box.call("delete", "--force", "c")
    assert box.remnants() == []
