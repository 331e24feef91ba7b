"""Podman and Buildah: what users do with them."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import enterable
from managers import CGROUPS, NAT, Client

CONF = """
[engine]
infra_image = "localhost/pause"
runtime = "{kind}"
cgroup_manager = "{cgroups}"
events_logger = "file"
runtime_supports_json = ["pyrun", "runc", "crun"]
runtime_supports_nocgroup = ["pyrun", "crun"]
runtime_supports_nocgroups = ["pyrun", "crun"]
[engine.runtimes]
{kind} = ["{path}"]
[containers]
init_path = "/usr/bin/catatonit"
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
pids_limit = {pids}
{network}
[network]
network_backend = "netavark"
"""

# Whom Podman runs as, "" for root; it has a line in /etc/subuid and no cgroups of its own.
USER = os.environ.get("PODMAN_USER", "")
NETAVARK = subprocess.run(["/usr/lib/podman/netavark", "version"], capture_output=True, text=True, check=False).stdout
# Since 1.8 netavark does without NAT.
NETWORKS = NAT or not re.search(r'"version": "1\.[0-7]\.', NETAVARK)
needs_networks = pytest.mark.skipif(not NETWORKS, reason="this kernel has no NAT, and this netavark needs it")
# Without root a network takes another program.
NETWORK = 'netns = "none"' if USER or not NETWORKS else ""
V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()


class Podman(Client):
    def __init__(self, oci: str, folder: Path) -> None:
        self.oci = oci
        conf = folder / "containers.conf"
        conf.write_text(
            CONF.format(path=oci, kind=Path(oci).name, cgroups=CGROUPS, network=NETWORK, pids=0 if USER else 200)
        )
        self.environment = {**os.environ, "CONTAINERS_CONF": str(conf), "HOME": str(folder)}
        self.command = ["podman", "--log-level", "error"]
        if USER:
            become = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups"]
            self.command = [*become, *self.command]
            self.environment |= {"XDG_RUNTIME_DIR": str(folder), "USER": USER}
            for path in (folder, conf):
                shutil.chown(path, USER, USER)


@pytest.fixture(scope="session")
def engine(oci: str, rootfs_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Podman:
    folder = tmp_path_factory.mktemp("podman")
    if USER:
        folder = Path(f"/run/podman-{USER}")
        folder.mkdir(mode=0o700)
        rootfs_tar = Path(shutil.copy(rootfs_tar, "/run/files.tar"))
    made = Podman(oci, folder)
    path = "ENV=PATH=/bin"
    made.ok("import", "--change", path, "--change", 'CMD=["/bin/sh"]', rootfs_tar, IMAGE)
    made.ok("import", "--change", 'CMD=["sleep","100000"]', rootfs_tar, "localhost/pause:latest")
    return made


IMAGE = "localhost/busybox:latest"


@pytest.fixture
def podman(engine: Podman) -> Iterator[Podman]:
    yield engine
    engine("pod", "rm", "--all", "--force", "--time", "0")
    engine("rm", "--all", "--force", "--time", "0")
    left = [path for path, _, _ in os.walk("/sys/fs/cgroup") if "/libpod-" in path and "conmon" not in path]
    assert left == []


@pytest.fixture
def box(podman: Podman) -> str:
    """A container that runs."""
    podman.ok("run", "-d", "--name", "box", IMAGE, "sleep", "1000")
    return "box"


@pytest.fixture(autouse=True)
def reachable(tmp_path: Path) -> None:
    """For whom Podman runs as."""
    if USER:
        enterable(tmp_path)
        shutil.chown(tmp_path, USER, USER)


def terminal(podman: Podman, *arguments: str, typed: bytes = b"") -> tuple[int, str]:
    """Run a command under a pty: (exit status, all that it showed)."""
    pid, master = pty.fork()
    if not pid:
        os.execvpe(podman.command[0], [*map(str, podman.command), *arguments], podman.environment or {})
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", 33, 77, 0, 0))
    said = b""
    end = time.monotonic() + 30
    while time.monotonic() < end and select.select([master], [], [], 10)[0]:
        try:
            part = os.read(master, 4096)
        except OSError:
            break
        if not part:
            break
        said += part
        if typed and b"ready" in said:
            os.write(master, typed)
            typed = b""
    os.close(master)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode().replace("\r\n", "\n")


@pytest.mark.guest
def test_the_runtime_is_what_we_think(podman: Podman, oci: str) -> None:
    info = json.loads(podman.ok("info", "--format", "json"))
    assert info["host"]["ociRuntime"]["path"] == oci


@pytest.mark.guest
@pytest.mark.rootless
def test_run(podman: Podman) -> None:
    assert podman.ok("run", "--rm", IMAGE, "echo", "hello") == "hello"


@pytest.mark.guest
@pytest.mark.rootless
@pytest.mark.parametrize("code", [1, 3, 77, 255])
def test_exit_codes(podman: Podman, code: int) -> None:
    assert podman("run", "--rm", IMAGE, "sh", "-c", f"exit {code}").returncode == code


@pytest.mark.guest
@pytest.mark.rootless
def test_killed_by_a_signal(podman: Podman) -> None:
    assert podman("run", "--rm", "--pid", "host", IMAGE, "sh", "-c", "kill -9 $$").returncode == 137


@pytest.mark.guest
@pytest.mark.rootless
@pytest.mark.parametrize(
    ("program", "code"), [("/nowhere", 127), ("nowhere", 127), ("/etc", 126), ("/etc/passwd", 126)]
)
def test_what_can_not_be_run(podman: Podman, program: str, code: int) -> None:
    """126 and 127 hang on the words of the runtime's error."""
    done = podman("run", "--rm", IMAGE, program)
    assert done.returncode == code, done


