"""The features document (features.md), of runtimes that print one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conformance.harness import Container, Done, Runtime


@pytest.fixture
def features(runtime: Runtime) -> dict[str, Any]:
    done = runtime("features")
    if done.code:
        pytest.skip("no features command")
    document: dict[str, Any] = json.loads(done.out)
    return document


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.partition("-")[0].partition("+")[0].split(".")]


@pytest.mark.must(137, 138)
def test_the_versions(features: dict[str, Any]) -> None:
    assert numbers(features["ociVersionMax"]) >= numbers(features["ociVersionMin"])


@pytest.mark.must(137)
@pytest.mark.parametrize("key", ["ociVersionMin", "ociVersionMax"])
def test_both_versions_are_taken(features: dict[str, Any], container: Container, key: str) -> None:
    container.config["ociVersion"] = features[key]
    assert container.sees("echo up") == "up"


@pytest.mark.must(140)
def test_listed_hooks_run(features: dict[str, Any], container: Container) -> None:
    container.mount("/bundle", "bind", str(container.path), "rbind")
    for kind in features["hooks"]:
        folder = "/bundle" if kind == "startContainer" else container.path
        container.hook(kind, f"echo {kind} >> {folder}/trail")
    assert container.run("true").code == 0
    assert sorted((container.path / "trail").read_text().split()) == sorted(features["hooks"])


@pytest.mark.must(140)
def test_listed_mount_options_are_recognised(features: dict[str, Any], container: Container) -> None:
    """One by one: a word that isn't an option would be refused by the tmpfs as its own."""
    unlike_a_mount = {
        "bind",
        "rbind",
        "remount",
        "idmap",
        "ridmap",
        "move",
        "tmpcopyup",
        "copy-symlink",
        "src-nofollow",
    }
    refused = []
    for option in sorted(set(features["mountOptions"]) - unlike_a_mount):
        container.config["mounts"] = [m for m in container.config["mounts"] if m["destination"] != "/tmp"]
        container.mount("/tmp", "tmpfs", "tmpfs", option)
        if container.run("true").code:
            refused.append(option)
    assert refused == []


@pytest.mark.must(140)
def test_listed_namespaces_can_be_had(features: dict[str, Any], container: Container) -> None:
    refused = []
    for kind in features["linux"]["namespaces"]:
        if kind == "user":
            continue
        had = [dict(n) for n in container.linux["namespaces"]]
        container.namespace(kind)
        if container.run("true").code:
            refused.append(kind)
        container.linux["namespaces"] = had
    assert refused == []


@pytest.mark.must(140)
def test_listed_capabilities_are_known(features: dict[str, Any], container: Container) -> None:
    container.capabilities(*features["linux"]["capabilities"])
    done = container.run("true")
    assert "unknown" not in (done.err + done.out).lower()  # some may be out of reach here, which is another matter


def with_seccomp(container: Container, **more: Any) -> Done:
    rule = {"names": ["acct"], "action": "SCMP_ACT_ERRNO"}
    container.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule], **more}
    return container.run("true")


@pytest.mark.must(140)
def test_listed_seccomp_flags_work(features: dict[str, Any], container: Container) -> None:
    flags = features["linux"].get("seccomp", {}).get("supportedFlags") or ()
    assert [flag for flag in flags if with_seccomp(container, flags=[flag]).code] == []


@pytest.mark.must(140)
def test_listed_seccomp_architectures_are_known(features: dict[str, Any], container: Container) -> None:
    """One may be out of reach here, by its byte order or the library's age, but not for the reason that a wrong word
    is."""

    def said(word: str) -> str:
        done = with_seccomp(container, architectures=[word])
        words = (done.err + done.out).lower().replace(word.lower(), "WORD") if done.code else ""
        return re.sub(r'\d|time="[^"]*"|' + word.lower().removeprefix("scmp_arch_"), "", words)

    nonsense = said("SCMP_ARCH_NONSENSE")
    assert nonsense
    listed = features["linux"].get("seccomp", {}).get("archs") or ()
    assert [word for word in listed if said(word) == nonsense] == []


@pytest.mark.must(140)
@pytest.mark.skipif(not os.path.exists("/proc/self/numa_maps"), reason="no memory policies in this kernel")
def test_listed_memory_policies_work(features: dict[str, Any], container: Container) -> None:
    policy = features["linux"].get("memoryPolicy") or {}
    refused = []
    for mode in policy.get("modes") or ():
        container.linux["memoryPolicy"] = {"mode": mode}
        if mode not in ("MPOL_DEFAULT", "MPOL_LOCAL"):
            container.linux["memoryPolicy"]["nodes"] = "0"
        if container.run("true").code:
            refused.append(mode)
    for flag in policy.get("flags") or ():
        container.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}
        if container.run("true").code and flag != "MPOL_F_NUMA_BALANCING":  # not every kernel has it
            refused.append(flag)
    assert refused == []


