"""linux.namespaces, linux.uidMappings, hostname, domainname (MUST 81 to 86)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Container

# type in the config, name in /proc/PID/ns
NAMES = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt", "cgroup": "cgroup"}


def inside(container: Container, pid: int, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{NAMES[kind]}")


def ours(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{NAMES[kind]}")


@pytest.mark.parametrize("kind", NAMES)
def test_a_new_one(container: Container, kind: str) -> None:
    """MUST 84."""
    container.namespace(kind)
    container.create()
    assert inside(container, container.pid, kind) != ours(kind)


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup"])
def test_one_that_is_not_listed_is_the_runtimes(container: Container, kind: str) -> None:
    """MUST 85."""
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


@pytest.mark.parametrize("kind", NAMES)
def test_one_to_join(container: Container, other: int, kind: str) -> None:
    """MUST 82."""
    container.namespace(kind, f"/proc/{other}/ns/{NAMES[kind]}")
    container.create()
    assert inside(container, container.pid, kind) == os.readlink(f"/proc/{other}/ns/{NAMES[kind]}")
    assert inside(container, container.pid, kind) != ours(kind)
    assert container.start_and_wait() == 0
    container.delete()


def test_two_containers_share(container: Container, other: int) -> None:
    """All at once, as in a pod."""
    kinds = ("network", "ipc", "uts")
    for kind in kinds:
        container.namespace(kind, f"/proc/{other}/ns/{NAMES[kind]}")
    container.create()
    for kind in kinds:
        assert inside(container, container.pid, kind) == os.readlink(f"/proc/{other}/ns/{NAMES[kind]}")


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "pid", "mount"])
def test_one_of_another_type(container: Container, kind: str) -> None:
    """MUST 83."""
    wrong = "/proc/self/ns/net" if kind != "network" else "/proc/self/ns/uts"
    index = len(container.linux["namespaces"]) - 1
    container.namespace(kind, wrong)
    container.refused(f"/linux/namespaces/{index}/path", f"not a {kind} namespace")


@pytest.mark.parametrize(
    ("path", "words"),
    [("/no/such", "no such file or directory"), ("/dev/null", "not a file of a namespace"), ("/etc/passwd", "")],
)
def test_no_namespace_at_all(container: Container, path: str, words: str) -> None:
    container.namespace("ipc", path)
    container.refused(f"/linux/namespaces/{len(container.linux['namespaces']) - 1}/path", words)


def test_the_same_type_twice(container: Container) -> None:
    """MUST 86."""
    container.unlike(crun="1.8 takes it")
    container.linux["namespaces"].append({"type": "pid"})
    container.refused(f"/linux/namespaces/{len(container.linux['namespaces']) - 1}")


def test_the_program_is_pid_1(container: Container) -> None:
    assert container.sees("echo $$; ls -d /proc/[0-9]* | wc -l").split()[0] == "1"


def test_the_loopback_is_up(container: Container) -> None:
    assert "UP" in container.sees("ifconfig lo").replace("LOOPBACK", "")
    assert "127.0.0.1" in container.sees("ip addr show lo")


def test_host_and_domain_name(container: Container) -> None:
    container.config["hostname"] = "some.where"
    if container.runtime.name != "runc":
        container.config["domainname"] = "example.org"
    domain = container.sees("hostname; cat /proc/sys/kernel/domainname")
    assert domain.splitlines()[0] == "some.where"
    assert container.runtime.name == "runc" or domain.splitlines()[1] == "example.org"
    assert os.uname().nodename != "some.where"


@pytest.mark.parametrize(("name", "value"), [("hostname", "x" * 65), ("domainname", "x" * 65)])
def test_a_name_that_is_too_long(container: Container, name: str, value: str) -> None:
    if container.runtime.name != "pyrun" and name == "domainname":
        pytest.skip("not known")
    container.config[name] = value
    container.refused(f"/{name}", "64 bytes")


def test_a_host_name_without_its_namespace(container: Container) -> None:
    container.without_namespace("uts")
    container.refused("/hostname", "uts")


def test_a_cgroup_namespace(container: Container) -> None:
    container.namespace("cgroup")
    paths = {line.split(":", 2)[2] for line in container.sees("cat /proc/self/cgroup").splitlines()}
    mounted = Path("/proc/self/mountinfo").read_text()
    assert "/" in paths
    # A hierarchy that nobody has mounted is out of the runtime's reach.
    assert paths == {"/"} or "hugetlb" not in mounted


def test_ipc_objects_are_its_own(container: Container) -> None:
    assert container.sees("wc -l < /proc/sysvipc/shm") == "1"


# A user namespace -----------------------------------------------------------------------------------------------------


def test_ids_are_mapped(container: Container) -> None:
    container.user_namespace(100000, 65536)
    seen = container.sees("cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; id -u; id -g")
    fields = seen.split()
    assert fields[:6] == ["0", "100000", "65536"] * 2
    assert fields[6:] == ["allow", "0", "0"]


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


def test_files_belong_to_the_mapped_root(container: Container) -> None:
    container.user_namespace()
    container.config["root"]["readonly"] = False
    assert container.sees("stat -c '%u:%g' /etc/passwd; touch /new; stat -c %u /new").split() == ["0:0", "0"]
    assert (container.rootfs / "new").stat().st_uid == 100000


def test_mounts_in_a_user_namespace(container: Container) -> None:
    container.user_namespace()
    container.mount("/tmp", "tmpfs", "tmpfs", "size=64k")
    (container.path / "volume").mkdir()
    (container.path / "volume/mark").write_text("mine")
    container.mount("/volume", "bind", str(container.path / "volume"), "rbind", "ro")
    seen = container.sees("cat /volume/mark; stat -c %u /dev /dev/pts /dev/shm /tmp; cat /proc/self/mountinfo")
    assert seen.startswith("mine0\n0\n0\n0\n")


def test_default_devices_in_a_user_namespace(container: Container) -> None:
    """mknod is refused there: they are the host's own, bound."""
    container.user_namespace()
    names = "null zero full random urandom tty"
    seen = container.sees(f"cd /dev; stat -c '%n %F %t:%T' {names}; echo x > null; head -c 4 zero | wc -c")
    assert "null character special file 1:3" in seen
    assert "urandom character special file 1:9" in seen
    assert seen.splitlines()[-1] == "4"


