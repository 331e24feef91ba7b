"""A policy: what it demands of a config, rule by rule."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pyrun.spec.example import example
from pyrun.spec.faults import Invalid
from pyrun.spec.policy import RULES, Policy, Subject

CHECKOUT = Path(__file__).parents[2]
BIND = {"destination": "/x", "source": "/srv/data/x", "options": ["bind"]}


def judged(tmp_path: Path, policy: dict[str, Any], config: Any, image: str = "") -> list[str]:
    read = Policy(json.dumps(policy).encode())
    return [fault.pointer for fault in read.faults(Subject(config, str(tmp_path), image))]


def with_mount(**mount: Any) -> Any:
    return {**example(), "mounts": [{**BIND, **mount}]}


@pytest.mark.parametrize(
    ("allowed", "mount", "pointer"),
    [
        (["/srv"], {}, ""),
        (["/srv/data"], {}, ""),
        (["/srv/data/x/"], {}, ""),
        (["/"], {}, ""),
        ([], {}, "/source"),
        (["/srv/dat"], {}, "/source"),
        (["/srv/data/x/y"], {}, "/source"),
        (["/srv"], {"source": "/srv/../etc"}, "/source"),
        (["/srv:ro"], {}, "/options"),
        (["/srv:ro"], {"options": ["bind", "ro"]}, ""),
        (["/srv:ro"], {"options": ["bind", "ro", "rw"]}, "/options"),
        (["/srv:ro"], {"options": ["rbind", "ro"]}, "/options"),
        (["/srv:ro"], {"options": ["rbind", "rro"]}, ""),
        (["/srv:ro"], {"options": ["bind", "rro"]}, ""),
        (["/srv:ro"], {"options": ["bind", "ro", "rrw"]}, "/options"),
        (["/srv:ro"], {"options": ["remount", "bind", "ro", "rrw"]}, "/options"),
        ([], {"source": "."}, "/source"),
        ([], {"source": "rootfs/etc"}, "/source"),
        ([], {"source": "config.json"}, "/source"),
        (["cgroup"], {"type": "cgroup", "options": ["nosuid"]}, "/options"),
        (["cgroup"], {"type": "cgroup", "options": ["ro"]}, ""),
        (["/srv:ro", "/srv/data"], {}, ""),
        ([], {"source": "inside"}, ""),
        ([], {"source": "../outside"}, "/source"),
        (["tmpfs"], {"type": "tmpfs", "source": "tmpfs", "options": []}, ""),
        (["tmpfs", "/"], {"type": "ext4", "source": "/dev/sda", "options": []}, "/type"),
        (["/srv:ro"], {"options": ["remount", "rw"]}, "/options"),
        (["/srv:ro"], {"options": ["remount", "bind"]}, "/options"),
        (["/srv:ro"], {"options": ["remount", "bind", "ro"]}, ""),
    ],
)
def test_mounts(tmp_path: Path, allowed: list[str], mount: dict[str, Any], pointer: str) -> None:
    expected = [f"/mounts/0{pointer}"] if pointer else []
    assert judged(tmp_path, {"mounts": allowed}, with_mount(**mount)) == expected


def test_symlinks_are_followed(tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to("/etc")
    assert judged(tmp_path, {"mounts": []}, with_mount(source="way")) == ["/mounts/0/source"]
    assert judged(tmp_path, {"mounts": ["/etc"]}, with_mount(source="way")) == []
    config = example()
    config["root"]["path"] = "way"
    assert judged(tmp_path, {"roots": []}, config) == ["/root/path"]
    assert judged(tmp_path, {"roots": ["/etc"]}, config) == []


def changed(**parts: Any) -> Any:
    """The example with members changed, by names like linux_devices."""
    config: Any = example()
    for name, value in parts.items():
        *parents, last = name.split("_")
        node = config
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return config


ROOT_AT_FIVE = [{"containerID": 5, "hostID": 0, "size": 1}]
RULE = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"}
FUSE = {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229}
NULL = {"type": "c", "path": "/dev/null", "major": 1, "minor": 3}


@pytest.mark.parametrize(
    ("policy", "config", "pointers"),
    [
        ({}, changed(process_user={"uid": 0}), []),
        ({"capabilities": ["CAP_KILL"]}, changed(process_capabilities={"bounding": ["CAP_KILL"]}), []),
        (
            {"capabilities": ["CAP_KILL"]},
            changed(process_capabilities={"bounding": ["CAP_KILL", "CAP_CHOWN"], "ambient": ["CAP_CHOWN"]}),
            ["/process/capabilities/bounding/1", "/process/capabilities/ambient/0"],
        ),
        ({"noNewPrivileges": True}, changed(process_noNewPrivileges=False), ["/process/noNewPrivileges"]),
        ({"noNewPrivileges": True}, changed(process_noNewPrivileges=True), []),
        ({"noNewPrivileges": False}, changed(process_noNewPrivileges=False), []),
        ({"nonRoot": True}, changed(process_user={"gid": 5}), ["/process/user/uid"]),
        ({"nonRoot": True}, changed(process_user={"uid": 5}), []),
        ({"readonlyRoot": True}, changed(root_readonly=False), ["/root/readonly"]),
        ({"namespaces": ["user"]}, example(), ["/linux/namespaces"]),
        (
            {"namespaces": ["pid"]},
            changed(linux_namespaces=[{"type": "pid", "path": "/proc/1/ns/pid"}]),
            ["/linux/namespaces/0/path"],
        ),
        ({"namespaces": ["pid", "mount"]}, example(), []),
        ({"seccomp": True}, example(), ["/linux/seccomp"]),
        (
            {"seccomp": True},
            changed(linux_seccomp={"defaultAction": "SCMP_ACT_ALLOW"}),
            ["/linux/seccomp/defaultAction"],
        ),
        ({"seccomp": True}, changed(linux_seccomp={"defaultAction": "SCMP_ACT_ERRNO"}), []),
        (
            {"maskedPaths": ["/proc/kcore", "/proc/acpi/x"]},
            changed(linux_maskedPaths=["/proc/kcore", "/proc/acpi"]),
            [],
        ),
        ({"maskedPaths": ["/proc/kcore"]}, changed(linux_maskedPaths=["/proc/kcor"]), ["/linux/maskedPaths"]),
        ({"devices": []}, example(), []),
        ({"devices": ["/dev/null"]}, changed(linux_devices=[NULL]), []),
        ({"devices": []}, changed(linux_devices=[FUSE]), ["/linux/devices/0/path"]),
        ({"devices": []}, changed(linux_resources={"devices": [RULE]}), ["/linux/resources/devices/0"]),
        ({"devices": []}, changed(linux_resources={"devices": [{"allow": True}]}), ["/linux/resources/devices/0"]),
        ({"devices": []}, changed(linux_resources={"devices": [{**RULE, "access": "m"}]}), []),
        ({"devices": []}, changed(linux_resources={"devices": [{**RULE, "minor": 3, "major": 1}]}), []),
        ({"hooks": ["/a"]}, changed(hooks_poststop=[{"path": "/a"}, {"path": "/b"}]), ["/hooks/poststop/1"]),
        ({"hooks": ["/a 'b c'"]}, changed(hooks_prestart=[{"path": "/a", "args": ["x", "b c"]}]), []),
        ({"hooks": ["/a"]}, changed(hooks_prestart=[{"path": "/a", "args": ["a", "b"]}]), ["/hooks/prestart/0"]),
        (
            {"hooks": ["/a"]},
            changed(hooks_prestart=[{"path": "/a", "env": ["LD_PRELOAD=/x"]}]),
            ["/hooks/prestart/0/env"],
        ),
        (
            {"hooks": []},
            changed(annotations={"run.oci.hooks.stdout": "/x"}),
            ["/annotations/run.oci.hooks.stdout"],
        ),
        ({"nonRoot": True}, changed(process_user={"uid": 5}, linux_uidMappings=ROOT_AT_FIVE), ["/process/user/uid"]),
        (
            {"maskedPaths": []},
            changed(mounts=[{"destination": "/mnt", "type": "proc"}]),
            ["/mounts/0/destination"],
        ),
        ({"devices": ["/dev/fuse"]}, changed(linux_devices=[{**FUSE, "type": "b", "major": 7}]), ["/linux/devices/0"]),
        (
            {"memory": 5},
            changed(linux_resources={"memory": {"limit": 5}, "unified": {"memory.max": "max"}}),
            ["/linux/resources/unified/memory.max"],
        ),
        ({"sysctl": ["net.*"]}, changed(linux_sysctl={"net.a": "1", "kernel.b": "1"}), ["/linux/sysctl/kernel.b"]),
        ({"annotations": []}, changed(annotations={"a/b": "1"}), ["/annotations/a~1b"]),
        ({"memory": 5}, example(), ["/linux/resources/memory/limit"]),
        ({"memory": 5}, changed(linux_resources={"memory": {"limit": 5}}), []),
        ({"memory": 5}, changed(linux_resources={"memory": {"limit": 6}}), ["/linux/resources/memory/limit"]),
        ({"memory": 5}, changed(linux_resources={"memory": {"limit": -1}}), ["/linux/resources/memory/limit"]),
        ({"pids": 5}, changed(linux_resources={"pids": {"limit": 0}}), ["/linux/resources/pids/limit"]),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_rules(tmp_path: Path, policy: dict[str, Any], config: Any, pointers: list[str]) -> None:
    assert judged(tmp_path, policy, config) == pointers


def test_images(tmp_path: Path) -> None:
    policy = {"images": ["sha256:1"]}
    assert judged(tmp_path, policy, example()) == ["/root/path"]
    assert judged(tmp_path, policy, example(), "sha256:2") == ["/root/path"]
    assert judged(tmp_path, policy, example(), "sha256:1") == []
    assert judged(tmp_path, policy, changed(root_path="other"), "sha256:1") == ["/root/path"]


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("[]", ""),
        ('{"capability": []}', "/capability"),
        ('{"capabilities": "CAP_KILL"}', "/capabilities"),
        ('{"capabilities": [1]}', "/capabilities"),
        ('{"memory": true}', "/memory"),
        ('{"nonRoot": 1}', "/nonRoot"),
        ('{"nonRoot": true, "nonRoot": false}', "/nonRoot"),
        ('{"hooks": null}', "/hooks"),
        ('{"hooks": ["/a", "/b \\"c"]}', "/hooks/1"),
    ],
)
def test_what_is_no_policy(text: str, pointer: str) -> None:
    """What is not understood can't be kept to."""
    with pytest.raises(Invalid) as caught:
        Policy(text.encode())
    assert [fault.pointer for fault in caught.value.faults] == [pointer]


