"""The features document (features.md), of runtimes that print one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conformance.harness import Container, Runtime


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
