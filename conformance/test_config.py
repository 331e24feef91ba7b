"""config.json as a document: JSON, versions, annotations, unknown and invalid properties."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conformance.harness import Container


def refused_as_written(container: Container, text: bytes) -> None:
    (container.path / "config.json").write_bytes(text)
    done = container.runtime("create", "--bundle", container.path, container.id)
    assert done.code != 0, done
    assert not container.exists()


@pytest.mark.must(8, 19)
@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"{}", b'{"ociVersion": "1.0.2",}'], ids=repr)
def test_no_config(container: Container, text: bytes) -> None:
    refused_as_written(container, text)


@pytest.mark.must(43)
@pytest.mark.parametrize("place", ["annotation", "environment"])
def test_not_utf_8(container: Container, place: str) -> None:
    if place == "annotation":
        container.config["annotations"] = {"com.example.key": "MARK"}
    else:
        container.process["env"].append("KEY=MARK")
    refused_as_written(container, json.dumps(container.config).encode().replace(b"MARK", b"\xff\xfe"))


@pytest.mark.must(43)
def test_other_encodings(container: Container) -> None:
    refused_as_written(container, json.dumps(container.config).encode("utf-16"))


@pytest.mark.must(43)
def test_utf_8(container: Container) -> None:
    container.process["env"].append("KEY=é€😀")
    (container.path / "config.json").write_text(json.dumps(container.config, ensure_ascii=False))
    container.sh('printf %s "$KEY"')
    assert container.run().out == "é€😀"


@pytest.mark.must(44)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"ociVersion"', '"ociVersion": "1.0.2", "ociVersion"'),
        ('"readonly"', '"readonly": false, "readonly"'),
        ('"cwd"', '"cwd": "/tmp", "cwd"'),
    ],
    ids=["ociVersion", "readonly", "cwd"],
)
def test_a_name_twice(container: Container, before: str, after: str) -> None:
    text = json.dumps(container.config)
    assert before in text
    refused_as_written(container, text.replace(before, after, 1).encode())


@pytest.mark.must(45)
@pytest.mark.parametrize("version", ["", "1", "1.0", "v1.0.2", "1.0.2.3", "01.0.2", "nonsense", 1, None], ids=repr)
def test_a_version_that_is_none(container: Container, version: Any) -> None:
    container.config["ociVersion"] = version
    container.refused()


@pytest.mark.must(45)
def test_no_version(container: Container) -> None:
    del container.config["ociVersion"]
    container.refused()


@pytest.mark.must(45)
@pytest.mark.parametrize("version", ["1.0.0", "1.0.1", "1.0.2", "1.0.2-dev", "1.0.2+build.1"])
def test_versions(container: Container, version: str) -> None:
    container.config["ociVersion"] = version
    assert container.sees("echo up") == "up"


@pytest.mark.must(45, 80)
def test_a_version_of_the_future(container: Container) -> None:
    container.config["ociVersion"] = "2.0.0"
    container.refused()


@pytest.mark.must(46)
def test_no_root(container: Container) -> None:
    del container.config["root"]
    container.refused()


@pytest.mark.must(76, 80)
@pytest.mark.parametrize("annotations", [{"": "value"}, {"key": 1}, {"key": None}, ["key"], "key"], ids=repr)
def test_annotations_that_are_none(container: Container, annotations: Any) -> None:
    container.config["annotations"] = annotations
    container.refused()


@pytest.mark.must(76, 78)
def test_annotations(container: Container) -> None:
    container.config["annotations"] = {"com.example.key": "value", "key": "", "org.example": "é"}
    assert container.sees("echo up") == "up"


@pytest.mark.must(79)
@pytest.mark.parametrize("place", ["", "process", "root", "linux", "mount", "resources"])
@pytest.mark.parametrize("value", ["text", 1, {"more": []}, None], ids=repr)
def test_unknown_properties(container: Container, place: str, value: Any) -> None:
    places = {
        "": container.config,
        "process": container.process,
        "root": container.config["root"],
        "linux": container.linux,
        "mount": container.config["mounts"][0],
        "resources": container.linux["resources"],
    }
    places[place]["unknownToAll"] = value
    done = container.run("echo up")
    assert (done.code, done.out) == (0, "up\n")


@pytest.mark.must(80)
@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        ("process", "args", "text"),
        ("process", "args", [1]),
        ("process", "env", {"A": "1"}),
        ("process", "noNewPrivileges", "yes"),
        ("process", "user", {"uid": -1, "gid": 0}),
        ("process", "user", {"uid": 1 << 32, "gid": 0}),
        ("process", "capabilities", ["CAP_KILL"]),
        ("root", "readonly", "no"),
        ("root", "path", 1),
        ("linux", "namespaces", [{"type": "nonsense"}]),
        ("linux", "namespaces", "pid"),
        ("linux", "rootfsPropagation", "nonsense"),
        ("linux", "devices", [{"path": "/dev/x", "type": "z", "major": 1, "minor": 3}]),
        ("linux", "devices", [{"path": "/dev/x", "type": "c", "major": "1", "minor": 3}]),
        ("linux", "resources", {"pids": {"limit": "many"}}),
        ("linux", "seccomp", {"defaultAction": "SCMP_ACT_NONSENSE"}),
        ("linux", "sysctl", {"net.ipv4.ip_forward": 1}),
        ("linux", "uidMappings", [{"containerID": 0, "hostID": 0, "size": "all"}]),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
def test_invalid_values(container: Container, place: str, key: str, value: Any) -> None:
    container.config[place][key] = value
    container.refused()
