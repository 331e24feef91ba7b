"""A whole Debian in place of busybox: programs as they are packaged. tests/guest/managers makes the image (DEBIAN)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from managers import eventually
from test_podman import Podman

TREE = os.environ.get("DEBIAN", "")
IMAGE = "localhost/debian:latest"
pytestmark = pytest.mark.skipif(not TREE, reason="DEBIAN, a tar of a tree, is not said")


@pytest.fixture(scope="module")
def engine(oci: str, tmp_path_factory: pytest.TempPathFactory) -> Podman:
    made = Podman(oci, tmp_path_factory.mktemp("debian"))
    made.seconds = 300
    made.ok("import", "--change", "ENV=PATH=/usr/sbin:/usr/bin:/sbin:/bin", TREE, IMAGE)
    return made


@pytest.fixture
def podman(engine: Podman) -> Iterator[Podman]:
    yield engine
    engine("rm", "--all", "--force", "--time", "0")


def run(podman: Podman, script: str, *flags: str) -> str:
    return podman.ok("run", "--rm", *flags, IMAGE, "bash", "-euc", script)


def test_bash(podman: Podman) -> None:
    assert run(podman, "readlink /proc/$$/exe; printf '%s\\n' {1..3}").split() == ["/usr/bin/bash", "1", "2", "3"]


def test_postgres(podman: Podman) -> None:
    script = """
    cd /tmp; export PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
    as() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
    as initdb --pgdata=/tmp/data --auth=trust > /dev/null
    as pg_ctl --pgdata=/tmp/data --wait --options='-k /tmp' start > /dev/null
    as psql --host=/tmp --tuples-only --no-align --command='select sum(n) from generate_series(1, 1000) n' postgres
    as pg_ctl --pgdata=/tmp/data --wait stop > /dev/null
    """
    assert run(podman, script, "--memory", "512m", "--pids-limit", "100") == "500500"


def test_redis(podman: Podman) -> None:
    script = """
    redis-server --daemonize yes --port 0 --unixsocket /tmp/redis --dir /tmp > /dev/null
    until redis-cli -s /tmp/redis ping > /dev/null 2>&1; do sleep 0.1; done
    redis-cli -s /tmp/redis set name value > /dev/null; redis-cli -s /tmp/redis get name
    redis-cli -s /tmp/redis shutdown nosave
    """
    assert run(podman, script) == "value"


def test_nginx(podman: Podman) -> None:
    script = """
    nginx; exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3
    grep --max-count=1 title <&3; nginx -s stop
    """
    assert "<title>Welcome to nginx!</title>" in run(podman, script)


def test_systemd_is_process_1(podman: Podman) -> None:
    podman.ok("run", "--detach", "--name", "box", "--systemd=always", IMAGE, "/lib/systemd/systemd")
    ready = ("running", "degraded")
    assert eventually(lambda: podman("exec", "box", "systemctl", "is-system-running").stdout.strip() in ready, 120)
    podman.ok("exec", "box", "systemd-run", "--wait", "--property=MemoryMax=64M", "true")
    assert podman.ok("exec", "box", "ps", "-p", "1", "-o", "comm=") == "systemd"
    podman.ok("stop", "--time", "60", "box")
    assert podman.ok("inspect", "--format", "{{.State.Status}}", "box") == "exited"


@pytest.mark.parametrize(("flags", "uid"), [((), "0"), (("--security-opt", "no-new-privileges"), "1000")])
def test_a_setuid_program(podman: Podman, flags: tuple[str, ...], uid: str) -> None:
    podman.ok("run", "--name", "box", IMAGE, "install", "-m", "4755", "/usr/bin/python3", "/usr/bin/as-root")
    podman.ok("commit", "--quiet", "box", "localhost/setuid:latest")
    program = ("as-root", "-c", "import os; print(os.geteuid())")
    assert podman.ok("run", "--rm", "--user", "1000", *flags, "localhost/setuid:latest", *program) == uid


@pytest.mark.parametrize(("flags", "code"), [(("--cap-add", "NET_RAW"), 0), (("--cap-drop", "all"), 126)])
def test_a_program_with_file_capabilities(podman: Podman, flags: tuple[str, ...], code: int) -> None:
    """It is executed with them, and not at all where they are not to be had (capabilities(7), safety checking)."""
    mark = ("sh", "-c", "cp /usr/bin/sleep /usr/bin/capable && setcap cap_net_raw+ep /usr/bin/capable")
    podman.ok("run", "--name", "box", "--cap-add", "SETFCAP", IMAGE, *mark)
    podman.ok("commit", "--quiet", "box", "localhost/capable:latest")
    executed = "until grep -qx capable /proc/$!/comm; do :; done"
    show = ("sh", "-c", f"capable 5 & {executed}; grep CapEff /proc/$!/status; wait")
    done = podman("run", "--rm", "--user", "1000", *flags, "localhost/capable:latest", "capable", "0")
    assert done.returncode == code, done
    if not code:
        shown = podman.ok("run", "--rm", "--user", "1000", *flags, "localhost/capable:latest", *show)
        assert int(shown.split()[1], 16) == 1 << 13


def test_strace(podman: Podman) -> None:
    said = run(podman, "strace -f -o /tmp/said true; grep -c execve /tmp/said", "--cap-add", "SYS_PTRACE")
    assert int(said) >= 1


def test_the_tree_is_whole(podman: Podman) -> None:
    """dpkg finds each file as it was packaged."""
    assert run(podman, "dpkg --verify coreutils bash") == ""
    assert Path(TREE).stat().st_size > 50 << 20
    assert subprocess.run(["tar", "-tf", TREE, "./usr/bin/bash"], capture_output=True, check=False).returncode == 0