def test_devices_of_the_config_in_a_user_namespace(container: Container) -> None:
    container.user_namespace()
    container.linux["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]
    assert container.sees("stat -c %t:%T /dev/kmsg") == "1:b"


def test_a_root_below_a_closed_folder(container: Container) -> None:
    """The root and a bind source lie where only the host's root can go."""
    container.unlike(runc="1.1 can't", crun="1.8 can't")
    container.user_namespace()
    container.path.chmod(0o700)
    (container.path / "volume").mkdir()
    (container.path / "volume/mark").write_text("mine")
    container.mount("/volume", "bind", str(container.path / "volume"), "rbind")
    assert container.sees("cat /volume/mark") == "mine"


def test_capabilities_are_the_user_namespaces(container: Container) -> None:
    container.user_namespace()
    container.capabilities("CAP_SYS_ADMIN", "CAP_SYS_RESOURCE")
    container.config["root"]["readonly"] = False
    seen = container.sees("grep CapEff /proc/self/status; mount -t tmpfs x /tmp && echo mounted")
    assert seen.splitlines() == [f"CapEff:\t{1 << 21 | 1 << 24:016x}", "mounted"]


@pytest.mark.parametrize("user", [{"uid": 70000, "gid": 0}, {"uid": 0, "gid": 70000}])
def test_an_id_without_a_mapping(container: Container, user: dict[str, int]) -> None:
    container.user_namespace()
    container.process["user"] = user
    container.refused("/process/user/", "mapping")


def test_mappings_without_a_user_namespace(container: Container) -> None:
    container.linux["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1}]
    container.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1}]
    container.unlike(crun="1.8 ignores them", runc="1.1 ignores them")
    container.refused("/linux/uidMappings")


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