def test_the_document_has_the_rules() -> None:
    text = (CHECKOUT / "docs/commands/global.md").read_text()
    table = text.partition("| rule | value |")[2].partition("\n\n")[0]
    said = {
        name
        for row in re.findall(r"^\| (`.*?`(?:, `.*?`)*) \|", table, re.MULTILINE)
        for name in re.findall("`(.*?)`", row)
    }
    assert said == set(RULES)
    block = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    assert block and Policy(block[1].encode()).rules


def test_a_part_by_itself(tmp_path: Path) -> None:
    policy = Policy(b'{"nonRoot": true, "mounts": [], "memory": 5, "pids": 5, "hooks": []}')

    def pointers(part: str, value: Any) -> list[str]:
        return [fault.pointer for fault in policy.part_faults(part, value, example(), str(tmp_path))]

    assert pointers("process", {"user": {"uid": 0}}) == ["/process/user/uid"]
    assert pointers("mounts", [BIND]) == ["/mounts/0/source"]
    # From the bundle on, wherever the caller is.
    assert pointers("mounts", [{**BIND, "source": "../../etc"}]) == ["/mounts/0/source"]
    assert pointers("mounts", [{**BIND, "source": "data"}]) == []
    assert pointers("resources", {"memory": {"limit": 6}}) == ["/linux/resources/memory/limit"]
    assert pointers("resources", {"memory": {"swap": 6}, "cpu": {"shares": 6}}) == []
    assert pointers("resources", {"unified": {"memory.max": "max", "pids.max": "5", "cpu.weight": "5"}}) == [
        "/linux/resources/unified/memory.max",
        "/linux/resources/unified/pids.max",
    ]
