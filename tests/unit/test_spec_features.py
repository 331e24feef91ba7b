from __future__ import annotations

from typing import Any

import pytest

from pyrun.spec import config, strictjson, wording
from pyrun.spec.example import example
from pyrun.spec.faults import Invalid
from pyrun.spec.features import features
from pyrun.spec.mount_options import OPTIONS

FULL = features(seccomp_flags=["SECCOMP_FILTER_FLAG_LOG"], annotations={"a": "b"}, unsafe_annotations=["z.", "bundle"])


@pytest.mark.parametrize("document", [features(), FULL])
def test_valid_by_the_schema(document: dict[str, Any]) -> None:
    assert wording.all_faults(document, "features") == []


def test_lists_the_tables() -> None:
    assert FULL["mountOptions"] == sorted(OPTIONS)
    assert FULL["linux"]["capabilities"][0] == "CAP_CHOWN"
    assert FULL["linux"]["namespaces"] == ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]
    assert FULL["hooks"][0] == "prestart"
    assert FULL["potentiallyUnsafeConfigAnnotations"] == ["bundle", "z."]


def test_without_seccomp() -> None:
    assert features()["linux"]["seccomp"] == {"enabled": False}


def test_supported_seccomp_flags_are_known_ones() -> None:
    seccomp = features(seccomp_flags=["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_NEW"])["linux"]["seccomp"]
    assert seccomp["supportedFlags"] == ["SECCOMP_FILTER_FLAG_TSYNC"]


def accepted(edit: dict[str, Any]) -> bool:
    document: Any = example()
    document.update(edit)
    try:
        config.load(strictjson.dumps(document).encode())
    except Invalid:
        return False
    return True


def test_what_is_listed_is_recognised() -> None:
    """MUST 137, 140."""
    linux, seccomp = FULL["linux"], FULL["linux"]["seccomp"]
    assert accepted({"ociVersion": FULL["ociVersionMin"]})
    assert accepted({"ociVersion": FULL["ociVersionMax"]})
    assert accepted({"hooks": {name: [{"path": "/x"}] for name in FULL["hooks"]}})
    for action in set(seccomp["actions"]) - {"SCMP_ACT_NOTIFY"}:
        assert accepted({"linux": linux_with(seccomp={"defaultAction": action})})
    for arch in seccomp["archs"]:
        assert accepted({"linux": linux_with(seccomp={"defaultAction": "SCMP_ACT_LOG", "architectures": [arch]})})
    for mode in linux["memoryPolicy"]["modes"]:
        nodes = "" if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") else "0"
        assert accepted({"linux": linux_with(memoryPolicy={"mode": mode, "nodes": nodes})})
    assert not accepted({"linux": linux_with(seccomp={"defaultAction": "SCMP_ACT_NONE"})})


def linux_with(**more: Any) -> dict[str, Any]:
    return {**example()["linux"], **more}
