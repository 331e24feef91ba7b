"""linux.namespaces, linux.uidMappings, hostname, domainname (MUST 81 to 86)."""

from __future__ import annotations

import pytest
from harness import Container

pytestmark = pytest.mark.guest


def test_the_loopback_is_up(container: Container) -> None:
    assert "UP" in container.sees("ifconfig lo").replace("LOOPBACK", "")
    assert "127.0.0.1" in container.sees("ip addr show lo")


@pytest.mark.parametrize(("name", "value"), [("hostname", "x" * 65), ("domainname", "x" * 65)])
def test_a_name_that_is_too_long(container: Container, name: str, value: str) -> None:
    if container.runtime.name != "pyrun" and name == "domainname":
        pytest.skip("not known")
    container.config[name] = value
    container.refused(f"/{name}", "64 bytes")


def test_a_host_name_without_its_namespace(container: Container) -> None:
    container.without_namespace("uts")
    container.refused("/hostname", "uts")


def test_ipc_objects_are_its_own(container: Container) -> None:
    assert container.sees("wc -l < /proc/sysvipc/shm") == "1"


# A user namespace -----------------------------------------------------------------------------------------------------


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


def test_mappings_without_a_user_namespace(container: Container) -> None:
    container.linux["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1}]
    container.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1}]
    container.unlike(crun="1.8 ignores them", runc="1.1 ignores them")
    container.refused("/linux/uidMappings")
