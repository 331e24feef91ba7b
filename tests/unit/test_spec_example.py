from __future__ import annotations

import pytest

from pyrun.spec import checks, config, strictjson
from pyrun.spec.example import example


@pytest.mark.parametrize("rootless", [False, True])
@pytest.mark.parametrize("cgroup_v2", [False, True])
def test_is_good_and_raises_no_warning(rootless: bool, cgroup_v2: bool) -> None:
    made = example(rootless, cgroup_v2, 1000, 1001)
    assert config.load(strictjson.dumps(made, indent=4).encode()) == made
    assert checks.config_warnings(made) == []


def types(rootless: bool, cgroup_v2: bool) -> list[str]:
    return [namespace["type"] for namespace in example(rootless, cgroup_v2)["linux"]["namespaces"]]


def test_namespaces() -> None:
    assert types(rootless=False, cgroup_v2=False) == ["pid", "network", "ipc", "uts", "mount"]
    assert types(rootless=False, cgroup_v2=True) == ["pid", "network", "ipc", "uts", "mount", "cgroup"]
    assert types(rootless=True, cgroup_v2=True) == ["pid", "ipc", "uts", "mount", "cgroup", "user"]


def test_gives_little_away() -> None:
    """CVE-2022-29162: neither inheritable nor ambient capabilities."""
    process = example()["process"]
    assert set(process["capabilities"]) == {"bounding", "effective", "permitted"}
    assert process["noNewPrivileges"] is True
    assert example()["root"]["readonly"] is True


def test_rootless() -> None:
    linux = example(rootless=True, uid=1000, gid=1001)["linux"]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": 1001, "size": 1}]
    assert "resources" not in linux
    mounts = {mount["destination"]: mount for mount in example(rootless=True)["mounts"]}
    assert "rbind" in mounts["/sys"]["options"]
    assert not any(o.startswith(("uid=", "gid=")) for mount in mounts.values() for o in mount.get("options", ()))


def test_two_examples_share_nothing() -> None:
    first = example()
    first["process"]["capabilities"]["bounding"].clear()
    first["linux"]["maskedPaths"].clear()
    assert example()["process"]["capabilities"]["bounding"]
    assert example()["linux"]["maskedPaths"]
    assert first["process"]["capabilities"]["effective"]
