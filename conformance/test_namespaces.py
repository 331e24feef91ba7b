"""linux.namespaces, id mappings, host and domain name (config-linux.md "Namespaces")."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.harness import Container

# type in the config, name in /proc/PID/ns
NAMES = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt", "cgroup": "cgroup"}


def inside(container: Container, pid: int, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{NAMES[kind]}")


def ours(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{NAMES[kind]}")


@pytest.mark.must(84)
@pytest.mark.parametrize("kind", NAMES)
def test_a_new_one(container: Container, kind: str) -> None:
    container.namespace(kind)
    container.create()
    assert inside(container, container.pid, kind) != ours(kind)


@pytest.mark.must(85)
@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup"])
def test_one_that_is_not_listed_is_the_runtimes(container: Container, kind: str) -> None:
    container.without_namespace(kind)
    if kind == "uts":
        del container.config["hostname"]
    if kind == "network":
        container.without_mount("/sys", "/sys/fs/cgroup")
    if kind == "ipc":
        container.without_mount("/dev/mqueue")
    container.create()
    assert inside(container, container.pid, kind) == ours(kind)


@pytest.fixture
def other() -> Iterator[int]:
    """The pid of a process that has a namespace of every type of its own."""
    command = ["unshare", "-m", "-u", "-i", "-n", "-p", "-C", "-f", "sh", "-c", "echo; exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.read(1)
        pid = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        yield pid
        os.kill(pid, 9)


@pytest.mark.must(82)
@pytest.mark.parametrize("kind", NAMES)
def test_one_to_join(container: Container, other: int, kind: str) -> None:
    container.namespace(kind, f"/proc/{other}/ns/{NAMES[kind]}")
    container.create()
    assert inside(container, container.pid, kind) == os.readlink(f"/proc/{other}/ns/{NAMES[kind]}")
    assert inside(container, container.pid, kind) != ours(kind)
    assert container.start_and_wait() == 0
    container.delete()


@pytest.mark.must(82)
def test_two_containers_share(container: Container, other: int) -> None:
    """All at once, as in a pod."""
    kinds = ("network", "ipc", "uts")
    for kind in kinds:
        container.namespace(kind, f"/proc/{other}/ns/{NAMES[kind]}")
    container.create()
    for kind in kinds:
        assert inside(container, container.pid, kind) == os.readlink(f"/proc/{other}/ns/{NAMES[kind]}")


@pytest.mark.must(83)
@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "pid", "mount"])
def test_one_of_another_type(container: Container, kind: str) -> None:
    wrong = "/proc/self/ns/net" if kind != "network" else "/proc/self/ns/uts"
    container.namespace(kind, wrong)
    container.refused()


@pytest.mark.must(30, 80)
@pytest.mark.parametrize("path", ["/no/such", "/dev/null", "/etc/passwd"])
def test_no_namespace_at_all(container: Container, path: str) -> None:
    container.namespace("ipc", path)
    container.refused()


@pytest.mark.must(86)
def test_the_same_type_twice(container: Container) -> None:
    container.linux["namespaces"].append({"type": "pid"})
    container.refused()


@pytest.mark.must(84)
def test_the_program_is_pid_1(container: Container) -> None:
    assert container.sees("echo $$; ls -d /proc/[0-9]* | wc -l").split()[0] == "1"


@pytest.mark.must(28)
def test_the_host_name(container: Container) -> None:
    container.config["hostname"] = "some.where"
    assert container.sees("hostname") == "some.where"
    assert os.uname().nodename != "some.where"


@pytest.mark.must(28)
def test_the_domain_name(container: Container) -> None:
    container.config["domainname"] = "example.org"
    assert container.sees("cat /proc/sys/kernel/domainname") == "example.org"


@pytest.mark.must(30)
def test_a_host_name_that_is_too_long(container: Container) -> None:
    container.config["hostname"] = "x" * 65
    container.refused()


@pytest.mark.must(30)
@pytest.mark.parametrize("name", ["hostname", "domainname"])
def test_a_name_without_its_namespace(container: Container, name: str) -> None:
    """It would be the host's."""
    container.without_namespace("uts")
    del container.config["hostname"]
    container.config[name] = os.uname().nodename  # harmless where it is taken
    container.refused()


@pytest.mark.must(81)
def test_a_relative_path(container: Container, other: int) -> None:
    (container.path / "ns").symlink_to(f"/proc/{other}/ns/ipc")
    container.namespace("ipc", "ns")
    container.write()
    assert container.runtime("create", "--bundle", container.path, container.id, cwd=container.path).code != 0
    assert not container.exists()


@pytest.mark.must(84)
def test_a_cgroup_namespace(container: Container) -> None:
    container.namespace("cgroup")
    paths = {line.split(":", 2)[2] for line in container.sees("cat /proc/self/cgroup").splitlines()}
    mounted = Path("/proc/self/mountinfo").read_text()
    assert "/" in paths
    # A hierarchy that nobody has mounted is out of the runtime's reach.
    assert paths == {"/"} or "hugetlb" not in mounted


@pytest.mark.must(28)
def test_ids_are_mapped(container: Container) -> None:
    container.user_namespace(100000, 65536)
    seen = container.sees("cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; id -u; id -g")
    fields = seen.split()
    assert fields[:6] == ["0", "100000", "65536"] * 2
    assert fields[6:] == ["allow", "0", "0"]


@pytest.mark.must(28)
def test_several_mappings(container: Container) -> None:
    container.user_namespace(100000, 1000)
    for key in ("uidMappings", "gidMappings"):
        container.linux[key].append({"containerID": 1000, "hostID": 300000, "size": 10})
    container.process["user"] = {"uid": 1005, "gid": 1006, "additionalGids": [7, 1009]}
    container.create()
    status = Path(f"/proc/{container.pid}/status").read_text()
    assert "Uid:\t300005\t300005\t300005\t300005\n" in status
    assert "Gid:\t300006\t300006\t300006\t300006\n" in status
    assert "Groups:\t100007 300009 \n" in status


@pytest.mark.must(28)
def test_files_belong_to_the_mapped_root(container: Container) -> None:
    container.user_namespace()
    container.config["root"]["readonly"] = False
    assert container.sees("stat -c '%u:%g' /etc/passwd; touch /new; stat -c %u /new").split() == ["0:0", "0"]
    assert (container.rootfs / "new").stat().st_uid == 100000


@pytest.mark.must(82)
def test_a_user_namespace_to_join(container: Container) -> None:
    with subprocess.Popen(["unshare", "-U", "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.read(1)
        try:
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{process.pid}/{name}").write_text("0 100000 65536")
            container.user_namespace()
            container.namespace("user", f"/proc/{process.pid}/ns/user")
            container.create()
            assert os.readlink(f"/proc/{container.pid}/ns/user") == os.readlink(f"/proc/{process.pid}/ns/user")
            container.delete()
        finally:
            process.kill()


@pytest.mark.must(30, 80)
@pytest.mark.parametrize("user", [{"uid": 70000, "gid": 0}, {"uid": 0, "gid": 70000}])
def test_an_id_without_a_mapping(container: Container, user: dict[str, int]) -> None:
    container.user_namespace()
    container.process["user"] = user
    container.refused()