def test_stdin_and_both_outputs(podman: Podman) -> None:
    done = podman("run", "--rm", "-i", IMAGE, "sh", "-c", "cat; echo err >&2", stdin=None, input="typed\n")
    assert (done.stdout, done.stderr) == ("typed\n", "err\n")


@pytest.mark.guest
@pytest.mark.rootless
def test_run_under_a_terminal(podman: Podman) -> None:
    code, said = terminal(
        podman,
        "run",
        "--rm",
        "-it",
        IMAGE,
        "sh",
        "-c",
        "tty; echo ready; read x; echo got $x; exit 5",
        typed=b"words\n",
    )
    assert code == 5
    assert "/dev/pts/0" in said
    assert "got words" in said


def test_the_size_of_the_terminal(podman: Podman) -> None:
    _, said = terminal(podman, "run", "--rm", "-it", IMAGE, "sh", "-c", "stty size")
    assert said.split() == ["33", "77"]


def test_detached_and_logs(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "talker", IMAGE, "sh", "-c", "echo one; echo two >&2")
    assert podman.ok("wait", "talker") == "0"
    done = podman("logs", "talker")
    assert (done.stdout, done.stderr) == ("one\n", "two\n")


@pytest.mark.guest
@pytest.mark.rootless
def test_exec(podman: Podman, box: str) -> None:
    assert podman.ok("exec", box, "sh", "-c", "echo $0 from exec") == "sh from exec"
    assert podman("exec", box, "sh", "-c", "exit 9").returncode == 9
    assert podman("exec", box, "nowhere").returncode == 127
    assert podman("exec", box, "/etc").returncode == 126


@pytest.mark.guest
@pytest.mark.rootless
def test_exec_with_options(podman: Podman, box: str) -> None:
    seen = podman.ok(
        "exec", "--user", "1000:1000", "--workdir", "/tmp", "--env", "A=b", box, "sh", "-c", "id -u; pwd; echo $A"
    )
    assert seen.split() == ["1000", "/tmp", "b"]
    assert "CapEff:\t000001ffffffffff" not in podman.ok("exec", box, "grep", "CapEff", "/proc/self/status")


@pytest.mark.guest
@pytest.mark.rootless
def test_exec_stdin(podman: Podman, box: str) -> None:
    assert podman.ok("exec", "-i", box, "cat", stdin=None, input="typed\n") == "typed"


@pytest.mark.guest
@pytest.mark.rootless
def test_exec_under_a_terminal(podman: Podman, box: str) -> None:
    code, said = terminal(
        podman, "exec", "-it", box, "sh", "-c", "tty; echo ready; read x; echo got $x; exit 6", typed=b"words\n"
    )
    assert code == 6
    assert "/dev/pts/" in said
    assert "got words" in said


