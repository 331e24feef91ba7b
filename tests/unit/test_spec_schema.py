from __future__ import annotations

import ast
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pyrun.spec import checks, config, schema, strictjson, wording
from pyrun.spec.faults import Fault

MAPPINGS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
THROTTLE = [{"major": 8, "minor": 0, "rate": 1000}]
HOOKS = [{"path": "/bin/hook", "args": ["hook", "x"], "env": ["A=b"], "timeout": 5}]

# Every property of runtime-spec 1.3 for Linux, once.
WHOLE: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs", "readonly": True},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/data",
            "type": "none",
            "source": "/srv",
            "options": ["rbind", "ridmap", "ro"],
            "uidMappings": MAPPINGS,
            "gidMappings": MAPPINGS,
        },
    ],
    "process": {
        "terminal": True,
        "consoleSize": {"height": 24, "width": 80},
        "user": {"uid": 1, "gid": 2, "umask": 63, "additionalGids": [5, 6]},
        "args": ["sh", "-c", "true"],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "capabilities": {
            "bounding": ["CAP_KILL"],
            "effective": ["CAP_KILL"],
            "inheritable": [],
            "permitted": ["CAP_KILL"],
            "ambient": [],
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 18446744073709551615}],
        "noNewPrivileges": True,
        "apparmorProfile": "unconfined",
        "selinuxLabel": "a:b:c",
        "oomScoreAdj": -1000,
        "scheduler": {
            "policy": "SCHED_DEADLINE",
            "nice": 0,
            "priority": 0,
            "flags": ["SCHED_FLAG_RESET_ON_FORK"],
            "runtime": 10000000,
            "deadline": 20000000,
            "period": 20000000,
        },
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0", "final": "0-1"},
    },
    "hostname": "box",
    "domainname": "example.org",
    "hooks": {
        "prestart": HOOKS,
        "createRuntime": HOOKS,
        "createContainer": HOOKS,
        "startContainer": HOOKS,
        "poststart": HOOKS,
        "poststop": HOOKS,
    },
    "annotations": {"org.example.key": "value"},
    "linux": {
        "namespaces": [
            {"type": "pid", "path": "/proc/1/ns/pid"},
            *({"type": kind} for kind in ("network", "mount", "ipc", "uts", "user", "cgroup", "time")),
        ],
        "uidMappings": MAPPINGS,
        "gidMappings": MAPPINGS,
        "timeOffsets": {"monotonic": {"secs": -5, "nanosecs": 999999999}, "boottime": {"secs": 1}},
        "devices": [
            {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0},
            {"type": "p", "path": "/dev/pipe"},
        ],
        "netDevices": {"eth0": {"name": "c%d"}, "eth1": {}},
        "cgroupsPath": "/a/b",
        "resources": {
            "devices": [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": -1, "access": "rwm"}],
            "memory": {
                "limit": 1000000,
                "reservation": -1,
                "swap": 2000000,
                "kernel": -1,
                "kernelTCP": -1,
                "swappiness": 60,
                "disableOOMKiller": False,
                "useHierarchy": True,
                "checkBeforeUpdate": True,
            },
            "cpu": {
                "shares": 1024,
                "quota": 50000,
                "burst": 10000,
                "period": 100000,
                "realtimeRuntime": 0,
                "realtimePeriod": 1000000,
                "cpus": "0-1",
                "mems": "0",
                "idle": 0,
            },
            "pids": {"limit": 100},
            "blockIO": {
                "weight": 100,
                "leafWeight": 100,
                "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}],
                "throttleReadBpsDevice": THROTTLE,
                "throttleWriteBpsDevice": THROTTLE,
                "throttleReadIOPSDevice": THROTTLE,
                "throttleWriteIOPSDevice": THROTTLE,
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
            "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]},
            "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
            "unified": {"memory.high": "max"},
        },
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/run/s.sock",
            "listenerMetadata": "x",
            "syscalls": [
                {
                    "names": ["read", "write"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": 1,
                    "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}],
                }
            ],
        },
        "rootfsPropagation": "rslave",
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "mountLabel": "a:b:c",
        "intelRdt": {
            "closID": "guaranteed",
            "schemata": ["L3:0=f"],
            "l3CacheSchema": "L3:0=f",
            "memBwSchema": "MB:0=20",
            "enableMonitoring": True,
        },
        "personality": {"domain": "LINUX", "flags": []},
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
    },
}


def test_the_whole_specification_is_accepted() -> None:
    raw = strictjson.dumps(WHOLE).encode()
    assert config.load(raw) == WHOLE
    assert wording.all_faults(WHOLE, "config") == []
    assert checks.config_warnings(config.load(raw)) == []


def members(value: Any, part: dict[str, Any], at: str = "") -> list[str]:
    """The pointers of the members of WHOLE that the schema doesn't name."""
    if isinstance(value, dict):
        properties, rest = part.get("properties", {}), part.get("additionalProperties")
        unknown = [f"{at}/{name}" for name in value if name not in properties and rest is None]
        known = [(name, properties.get(name, rest)) for name in value if f"{at}/{name}" not in unknown]
        return unknown + [p for name, sub in known for p in members(value[name], sub, f"{at}/{name}")]
    if isinstance(value, list):
        return [p for i, member in enumerate(value) for p in members(member, part["items"], f"{at}/{i}")]
    return []


def test_the_schema_names_every_property() -> None:
    assert members(WHOLE, schema.load("config")) == []


def typed_dicts() -> dict[str, set[str]]:
    """The TypedDicts of config.py and their keys; they exist for mypy only, so that they are read off the source."""
    found = {}
    for node in ast.walk(ast.parse(Path(config.__file__).read_text())):
        if isinstance(node, ast.ClassDef):
            found[node.name] = {item.target.id for item in node.body if isinstance(item, ast.AnnAssign)}  # type: ignore[union-attr]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "TypedDict":
            found[node.args[0].value] = {key.value for key in node.args[1].keys}  # type: ignore[attr-defined]
    return found


TYPES = {
    "Config": "",
    "Root": "/root",
    "Mount": "/mounts/1",
    "IDMapping": "/linux/uidMappings/0",
    "Process": "/process",
    "Box": "/process/consoleSize",
    "User": "/process/user",
    "Capabilities": "/process/capabilities",
    "Rlimit": "/process/rlimits/0",
    "Scheduler": "/process/scheduler",
    "IOPriority": "/process/ioPriority",
    "ExecCPUAffinity": "/process/execCPUAffinity",
    "Hooks": "/hooks",
    "Hook": "/hooks/prestart/0",
    "Linux": "/linux",
    "Namespace": "/linux/namespaces/0",
    "TimeOffset": "/linux/timeOffsets/monotonic",
    "Device": "/linux/devices/0",
    "NetDevice": "/linux/netDevices/eth0",
    "Resources": "/linux/resources",
    "DeviceRule": "/linux/resources/devices/1",
    "Memory": "/linux/resources/memory",
    "CPU": "/linux/resources/cpu",
    "Pids": "/linux/resources/pids",
    "BlockIO": "/linux/resources/blockIO",
    "WeightDevice": "/linux/resources/blockIO/weightDevice/0",
    "ThrottleDevice": "/linux/resources/blockIO/throttleReadBpsDevice/0",
    "HugepageLimit": "/linux/resources/hugepageLimits/0",
    "Network": "/linux/resources/network",
    "InterfacePriority": "/linux/resources/network/priorities/0",
    "Rdma": "/linux/resources/rdma/mlx5_1",
    "Seccomp": "/linux/seccomp",
    "Syscall": "/linux/seccomp/syscalls/0",
    "SyscallArg": "/linux/seccomp/syscalls/0/args/0",
    "IntelRdt": "/linux/intelRdt",
    "Personality": "/linux/personality",
    "MemoryPolicy": "/linux/memoryPolicy",
}


def at(pointer: str) -> Any:
    value: Any = WHOLE
    for token in pointer.split("/")[1:]:
        value = value[int(token)] if isinstance(value, list) else value[token]
    return value


def test_the_types_have_the_properties_of_the_schema() -> None:
    assert typed_dicts() == {name: set(at(pointer)) for name, pointer in TYPES.items()}


@pytest.mark.parametrize("name", ["config", "state", "features"])
def test_schemas_keep_to_what_the_fast_judge_knows(name: str) -> None:
    document = strictjson.loads(schema.read(name))
    Draft202012Validator.check_schema(document)
    todo, keywords = [document], set()
    while todo:
        node = todo.pop()
        keywords.update(node)
        todo += [*node.get("properties", {}).values(), *node.get("$defs", {}).values()]
        todo += [node[keyword] for keyword in ("items", "additionalProperties") if keyword in node]
        assert len({"type", "enum", "$ref"} & set(node)) == 1, node
        assert all(type(choice) is str for choice in node.get("enum", ()))
        assert node.get("type") != "array" or "items" in node
    assert keywords <= {*schema.ASSERTIONS, *schema.ANNOTATIONS}


@pytest.mark.parametrize(
    ("edit", "pointer", "problem"),
    [
        ({"process": {"args": ["a", 5]}}, "/process/args/1", "must be a string, not 5"),
        ({"mounts": {}}, "/mounts", "must be an array, not an object"),
        ({"process": {"terminal": 1}}, "/process/terminal", "must be true or false, not 1"),
        ({"process": {"user": {"uid": True}}}, "/process/user/uid", "must be a whole number, not true"),
        ({"process": {"user": {"uid": 1.0}}}, "/process/user/uid", "must be a whole number, not 1.0"),
        ({"process": {"user": {"gid": -1}}}, "/process/user/gid", "must be at least 0, not -1"),
        ({"process": {"user": {"gid": 1 << 32}}}, "/process/user/gid", "must be at most 4294967295, not 4294967296"),
        ({"root": {"path": ""}}, "/root/path", "must not be empty"),
        ({"root": {}}, "/root/path", "is required"),
        ({"annotations": {"a/b": 1}}, "/annotations/a~1b", "must be a string, not 1"),
        (
            {"linux": {"personality": {"domain": "BSD"}}},
            "/linux/personality/domain",
            'must be one of LINUX, LINUX32, not "BSD"',
        ),
        ({"linux": {"rootfsPropagation": 1}}, "/linux/rootfsPropagation", None),
        ({"linux": {"namespaces": [{"path": "/x"}]}}, "/linux/namespaces/0/type", "is required"),
        ({"linux": {"seccomp": {"syscalls": []}}}, "/linux/seccomp/defaultAction", "is required"),
    ],
)
def test_both_find_the_fault(edit: dict[str, Any], pointer: str, problem: str | None) -> None:
    document = {"ociVersion": "1.0.0", "root": {"path": "/"}, **edit}
    if "process" in document:
        document["process"]["cwd"] = "/"
    fault = schema.first_fault(document, schema.load("config"))
    assert fault is not None
    assert fault.pointer == pointer
    assert problem is None or fault.problem == problem
    assert wording.all_faults(document, "config") == [fault]


def test_all_faults_come_in_the_order_of_the_document() -> None:
    document = {"root": {}, "mounts": [{"destination": 1}, {"options": ["a", 2]}], "hostname": 3}
    assert [(fault.pointer, fault.problem) for fault in wording.all_faults(document, "config")] == [
        ("/ociVersion", "is required"),
        ("/root/path", "is required"),
        ("/mounts/0/destination", "must be a string, not 1"),
        ("/mounts/1/destination", "is required"),
        ("/mounts/1/options/1", "must be a string, not 2"),
        ("/hostname", "must be a string, not 3"),
    ]


@pytest.mark.parametrize(("part", "value"), [("process", {"cwd": 1}), ("resources", {"pids": {"limit": "x"}})])
def test_parts(part: str, value: dict[str, Any]) -> None:
    fault = schema.first_fault(value, schema.load("config", part))
    assert fault is not None
    assert wording.all_faults(value, "config", part) == [fault]


def spots(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below the value."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        pairs = [(value, key) for key in value]
    elif isinstance(value, list):
        pairs = [(value, i) for i in range(len(value))]
    return pairs + [pair for container, key in pairs for pair in spots(container[key])]


JUNK: st.SearchStrategy[Any] = (
    st.sampled_from([None, True, False, "", "/", "x", 0, 1, -1, 1.0, 1.5, {}, [], [1], ["a"], [[]], {"a": 1}, [{}]])
    | st.integers(-(2**65), 2**65)
    | st.sampled_from([2**bits + plus for bits in (16, 31, 32, 63, 64) for plus in (-1, 0)])
    | st.sampled_from(["SCMP_ACT_KILL", "user", "c", "LINUX", "slave"])
)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    document = json.loads(strictjson.dumps(WHOLE))
    for _ in range(draw(st.integers(1, 3))):
        places = spots(document)
        container, key = places[draw(st.integers(0, len(places) - 1))]
        action = draw(st.sampled_from(["replace", "delete", "add"]))
        if action == "replace":
            container[key] = copy.deepcopy(draw(JUNK))
        elif action == "delete":
            del container[key]
        elif isinstance(container, list):
            container.append(copy.deepcopy(draw(JUNK)))
        else:
            container[draw(st.sampled_from(["extra", "type", "path", "a/b~c"]))] = copy.deepcopy(draw(JUNK))
    return document


@given(mutated())
def test_the_fast_judge_and_jsonschema_agree(document: Any) -> None:
    fault = schema.first_fault(document, schema.load("config"))
    found = wording.all_faults(document, "config")
    assert (fault is None) == (found == [])
    assert fault is None or fault in found


@given(JUNK)
def test_they_agree_on_the_whole_document_too(document: Any) -> None:
    fault = schema.first_fault(document, schema.load("config"))
    assert (fault is None) == (wording.all_faults(document, "config") == [])
    assert isinstance(fault, Fault)