@pytest.mark.must(140)
def test_listed_seccomp_words_are_known(features: dict[str, Any], container: Container) -> None:
    seccomp = features["linux"].get("seccomp", {})
    if not seccomp.get("enabled"):
        pytest.skip("no seccomp")
    argument = {"index": 0, "value": 7, "valueTwo": 7}
    rules = [{"names": ["acct"], "action": action} for action in seccomp["actions"]]
    rules += [
        {"names": ["acct"], "action": "SCMP_ACT_KILL", "args": [argument | {"op": op}]} for op in seccomp["operators"]
    ]
    refused = []
    for rule in rules:
        if rule["action"] not in ("SCMP_ACT_ALLOW", "SCMP_ACT_NOTIFY"):
            container.linux["seccomp"] = {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [rule],
            }
            if container.run("true").code:
                refused.append(rule)
    assert refused == []


@pytest.mark.must(141)
def test_annotations(features: dict[str, Any]) -> None:
    for key, value in features.get("annotations", {}).items():
        assert key and isinstance(value, str)


# The first version of the spec that has the property, where it is not the first that has the document.
PROPERTIES = {
    "ociVersionMin": "", "ociVersionMax": "", "hooks": "", "mountOptions": "", "annotations": "",
    "potentiallyUnsafeConfigAnnotations": "1.2.0",
    "linux.namespaces": "", "linux.capabilities": "",
    "linux.cgroup.v1": "", "linux.cgroup.v2": "", "linux.cgroup.systemd": "", "linux.cgroup.systemdUser": "",
    "linux.cgroup.rdma": "",
    "linux.seccomp.enabled": "", "linux.seccomp.actions": "", "linux.seccomp.operators": "",
    "linux.seccomp.archs": "", "linux.seccomp.knownFlags": "", "linux.seccomp.supportedFlags": "",
    "linux.apparmor.enabled": "", "linux.selinux.enabled": "", "linux.intelRdt.enabled": "",
    "linux.intelRdt.schemata": "1.3.0", "linux.intelRdt.monitoring": "1.3.0",
    "linux.mountExtensions.idmap.enabled": "1.2.0",
    "linux.memoryPolicy.modes": "1.3.0", "linux.memoryPolicy.flags": "1.3.0", "linux.netDevices.enabled": "1.3.0",
}  # fmt: skip


def properties(document: dict[str, Any], above: str = "") -> Iterator[str]:
    for key, value in document.items():
        if isinstance(value, dict) and key != "annotations":
            yield from properties(value, f"{above}{key}.")
        else:
            yield above + key


@pytest.mark.must(139)
def test_no_properties_of_other_versions(features: dict[str, Any]) -> None:
    newest = numbers(features["ociVersionMax"])
    unknown = [name for name in properties(features) if name not in PROPERTIES]
    later = [name for name in properties(features) if (since := PROPERTIES.get(name)) and numbers(since) > newest]
    assert (unknown, later) == ([], [])


# A list of the document, one of its words, the part of a config that uses it, and a program that tells whether it works
LISTS: dict[str, tuple[str, Callable[[Container], Any], str]] = {
    "hooks": ("prestart", lambda c: c.hook("prestart", f"echo ran > {c.rootfs}/seen"), "cat /seen"),
    "mountOptions": ("noexec", lambda c: c.mount("/tmp", "tmpfs", "tmpfs", "noexec"), "grep ' /tmp [^ ]*noexec' "),
    "linux.namespaces": ("uts", lambda c: c.config.update(hostname="elsewhere"), "hostname | grep elsewhere"),
    "linux.capabilities": ("CAP_KILL", lambda c: c.capabilities("CAP_KILL"), "grep 'CapBnd:.*0020$' "),
    "linux.seccomp.actions": ("SCMP_ACT_ERRNO", lambda c: deny(c), "! mkdir /tmp/x"),
    "linux.seccomp.operators": (
        "SCMP_CMP_EQ",
        lambda c: deny(c, args=[{"index": 0, "value": 0, "op": "SCMP_CMP_NE"}]),
        "! mkdir /tmp/x",
    ),
}


def deny(container: Container, **more: Any) -> None:
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", **more}
    container.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}


@pytest.mark.must(136)
@pytest.mark.parametrize("name", LISTS)
def test_empty_is_not_null(features: dict[str, Any], container: Container, name: str) -> None:
    """A list that is there, even an empty one, is all that can be had; one that is null or absent says nothing."""
    word, use, script = LISTS[name]
    node: Any = features
    for key in name.split("."):
        node = (node or {}).get(key)
    container.config["root"]["readonly"] = False
    use(container)
    files = {"mountOptions": "/proc/self/mountinfo", "linux.capabilities": "/proc/self/status"}
    works = container.run(script + files.get(name, "")).code == 0
    assert node is None or (word in node) is works


@pytest.mark.must(142)
def test_id_mapped_mounts(features: dict[str, Any], container: Container) -> None:
    """Said to be there where any of them are: these are the most common ones, of a container's own mappings."""
    container.user_namespace(100000, 65536)
    folder = container.path / "owned"
    folder.mkdir()
    os.chown(folder, 1000, 1000)
    entry = container.mount("/tmp", "bind", str(folder), "rbind", "idmap")
    for key in ("uidMappings", "gidMappings"):
        entry[key] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    works = container.run("stat -c %u /tmp").out == "1000\n"
    enabled = features["linux"].get("mountExtensions", {}).get("idmap", {}).get("enabled")
    assert enabled is None or enabled is works