@pytest.mark.guest
@pytest.mark.rootless
def test_exec_detached(podman: Podman, box: str) -> None:
    podman.ok("exec", "-d", box, "sh", "-c", "echo done > /tmp/mark; exec sleep 1000")
    for _ in range(100):
        if podman("exec", box, "cat", "/tmp/mark").stdout == "done\n":
            break
        time.sleep(0.05)
    assert "sleep 1000" in podman.ok("top", box, "args")


@pytest.mark.guest
@pytest.mark.rootless
def test_stop(podman: Podman) -> None:
    podman.ok(
        "run",
        "-d",
        "--name",
        "trap",
        IMAGE,
        "sh",
        "-c",
        'trap "echo stopped; exit 4" TERM; while :; do sleep 0.05; done',
    )
    podman.ok("stop", "--time", "20", "trap")
    assert podman.ok("inspect", "--format", "{{.State.ExitCode}}", "trap") == "4"
    assert podman.ok("logs", "trap") == "stopped"


@pytest.mark.guest
@pytest.mark.rootless
def test_stop_of_one_that_does_not_listen(podman: Podman, box: str) -> None:
    podman.ok("stop", "--time", "0", box)
    assert podman.ok("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", box) == "exited 137"


@pytest.mark.guest
@pytest.mark.rootless
def test_kill(podman: Podman, box: str) -> None:
    podman.ok("kill", "--signal", "KILL", box)
    assert podman.ok("wait", box) == "137"
    assert podman("kill", box).returncode != 0


@pytest.mark.guest
def test_pause(podman: Podman, box: str) -> None:
    podman.ok("pause", box)
    assert podman.ok("inspect", "--format", "{{.State.Status}}", box) == "paused"
    assert podman("exec", box, "true").returncode != 0
    podman.ok("unpause", box)
    assert podman.ok("exec", box, "echo", "again") == "again"


@pytest.mark.guest
def test_stats(podman: Podman, box: str) -> None:
    [row] = json.loads(podman.ok("stats", "--no-stream", "--format", "json", box))
    assert row["name"] == box
    assert int(row["pids"]) == 1


def test_top(podman: Podman, box: str) -> None:
    assert "sleep 1000" in podman.ok("top", box)


def test_ps(podman: Podman, box: str) -> None:
    [row] = json.loads(podman.ok("ps", "--format", "json"))
    assert row["State"] == "running"


