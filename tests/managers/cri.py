"""The Container Runtime Interface, as far as the tests speak it: what a kubelet says to containerd (CRI API v1).

Messages are dicts. A table per message says which field has which number; nothing is generated.
"""

from __future__ import annotations

import base64
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

# message: field -> (number, kind): "s" string or bytes, "i" integer, a message's name, "map", or "*" + kind repeated
MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Version": {"version": (1, "s"), "runtime_name": (2, "s"), "runtime_version": (3, "s")},
    "Metadata": {"name": (1, "s"), "uid": (2, "s"), "namespace": (3, "s"), "attempt": (4, "i")},
    "NamespaceOption": {"network": (1, "i"), "pid": (2, "i"), "ipc": (3, "i")},
    "SandboxSecurity": {"namespace_options": (1, "NamespaceOption")},
    "LinuxSandbox": {"cgroup_parent": (1, "s"), "security_context": (2, "SandboxSecurity"), "sysctls": (3, "map")},
    "Sandbox": {
        "metadata": (1, "Metadata"), "hostname": (2, "s"), "log_directory": (3, "s"), "labels": (6, "map"),
        "linux": (8, "LinuxSandbox"),
    },
    "RunPodSandbox": {"config": (1, "Sandbox"), "runtime_handler": (2, "s")},
    "SandboxId": {"id": (1, "s")},
    "Image": {"image": (1, "s")},
    "ContainerMetadata": {"name": (1, "s"), "attempt": (2, "i")},
    "KeyValue": {"key": (1, "s"), "value": (2, "s")},
    "Mount": {"container_path": (1, "s"), "host_path": (2, "s"), "readonly": (3, "i")},
    "Resources": {
        "cpu_period": (1, "i"), "cpu_quota": (2, "i"), "cpu_shares": (3, "i"), "memory_limit_in_bytes": (4, "i"),
        "oom_score_adj": (5, "i"),
    },
    "Capabilities": {"add": (1, "*s"), "drop": (2, "*s")},
    "Int64": {"value": (1, "i")},
    "ContainerSecurity": {
        "capabilities": (1, "Capabilities"), "privileged": (2, "i"), "namespace_options": (3, "NamespaceOption"),
        "run_as_user": (5, "Int64"), "readonly_rootfs": (7, "i"), "no_new_privs": (11, "i"),
    },
    "LinuxContainer": {"resources": (1, "Resources"), "security_context": (2, "ContainerSecurity")},
    "Container": {
        "metadata": (1, "ContainerMetadata"), "image": (2, "Image"), "command": (3, "*s"), "args": (4, "*s"),
        "working_dir": (5, "s"), "envs": (6, "*KeyValue"), "mounts": (7, "*Mount"), "log_path": (11, "s"),
        "stdin": (12, "i"), "tty": (14, "i"), "linux": (15, "LinuxContainer"),
    },
    "CreateContainer": {"pod_sandbox_id": (1, "s"), "config": (2, "Container"), "sandbox_config": (3, "Sandbox")},
    "Id": {"container_id": (1, "s"), "timeout": (2, "i")},
    "Status": {
        "id": (1, "s"), "state": (3, "i"), "exit_code": (7, "i"), "reason": (10, "s"), "message": (11, "s"),
    },
    "ContainerStatus": {"status": (1, "Status")},
    "ExecSync": {"container_id": (1, "s"), "cmd": (2, "*s"), "timeout": (3, "i")},
    "ExecResult": {"stdout": (1, "s"), "stderr": (2, "s"), "exit_code": (3, "i")},
    "Exec": {
        "container_id": (1, "s"), "cmd": (2, "*s"), "tty": (3, "i"), "stdin": (4, "i"), "stdout": (5, "i"),
        "stderr": (6, "i"),
    },
    "Url": {"url": (1, "s")},
    "Update": {"container_id": (1, "s"), "linux": (2, "Resources")},
    "UInt64": {"value": (1, "i")},
    "CpuUsage": {"timestamp": (1, "i"), "usage_core_nano_seconds": (2, "UInt64")},
    "MemoryUsage": {"timestamp": (1, "i"), "working_set_bytes": (2, "UInt64")},
    "Stats": {"cpu": (2, "CpuUsage"), "memory": (3, "MemoryUsage")},
    "ContainerStats": {"stats": (1, "Stats")},
    "Empty": {},
}  # fmt: skip

