"""Docker, with the runtime as its default one; and a swarm of two."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker import IMAGE, Docker
from managers import CGROUPS, eventually, memory_limit

Archive = Callable[[str, list[str]], Path]


@pytest.fixture(scope="module")
def engine(oci: str, kind: str, archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    made = Docker(oci, kind, tmp_path_factory.mktemp("docker"))
    made.daemon.start()
    try:
        made.ok("load", "--input", archive(IMAGE, ["sh"]))
        yield made
    finally:
        made.daemon.stop()


@pytest.fixture
def docker(engine: Docker) -> Iterator[Docker]:
    yield engine
    for name in engine("ps", "--all", "--quiet").stdout.split():
        engine("rm", "--force", name)
    folders = [path for path, _, _ in os.walk("/sys/fs/cgroup") if "buildkit" not in path]
    left = [path for path in folders if re.search("/docker[/-]", path)]
    assert left == []


@pytest.fixture
def box(docker: Docker) -> str:
    """A container that runs."""
    docker.ok("run", "-d", "--name", "box", IMAGE, "sleep", "1000")
    return "box"


def inspect(docker: Docker, name: str, form: str) -> str:
    return docker.ok("inspect", "--format", f"{{{{{form}}}}}", name)


def test_the_runtime_is_known(docker: Docker, kind: str, oci: str) -> None:
    info = json.loads(docker.ok("info", "--format", "{{json .}}"))
    assert info["DefaultRuntime"] == f"the-{kind}"
    assert info["Runtimes"][f"the-{kind}"]["path"] == oci


def test_run(docker: Docker) -> None:
    assert docker.ok("run", "--rm", IMAGE, "echo", "hello") == "hello"


@pytest.mark.parametrize("code", [1, 3, 255])
def test_exit_codes(docker: Docker, code: int) -> None:
    assert docker("run", "--rm", IMAGE, "sh", "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize(("program", "code"), [("/nowhere", 127), ("nowhere", 127), ("/etc", 126)])
def test_what_can_not_be_run(docker: Docker, program: str, code: int) -> None:
    assert docker("run", "--rm", IMAGE, program).returncode == code


def test_exec(docker: Docker, box: str) -> None:
    assert docker.ok("exec", box, "sh", "-c", "echo inside; id -u").split() == ["inside", "0"]
    assert docker("exec", box, "sh", "-c", "exit 9").returncode == 9
    assert docker("exec", box, "nowhere").returncode in (126, 127)
    assert docker.ok("exec", "-i", box, "cat", stdin=None, input="typed\n") == "typed"
    assert docker.ok("exec", "--user", "1000", "--workdir", "/tmp", box, "sh", "-c", "id -u; pwd").split() == [
        "1000",
        "/tmp",
    ]


def test_a_terminal(docker: Docker) -> None:
    line = " ".join(map(str, [*docker.command, "run", "--rm", "-it", IMAGE, "tty"]))
    command = ["script", "-qec", line, "/dev/null"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert "/dev/pts/0" in done.stdout, done


def test_logs(docker: Docker) -> None:
    docker.ok("run", "--name", "talker", IMAGE, "sh", "-c", "echo one; echo two >&2")
    done = docker("logs", "talker")
    assert (done.stdout, done.stderr) == ("one\n", "two\n")


def test_stop_and_start(docker: Docker) -> None:
    script = 'trap "exit 4" TERM; while :; do sleep 0.05; done'
    docker.ok("run", "-d", "--name", "trap", IMAGE, "sh", "-c", script)
    docker.ok("stop", "--time", "20", "trap")
    assert inspect(docker, "trap", ".State.ExitCode") == "4"
    docker.ok("start", "trap")
    assert inspect(docker, "trap", ".State.Status") == "running"


def test_kill(docker: Docker, box: str) -> None:
    docker.ok("kill", box)
    assert docker.ok("wait", box) == "137"


def test_pause(docker: Docker, box: str) -> None:
    docker.ok("pause", box)
    assert inspect(docker, box, ".State.Status") == "paused"
    docker.ok("unpause", box)
    assert docker.ok("exec", box, "echo", "again") == "again"


def test_top_and_stats(docker: Docker, box: str) -> None:
    assert "sleep 1000" in docker.ok("top", box)
    row = json.loads(docker.ok("stats", "--no-stream", "--format", "{{json .}}", box))
    assert row["PIDs"] == "1"


def test_limits_and_update(docker: Docker) -> None:
    docker.ok("run", "-d", "--name", "box", "--memory", "64m", "--pids-limit", "50", IMAGE, "sleep", "1000")
    container = inspect(docker, "box", ".Id")
    assert memory_limit(container) == str(64 << 20)
    docker.ok("update", "--memory", "96m", "--memory-swap", "96m", "box")
    assert memory_limit(container) == str(96 << 20)


def test_out_of_memory(docker: Docker) -> None:
    hog = ["sh", "-c", "x=a; while :; do x=$x$x; done"]
    done = docker("run", "--name", "hog", "--memory", "16m", "--memory-swap", "16m", IMAGE, *hog)
    assert done.returncode == 137
    # systemd removes an empty cgroup at once: containerd hears of the OOM killer first, or not, with runc too.
    assert CGROUPS == "systemd" or eventually(lambda: inspect(docker, "hog", ".State.OOMKilled") == "true")


def test_restart_policy(docker: Docker) -> None:
    docker.ok("run", "-d", "--name", "again", "--restart", "on-failure:2", IMAGE, "sh", "-c", "echo try; exit 1")
    assert eventually(lambda: inspect(docker, "again", ".State.Status") == "exited")
    assert docker.ok("logs", "again").splitlines() == ["try"] * 3


def test_a_network_of_its_own(docker: Docker) -> None:
    docker.ok("network", "create", "ours")
    try:
        docker.ok("run", "-d", "--name", "server", "--network", "ours", IMAGE, "sleep", "1000")
        address = inspect(docker, "server", '(index .NetworkSettings.Networks "ours").IPAddress')
        assert "1 packets received" in docker.ok("run", "--rm", "--network", "ours", IMAGE, "ping", "-c", "1", address)
    finally:
        docker("rm", "--force", "server")
        docker.ok("network", "rm", "ours")


@pytest.mark.parametrize("network", ["none", "host"])
def test_other_networks(docker: Docker, network: str) -> None:
    assert docker.ok("run", "--rm", "--network", network, IMAGE, "echo", "ok") == "ok"


def test_volumes_and_read_only(docker: Docker, tmp_path: Path) -> None:
    flags = ["-v", f"{tmp_path}:/data:ro", "--read-only", "--tmpfs", "/scratch"]
    script = "touch /data/x || touch /x || touch /scratch/x && echo scratch"
    assert docker("run", "--rm", *flags, IMAGE, "sh", "-c", script).stdout == "scratch\n"


def test_build(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f'FROM {IMAGE}\nRUN echo built > /file\nCMD ["cat", "/file"]\n')
    docker.ok("build", "--tag", "local/built", tmp_path, env={**os.environ, "DOCKER_BUILDKIT": "0"})
    assert docker.ok("run", "--rm", "local/built") == "built"


def test_restart_of_the_daemon(docker: Docker) -> None:
    docker.ok("run", "-d", "--name", "lasting", "--restart", "always", IMAGE, "sleep", "1000")
    docker.daemon.stop()
    docker.daemon.start()
    assert eventually(lambda: inspect(docker, "lasting", ".State.Status") == "running")


# A swarm


def test_a_swarm_of_two(oci: str, kind: str, archive: Archive, tmp_path: Path) -> None:
    """Two daemons in network namespaces of their own; a service of ten tasks runs on both."""
    names = [f"node{i}" for i in range(2)]
    daemons = []
    subprocess.run(["ip", "link", "add", "swarm0", "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", "swarm0", "up"], check=True)
    try:
        for i, name in enumerate(names):
            ip = ["ip", "-n", name]
            subprocess.run(["ip", "netns", "add", name], check=True)
            subprocess.run(
                ["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name], check=True
            )
            subprocess.run(["ip", "link", "set", name, "master", "swarm0", "up"], check=True)
            subprocess.run([*ip, "address", "add", f"10.77.0.{i + 1}/24", "dev", "eth0"], check=True)
            for device in ("lo", "eth0"):
                subprocess.run([*ip, "link", "set", device, "up"], check=True)
            daemons.append(Docker(oci, kind, tmp_path, name, ("nsenter", f"--net=/run/netns/{name}")))
            daemons[-1].daemon.start()
            daemons[-1].ok("load", "--input", archive(IMAGE, ["sh"]))
        first, second = daemons
        first.ok("swarm", "init", "--advertise-addr", "10.77.0.1")
        token = first.ok("swarm", "join-token", "--quiet", "worker")
        second.ok("swarm", "join", "--token", token, "10.77.0.1:2377")
        first.ok("service", "create", "--detach", "--no-resolve-image", "--name", "many", IMAGE, "sleep", "1000")
        first.ok("service", "scale", "--detach", "many=10")

        def running() -> list[str]:
            form = ["--filter", "desired-state=running", "--format", "{{.Node}} {{.CurrentState}}"]
            rows = first("service", "ps", *form, "many").stdout.splitlines()
            return [row.split()[0] for row in rows if " Running" in row]

        assert eventually(lambda: len(running()) == 10, 90), first("service", "ps", "--no-trunc", "many").stdout
        counts = [len(each.ok("ps", "--quiet").split()) for each in daemons]
        assert sum(counts) == 10
        assert min(counts) > 0
        first.ok("service", "rm", "many")
        assert eventually(lambda: not any(each("ps", "--quiet").stdout for each in daemons), 60)
    finally:
        for each in daemons:
            each("swarm", "leave", "--force")
            each.daemon.stop()
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)
        subprocess.run(["ip", "link", "delete", "swarm0"], check=False)