def test_copy(podman: Podman, box: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("content")
    podman.ok("cp", tmp_path / "in", f"{box}:/tmp/there")
    assert podman.ok("exec", box, "cat", "/tmp/there") == "content"
    podman.ok("cp", f"{box}:/tmp/there", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "content"


@pytest.mark.guest
@pytest.mark.rootless
def test_restart(podman: Podman, box: str) -> None:
    before = podman.ok("inspect", "--format", "{{.State.Pid}}", box)
    podman.ok("restart", "--time", "0", box)
    assert podman.ok("inspect", "--format", "{{.State.Status}}", box) == "running"
    assert podman.ok("inspect", "--format", "{{.State.Pid}}", box) != before


def cgroup_file(podman: Podman, box: str, controller: str, file: str) -> str:
    pid = podman.ok("inspect", "--format", "{{.State.Pid}}", box)
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return Path(f"/sys/fs/cgroup/{controller}{path}/{file}").read_text().strip()
        if not names and V2:
            return Path(f"/sys/fs/cgroup{path}/{file}").read_text().strip()
    raise AssertionError(controller)


@pytest.mark.guest
def test_limits_and_update(podman: Podman) -> None:
    podman.ok(
        "run",
        "-d",
        "--name",
        "box",
        "--memory",
        "64m",
        "--pids-limit",
        "50",
        "--cpu-shares",
        "512",
        IMAGE,
        "sleep",
        "1000",
    )
    limit = "memory.max" if V2 else "memory.limit_in_bytes"
    assert cgroup_file(podman, "box", "memory", limit) == str(64 << 20)
    assert cgroup_file(podman, "box", "pids", "pids.max") == "50"
    podman.ok("update", "--memory", "96m", "--cpu-shares", "256", "box")
    assert cgroup_file(podman, "box", "memory", limit) == str(96 << 20)
    if not V2:  # other runtimes turn shares into weights in ways of their own
        assert cgroup_file(podman, "box", "cpu", "cpu.shares") == "256"


@pytest.mark.guest
def test_out_of_memory(podman: Podman) -> None:
    done = podman(
        "run",
        "--name",
        "hog",
        "--memory",
        "16m",
        "--memory-swap",
        "16m",
        IMAGE,
        "sh",
        "-c",
        "x=a; while :; do x=$x$x; done",
    )
    assert done.returncode == 137


@pytest.mark.parametrize("userns", ["auto:size=5000", "", "map"])
def test_user_namespaces(podman: Podman, userns: str) -> None:
    flags = (
        ["--uidmap", "0:100000:5000", "--gidmap", "0:100000:5000"]
        if userns != "auto:size=5000"
        else ["--userns", "auto:size=5000"]
    )
    if not userns:
        flags = []
    if userns.startswith("auto") and "containers" not in Path("/etc/subuid").read_text():
        pytest.skip("needs an entry of containers in /etc/subuid")
    seen = podman.ok(
        "run", "--rm", *flags, IMAGE, "sh", "-c", "id -u; cat /proc/self/uid_map; touch /made && stat -c %u /made"
    ).split()
    assert seen[0] == seen[-1] == "0"
    assert (seen[3] == "5000") == bool(userns)


@pytest.mark.guest
@pytest.mark.rootless
@pytest.mark.parametrize(
    ("option", "script", "code"),
    [
        ("rw", "echo x > /data/new && cat /data/new", 0),
        ("ro", "echo x > /data/new", 1),
        ("noexec", "/data/tool", 126),
        ("rw,exec", "/data/tool", 0),
        ("z", "cat /data/tool", 0),
        ("rslave", "cat /data/tool", 0),
        ("rshared", "cat /data/tool", 0),
        ("U", "stat -c %u /data | grep -qx 0", 0),
    ],
)
def test_volumes(podman: Podman, tmp_path: Path, option: str, script: str, code: int) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\necho tool\n")
    (tmp_path / "tool").chmod(0o755)
    if USER:
        shutil.chown(tmp_path / "tool", USER, USER)
    done = podman("run", "--rm", "-v", f"{tmp_path}:/data:{option}", IMAGE, "sh", "-c", script)
    assert done.returncode == code, done


def test_a_named_volume(podman: Podman) -> None:
    podman.ok("run", "--rm", "-v", "kept:/data", IMAGE, "sh", "-c", "echo x > /data/file")
    assert podman.ok("run", "--rm", "-v", "kept:/data", IMAGE, "cat", "/data/file") == "x"
    podman.ok("volume", "rm", "kept")


def test_tmpfs_and_read_only(podman: Podman) -> None:
    script = "touch /x; touch /tmp/x && grep ' /scratch ' /proc/mounts"
    seen = podman("run", "--rm", "--read-only", "--tmpfs", "/scratch:size=1m,noexec", IMAGE, "sh", "-c", script)
    assert seen.returncode == 0
    assert "size=1024k" in seen.stdout
    assert "Read-only" in seen.stderr


def test_init(podman: Podman) -> None:
    assert "init" in podman.ok("run", "--rm", "--init", IMAGE, "sh", "-c", "cat /proc/1/comm /proc/1/cmdline")


def test_healthcheck(podman: Podman) -> None:
    podman.ok(
        "run",
        "-d",
        "--name",
        "box",
        "--health-cmd",
        "test -e /tmp/well",
        "--health-interval",
        "disable",
        IMAGE,
        "sleep",
        "1000",
    )
    assert podman("healthcheck", "run", "box").returncode == 1
    podman.ok("exec", "box", "touch", "/tmp/well")
    assert podman("healthcheck", "run", "box").returncode == 0


@pytest.mark.parametrize("network", ["none", "host", pytest.param("bridge", marks=needs_networks)])
def test_networks(podman: Podman, network: str) -> None:
    seen = podman.ok(
        "run", "--rm", "--network", network, IMAGE, "sh", "-c", "ls /sys/class/net; cat /etc/hosts"
    ).split()
    assert "lo" in seen
    assert ("eth0" in seen) == (network == "bridge")


@needs_networks
def test_two_on_a_bridge(podman: Podman) -> None:
    podman.ok("network", "create", "ours")
    try:
        podman.ok("run", "-d", "--name", "server", "--network", "ours", IMAGE, "sleep", "1000")
        form = '{{(index .NetworkSettings.Networks "ours").IPAddress}}'
        address = podman.ok("inspect", "--format", form, "server")
        # busybox's wget, being static, can't look up names.
        ping = ("--cap-add", "NET_RAW", IMAGE, "ping", "-c", "1", address)
        assert "1 packets received" in podman.ok("run", "--rm", "--network", "ours", *ping)
    finally:
        podman("rm", "--all", "--force", "--time", "0")
        podman.ok("network", "rm", "ours")


@needs_networks
def test_a_pod_shares_namespaces(podman: Podman) -> None:
    podman.ok("pod", "create", "--name", "pod", "--hostname", "podded")
    podman.ok("run", "-d", "--pod", "pod", "--name", "one", IMAGE, "sleep", "1000")
    script = "hostname; for kind in net ipc uts; do readlink /proc/self/ns/$kind; done"
    seen = podman.ok("run", "--rm", "--pod", "pod", "--name", "two", IMAGE, "sh", "-c", script)
    assert seen == podman.ok("exec", "one", "sh", "-c", script)
    assert seen.splitlines()[0] == "podded"
    podman.ok("pod", "rm", "--force", "--time", "0", "pod")


KUBE = """
apiVersion: v1
kind: Pod
metadata: {name: kube}
spec:
  containers:
  - name: writer
    image: IMAGE
    command: [sh, -c, "echo from writer > /shared/file; exec sleep 1000"]
    volumeMounts: [{name: data, mountPath: /shared}]
    resources: {limits: {memory: 64Mi, cpu: 500m}}
  - name: reader
    image: IMAGE
    command: [sleep, "1000"]
    volumeMounts: [{name: data, mountPath: /shared}]
    securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true}
  volumes:
  - name: data
    hostPath: {path: FOLDER, type: Directory}
"""


@needs_networks
def test_kube_play(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o777)
    (tmp_path / "data").chmod(0o777)
    tmp_path.chmod(0o755)
    file = tmp_path / "pod.yaml"
    file.write_text(KUBE.replace("IMAGE", IMAGE).replace("FOLDER", str(tmp_path / "data")))
    done = podman("kube", "play", "--network", "none", file)
    assert done.returncode == 0, done
    for _ in range(100):
        if (tmp_path / "data/file").exists():
            break
        time.sleep(0.05)
    assert podman.ok("exec", "kube-reader", "sh", "-c", "cat /shared/file; id -u") == "from writer\n1000"
    podman.ok("kube", "down", file)


@pytest.mark.guest
@pytest.mark.parametrize(
    ("flags", "script", "expected"),
    [
        (["--hostname", "named"], "hostname", "named"),
        (["--user", "1000"], "id -u", "1000"),
        (["--workdir", "/tmp"], "pwd", "/tmp"),
        (["--env", "A=b"], "echo $A", "b"),
        (["--sysctl", "net.ipv4.ip_forward=1"], "cat /proc/sys/net/ipv4/ip_forward", "1"),
        (["--ulimit", "nofile=77:88", "--ulimit", "nproc=99:99"], "ulimit -n; ulimit -Hn", "77\n88"),
        (["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj", "500"),
        (["--cap-drop", "all"], "grep CapEff /proc/self/status", "CapEff:\t0000000000000000"),
        (["--cap-drop", "all", "--cap-add", "CHOWN"], "grep CapEff /proc/self/status", "CapEff:\t0000000000000001"),
        (["--security-opt", "no-new-privileges"], "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"),
        (["--security-opt", "seccomp=unconfined"], "grep Seccomp: /proc/self/status", "Seccomp:\t0"),
        ([], "grep Seccomp: /proc/self/status", "Seccomp:\t2"),
        (["--device", "/dev/null:/dev/mine"], "echo x > /dev/mine && ls /dev/mine", "/dev/mine"),
        (["--ipc", "host", "--uts", "host", "--pid", "host"], "echo ok", "ok"),
        (["--cgroupns", "private"], "readlink /proc/self/ns/cgroup | cut -c1-7", "cgroup:"),
        (["--cgroupns", "host"], "readlink /proc/self/ns/cgroup | cut -c1-7", "cgroup:"),
        (["--privileged"], "echo ok", "ok"),
        (["--shm-size", "1m"], "grep ' /dev/shm ' /proc/mounts | grep -c size=1024k", "1"),
        (["--group-add", "7"], "id -G", "0 7"),
        (["--umask", "0077"], "umask", "0077"),
        (["--mount", "type=tmpfs,destination=/t,tmpfs-size=1m"], "grep -c ' /t ' /proc/mounts", "1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_of_run(podman: Podman, flags: list[str], script: str, expected: str) -> None:
    assert podman.ok("run", "--rm", *flags, IMAGE, "sh", "-c", script) == expected


@pytest.mark.guest
@pytest.mark.rootless
def test_no_cgroups(podman: Podman, kind: str) -> None:
    if kind == "runc":
        pytest.skip("runc can't")
    assert podman.ok("run", "--rm", "--cgroups", "disabled", IMAGE, "echo", "free") == "free"


@needs_networks
def test_buildah_run(podman: Podman, oci: str) -> None:
    def buildah(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["buildah", *arguments],
            env=podman.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    made = buildah("from", "--pull-never", IMAGE).stdout.strip()
    assert made
    try:
        done = buildah("run", "--runtime", oci, made, "--", "sh", "-c", "echo built > /file; id -u")
        assert (done.returncode, done.stdout) == (0, "0\n"), done
        assert buildah("run", "--runtime", oci, made, "--", "cat", "/file").stdout == "built\n"
        assert buildah("run", "--runtime", oci, "--user", "1000", made, "--", "id", "-u").stdout == "1000\n"
        assert buildah("run", "--runtime", oci, made, "--", "sh", "-c", "exit 7").returncode == 7
    finally:
        buildah("rm", made)


@needs_networks
def test_a_container_file(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text(f'FROM {IMAGE}\nRUN echo built > /file\nUSER 1000\nCMD ["cat", "/file"]\n')
    podman.ok("build", "--pull-never", "--tag", "localhost/built", tmp_path)
    assert podman.ok("run", "--rm", "localhost/built") == "built"


def test_a_bundle_of_an_image(podman: Podman, oci: str, kind: str, tmp_path: Path) -> None:
    """`pyrun bundle` of what `podman save` writes is what Podman makes of the image, file by file."""
    if kind != "pyrun":
        pytest.skip("pyrun's own command")
    where = podman.ok("image", "mount", IMAGE)
    for form in ("docker-archive", "oci-archive", "oci-dir"):
        podman.ok("save", "--format", form, "--output", tmp_path / form, IMAGE)
        subprocess.run([oci, "bundle", "--copy", tmp_path / form, tmp_path / f"{form}-bundle"], check=True)
        look = "find . ! -path ./run* -printf '%p %y %m %U %G %s %l\\n' | sort"
        trees = [
            subprocess.run(["sh", "-c", look], cwd=folder, capture_output=True, text=True, check=True).stdout
            for folder in (where, tmp_path / f"{form}-bundle/rootfs")
        ]
        listed = [[re.sub(r" d (\d+ \d+ \d+) \d+ ", r" d \1 ", line) for line in tree.splitlines()] for tree in trees]
        assert listed[0][1:] == listed[1][1:]
    podman.ok("image", "unmount", IMAGE)


def test_a_failure_is_explained(podman: Podman, oci: str, kind: str) -> None:
    """When the manager has removed the bundle, too."""
    if kind != "pyrun":
        pytest.skip("pyrun's own command")
    assert podman("run", "--rm", "--tmpfs", "/data:size=64x", IMAGE, "true").returncode != 0
    said = subprocess.run([oci, "explain"], capture_output=True, text=True, check=True).stdout
    assert "create of " in said and '"destination":"/data"' in said and "podman, docker: --tmpfs" in said
    assert "fsconfig(" in said and "How to mend it:" in said