# call: (request, response)
CALLS = {
    "Version": ("Version", "Version"),
    "RunPodSandbox": ("RunPodSandbox", "SandboxId"),
    "StopPodSandbox": ("SandboxId", "Empty"),
    "RemovePodSandbox": ("SandboxId", "Empty"),
    "CreateContainer": ("CreateContainer", "Id"),
    "StartContainer": ("Id", "Empty"),
    "StopContainer": ("Id", "Empty"),
    "RemoveContainer": ("Id", "Empty"),
    "ContainerStatus": ("Id", "ContainerStatus"),
    "ExecSync": ("ExecSync", "ExecResult"),
    "Exec": ("Exec", "Url"),
    "UpdateContainerResources": ("Update", "Empty"),
    "ContainerStats": ("Id", "ContainerStats"),
}


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def encode(message: str, values: dict[str, Any]) -> bytes:
    out = b""
    for name, value in values.items():
        number, kind = MESSAGES[message][name]
        if kind == "map":
            items = [encode("KeyValue", {"key": k, "value": v}) for k, v in value.items()]
        elif kind == "i":
            out += _varint(number << 3) + _varint(int(value))
            continue
        else:
            each = value if kind[0] == "*" else [value]
            kind = kind.removeprefix("*")
            items = [v.encode() if kind == "s" else encode(kind, v) for v in each]
        for item in items:
            out += _varint(number << 3 | 2) + _varint(len(item)) + item
    return out


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = raw[at]
            at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    while at < len(raw):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        elif key & 7 == 2:
            size = varint()
            yield key >> 3, raw[at : at + size]
            at += size
        else:
            at += {1: 8, 5: 4}[key & 7]


def decode(message: str, raw: bytes) -> dict[str, Any]:
    """Fields that the table doesn't have are left out; absent ones too."""
    by_number = {number: (name, kind) for name, (number, kind) in MESSAGES[message].items()}
    found: dict[str, Any] = {}
    for number, value in _fields(raw):
        if number not in by_number:
            continue
        name, kind = by_number[number]
        if isinstance(value, int):
            found[name] = value - (1 << 64) if value >> 63 else value
        elif kind == "s":
            found[name] = value.decode(errors="replace")
        elif kind in MESSAGES:
            found[name] = decode(kind, value)
    return found


class Kubelet:
    def __init__(self, address: Path) -> None:
        self.channel = grpc.insecure_channel(f"unix://{address}")

    def __call__(self, name: str, **values: Any) -> dict[str, Any]:
        """Raises grpc.RpcError."""
        request, response = CALLS[name]
        call = self.channel.unary_unary(
            f"/runtime.v1.RuntimeService/{name}",
            request_serializer=lambda values: encode(request, values),
            response_deserializer=lambda raw: decode(response, raw),
        )
        answer: dict[str, Any] = call(values, timeout=60)
        return answer


def stream(url: str, typed: bytes = b"") -> tuple[bytes, bytes, str]:
    """Attach to a streaming exec as `kubectl exec` may, by WebSocket: (stdout, stderr, the status document)."""
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    connection = socket.create_connection((name, int(port)), timeout=30)
    key = base64.b64encode(os.urandom(16)).decode()
    headers = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Origin": f"http://{host}",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "v4.channel.k8s.io",
    }
    lines = [f"GET /{path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    connection.sendall("\r\n".join(lines).encode())
    file = connection.makefile("rb")
    assert b"101" in file.readline()
    while file.readline().strip():
        pass
    if typed:
        payload = b"\0" + typed
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        connection.sendall(bytes([0x82, 0x80 | len(payload)]) + mask + masked)
    channels = {1: b"", 2: b"", 3: b""}
    while head := file.read(2):
        size = head[1] & 127
        if size == 126:
            (size,) = struct.unpack(">H", file.read(2))
        payload = file.read(size)
        if head[0] & 15 == 8:
            break
        if head[0] & 15 in (0, 1, 2) and payload and payload[0] in channels:
            channels[payload[0]] += payload[1:]
    connection.close()
    return channels[1], channels[2], channels[3].decode()
