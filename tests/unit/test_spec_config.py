from __future__ import annotations

import copy
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun.spec import config, strictjson
from pyrun.spec.example import example
from pyrun.spec.faults import Invalid


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def faults(raw: bytes) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as raised:
        config.load(raw)
    return [(fault.pointer, fault.problem) for fault in raised.value.faults]


def test_load_gives_what_is_written() -> None:
    assert config.load(encoded(example())) == example()


@pytest.mark.parametrize("raw", [b"[]", b"null", b"5", b'"x"'])
def test_the_document_must_be_an_object(raw: bytes) -> None:
    assert faults(raw)[0][1].startswith("must be an object, not ")


def test_nulls_are_taken_as_absent() -> None:
    document: Any = example()
    document["process"]["capabilities"] = None
    document["process"]["env"] = None
    document["hooks"] = {"poststop": None}
    document["linux"]["resources"] = {"devices": None}
    document["linux"]["seccomp"] = None
    document["mounts"][0]["options"] = None
    document["unknown"] = None
    loaded = config.load(encoded(document))
    assert "null" not in strictjson.dumps(loaded)
    assert loaded["hooks"] == {}
    assert loaded["linux"]["resources"] == {}
    assert "capabilities" not in loaded["process"]


def test_null_does_not_stand_in_for_what_is_required() -> None:
    assert faults(encoded(dict(example(), root=None))) == [("/root", "is required")]
    assert faults(encoded(dict(example(), ociVersion=None))) == [("/ociVersion", "is required")]


def test_null_in_an_array_is_a_fault() -> None:
    document: Any = example()
    document["process"]["args"] = ["sh", None]
    assert faults(encoded(document)) == [("/process/args/1", "must be a string, not null")]


def test_unknown_properties_are_ignored() -> None:
    """MUST 79."""
    document: Any = example()
    document["extra"] = {"a": [1, {"b": 1.5}]}
    document["linux"]["extra"] = document["mounts"][0]["extra"] = document["process"]["user"]["extra"] = "x"
    assert config.load(encoded(document))["extra"] == {"a": [1, {"b": 1.5}]}  # type: ignore[typeddict-item]


def test_all_faults_of_shape_at_once() -> None:
    document: Any = example()
    document["root"]["path"] = 5
    document["mounts"][2]["options"][1] = False
    del document["process"]["cwd"]
    assert set(faults(encoded(document))) == {
        ("/root/path", "must be a string, not 5"),
        ("/mounts/2/options/1", "must be a string, not false"),
        ("/process/cwd", "is required"),
    }


def test_all_faults_of_meaning_at_once() -> None:
    document: Any = example()
    document["process"]["cwd"] = "x"
    document["linux"]["maskedPaths"] = ["y"]
    assert [pointer for pointer, _ in faults(encoded(document))] == ["/process/cwd", "/linux/maskedPaths/0"]


def test_process_may_be_absent() -> None:
    document: Any = example()
    del document["process"]
    assert "process" not in config.load(encoded(document))


def test_load_process() -> None:
    assert config.load_process(b'{"args": ["true"], "cwd": "/", "user": null}') == {"args": ["true"], "cwd": "/"}
    with pytest.raises(Invalid) as raised:
        config.load_process(b'{"args": [], "cwd": "x"}')
    assert [(fault.pointer, fault.rule) for fault in raised.value.faults] == [("/cwd", "MUST 54"), ("/args", "MUST 55")]
    with pytest.raises(Invalid, match=r"^/cwd: is required$"):
        config.load_process(b'{"args": ["true"]}')


def test_load_resources() -> None:
    raw = b'{"memory": {"limit": 67108864, "swap": 134217728}, "cpu": {"shares": 512}, "devices": null}'
    assert config.load_resources(raw) == {
        "memory": {"limit": 67108864, "swap": 134217728},
        "cpu": {"shares": 512},
    }
    with pytest.raises(Invalid, match=r"^/cpu/burst: must be at most the quota, 5000, not 6000$"):
        config.load_resources(b'{"cpu": {"quota": 5000, "burst": 6000}}')
    with pytest.raises(Invalid, match=r"^/pids/limit: must be a whole number"):
        config.load_resources(b'{"pids": {"limit": "many"}}')


def test_deep_junk_is_refused_in_words() -> None:
    assert faults(b'{"x":' * 900 + b"1" + b"}" * 900) == [("", "nested too deep, the limit is 200")]


TEXT = strictjson.dumps(example())


@given(
    st.integers(0, len(TEXT)), st.integers(0, 12), st.text(max_size=6) | st.sampled_from(["null", "[]", "{}", '"":'])
)
def test_a_damaged_config_raises_nothing_but_invalid(start: int, length: int, patch: str) -> None:
    raw = (TEXT[:start] + patch + TEXT[start + length :]).encode("utf-8", "surrogatepass")
    try:
        config.load(raw)
    except Invalid as invalid:
        assert invalid.faults
        assert str(invalid).isprintable()


LEAVES = [None, True, 0, -1, 1 << 70, 0.5, "", "/", "a", "\n", "../x", [], {}, [None], {"": ""}, ["rbind"], ["idmap"]]


@given(st.data())
def test_a_changed_config_raises_nothing_but_invalid(data: st.DataObject) -> None:
    document: Any = example(rootless=True)
    for _ in range(data.draw(st.integers(1, 4))):
        spot = document
        while isinstance(spot, dict | list) and spot:
            key: Any = data.draw(st.sampled_from(sorted(spot) if isinstance(spot, dict) else range(len(spot))))
            if not isinstance(spot[key], dict | list) or not spot[key] or data.draw(st.integers(0, 3)) == 0:
                spot[key] = copy.deepcopy(data.draw(st.sampled_from(LEAVES)))
                break
            spot = spot[key]
    try:
        config.load(encoded(document))
    except Invalid as invalid:
        assert all(fault.pointer == "" or fault.pointer[0] == "/" for fault in invalid.faults)


# What the hot verbs may import: each of these costs nothing or little (a whole start has 10 ms).
BUILTIN = {"__future__", "_json", "posix"}


def test_a_good_config_loads_without_the_standard_library() -> None:
    code = (
        "import sys; sys.path[:] = [sys.argv[1], *sys.path]; before = set(sys.modules)\n"
        "from pyrun.spec import capabilities, config, devices, example, mount_options, namespaces, rlimits, signals\n"
        "raw = sys.argv[2].encode(); config.load(raw); config.load_process(sys.argv[3].encode())\n"
        "example.example(); mount_options.parse(['ro', 'mode=1']); signals.parse('KILL')\n"
        "print(*set(sys.modules) - before)"
    )
    lib = config.__file__.rpartition("/pyrun/")[0]
    command = [sys.executable, "-I", "-S", "-c", code, lib, TEXT, '{"args": ["a"], "cwd": "/"}']
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = {name for name in done.stdout.split() if not name.startswith("pyrun")}
    assert modules <= BUILTIN
    assert "pyrun.spec.wording" not in done.stdout
    assert "pyrun.spec.jsonfaults" not in done.stdout


def test_without_jsonschema_the_first_fault_is_told() -> None:
    code = (
        "import sys; sys.path[:] = [sys.argv[1], *sys.path]; sys.modules['jsonschema'] = None\n"
        "from pyrun.spec import config, faults\n"
        'try: config.load(b\'{"ociVersion": 1, "root": 2}\')\n'
        "except faults.Invalid as invalid: print(invalid)"
    )
    lib = config.__file__.rpartition("/pyrun/")[0]
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, lib], capture_output=True, text=True, check=True)
    assert done.stdout == "/ociVersion: must be a string, not 1\n"
