"""Kubernetes' way: a RuntimeClass handler of containerd's CRI plugin, driven as a kubelet drives it."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from containerd import IMAGE, Containerd
from cri import Kubelet, stream
from managers import CGROUPS, eventually, memory_limit

RUNNING, EXITED = 1, 2
PARENT = f"pyruncri{os.getpid()}.slice" if CGROUPS == "systemd" else f"/pyrun-cri-{os.getpid()}"
numbers = itertools.count()


@pytest.fixture(scope="module")
def kubelet(containerd: Containerd) -> Kubelet:
    made = Kubelet(containerd.address)
    assert eventually(lambda: bool(made("Version").get("runtime_name")))
    return made


class Pod:
    def __init__(self, kubelet: Kubelet, kind: str, logs: Path) -> None:
        self.kubelet = kubelet
        self.config = {
            "metadata": {"name": f"pod{next(numbers)}", "uid": str(next(numbers)), "namespace": "default"},
            "hostname": "podded",
            "log_directory": str(logs),
            "linux": {"cgroup_parent": PARENT},
        }
        self.id = kubelet("RunPodSandbox", config=self.config, runtime_handler=kind)["id"]

    def create(self, command: list[str], **more: Any) -> str:
        config = {
            "metadata": {"name": f"c{next(numbers)}"},
            "image": {"image": IMAGE},
            "command": command,
            "log_path": f"{next(numbers)}.log",
            **more,
        }
        call = self.kubelet("CreateContainer", pod_sandbox_id=self.id, config=config, sandbox_config=self.config)
        return str(call["container_id"])

    def run(self, command: list[str], **more: Any) -> str:
        container = self.create(command, **more)
        self.kubelet("StartContainer", container_id=container)
        return container

    def status(self, container: str) -> dict[str, Any]:
        found: dict[str, Any] = self.kubelet("ContainerStatus", container_id=container)["status"]
        return found

    def ends(self, container: str) -> int:
        assert eventually(lambda: self.status(container).get("state") == EXITED)
        return int(self.status(container).get("exit_code", 0))

    def sync(self, container: str, *command: str, timeout: int = 20) -> tuple[int, str, str]:
        done = self.kubelet("ExecSync", container_id=container, cmd=list(command), timeout=timeout)
        return done.get("exit_code", 0), done.get("stdout", ""), done.get("stderr", "")

    def close(self) -> None:
        self.kubelet("StopPodSandbox", id=self.id)
        self.kubelet("RemovePodSandbox", id=self.id)


@pytest.fixture
def pod(kubelet: Kubelet, kind: str, tmp_path: Path) -> Iterator[Pod]:
    made = Pod(kubelet, kind, tmp_path)
    yield made
    made.close()
    remove_parent()


def remove_parent() -> None:
    """Of the pods' cgroups, which are gone."""
    assert [path for path, _, _ in os.walk("/sys/fs/cgroup") if f"{PARENT}/" in path] == []
    for path in (*Path("/sys/fs/cgroup").glob(f"*{PARENT}"), *Path("/sys/fs/cgroup").glob(PARENT[1:])):
        with contextlib.suppress(FileNotFoundError):  # systemd takes a slice away by itself
            path.rmdir()  # a pod's parent is the kubelet's to make and to remove


def test_a_pod_and_a_container(pod: Pod, tmp_path: Path) -> None:
    container = pod.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert pod.ends(container) == 3
    [log] = tmp_path.glob("*.log")
    words = [line.split(" ", 3) for line in log.read_text().splitlines()]
    assert sorted((row[1], row[3]) for row in words) == [("stderr", "err"), ("stdout", "out")]


def test_exec_sync(pod: Pod) -> None:
    container = pod.run(["sleep", "1000"])
    assert pod.sync(container, "sh", "-c", "echo out; echo err >&2; exit 4") == (4, "out\n", "err\n")
    assert pod.sync(container, "hostname")[1] == "podded\n"


def test_a_probe_that_takes_too_long(pod: Pod) -> None:
    container = pod.run(["sleep", "1000"])
    with pytest.raises(grpc.RpcError, match=r"(?i)timeout|deadline"):
        pod.sync(container, "sleep", "1000", timeout=1)
    assert pod.sync(container, "echo", "well")[1] == "well\n"


def test_a_probe_that_is_not_there(pod: Pod) -> None:
    container = pod.run(["sleep", "1000"])
    with pytest.raises(grpc.RpcError, match=r"executable file not found|no such file"):
        pod.sync(container, "nowhere")


@pytest.mark.parametrize("tty", [False, True])
def test_streaming_exec(pod: Pod, tty: bool) -> None:
    container = pod.run(["sleep", "1000"])
    command = ["sh", "-c", "read x; echo got $x; test -t 1 && echo terminal; exit 5"]
    url = pod.kubelet("Exec", container_id=container, cmd=command, tty=tty, stdin=True, stdout=True, stderr=not tty)[
        "url"
    ]
    out, _, status = stream(url, typed=b"words\n")
    assert b"got words" in out
    assert (b"terminal" in out) == tty
    assert '"5"' in status


def test_stop_waits_and_then_kills(pod: Pod) -> None:
    container = pod.run(["sh", "-c", 'trap "" TERM; while :; do sleep 0.1; done'])
    pod.kubelet("StopContainer", container_id=container, timeout=1)
    assert pod.ends(container) == 137
    pod.kubelet("RemoveContainer", container_id=container)


def test_stop_of_one_that_listens(pod: Pod) -> None:
    container = pod.run(["sh", "-c", 'trap "exit 6" TERM; echo up; while :; do sleep 0.1; done'])
    assert eventually(lambda: pod.sync(container, "true")[0] == 0)
    pod.kubelet("StopContainer", container_id=container, timeout=20)
    assert pod.ends(container) == 6


def test_limits_and_update(pod: Pod) -> None:
    resources = {"memory_limit_in_bytes": 64 << 20, "cpu_shares": 512, "cpu_quota": 20000, "cpu_period": 100000}
    container = pod.run(["sleep", "1000"], linux={"resources": resources})
    assert memory_limit(container) == str(64 << 20)
    pod.kubelet("UpdateContainerResources", container_id=container, linux={"memory_limit_in_bytes": 96 << 20})
    assert memory_limit(container) == str(96 << 20)


def test_stats(pod: Pod) -> None:
    container = pod.run(["sleep", "1000"])

    def counted() -> bool:
        stats = pod.kubelet("ContainerStats", container_id=container).get("stats", {})
        return bool(stats.get("memory", {}).get("working_set_bytes", {}).get("value"))

    assert eventually(counted)


def test_out_of_memory(pod: Pod) -> None:
    resources = {"memory_limit_in_bytes": 16 << 20}
    hog = ["sh", "-c", "x=a; while :; do x=$x$x; done"]
    container = pod.run(hog, linux={"resources": resources})
    assert pod.ends(container) == 137
    # systemd removes an empty cgroup at once: containerd hears of the OOM killer first, or not, with runc too.
    assert pod.status(container)["reason"] in ("OOMKilled", *["Error"] * (CGROUPS == "systemd"))


@pytest.mark.parametrize(
    ("security", "script", "expected"),
    [
        ({"run_as_user": {"value": 1000}}, "id -u", "1000"),
        ({"readonly_rootfs": True}, "touch /x 2>/dev/null || echo refused", "refused"),
        ({"no_new_privs": True}, "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"),
        ({"capabilities": {"drop": ["ALL"]}}, "grep CapEff /proc/self/status", "CapEff:\t0000000000000000"),
    ],
    ids=str,
)
def test_security_contexts(pod: Pod, security: dict[str, Any], script: str, expected: str) -> None:
    container = pod.run(["sleep", "1000"], linux={"security_context": security})
    assert pod.sync(container, "sh", "-c", script)[1].strip() == expected


def test_two_containers_share_a_volume(pod: Pod, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    mounts = [{"container_path": "/data", "host_path": str(folder)}]
    writer = pod.run(["sh", "-c", "echo shared > /data/file"], mounts=mounts)
    assert pod.ends(writer) == 0
    reader = pod.run(["sleep", "1000"], mounts=[{**mounts[0], "readonly": True}])
    assert pod.sync(reader, "sh", "-c", "cat /data/file; touch /data/x || echo refused")[1] == "shared\nrefused\n"


def test_what_can_not_be_run(pod: Pod) -> None:
    container = pod.create(["/nowhere"])
    with pytest.raises(grpc.RpcError, match="no such file or directory"):
        pod.kubelet("StartContainer", container_id=container)


def test_restart_of_containerd(pod: Pod, containerd: Containerd) -> None:
    container = pod.run(["sleep", "1000"])
    containerd.daemon.stop()
    containerd.daemon.start()
    assert eventually(lambda: alive(pod, container))
    assert pod.sync(container, "echo", "still here")[1] == "still here\n"


def alive(pod: Pod, container: str) -> bool:
    try:
        return pod.status(container).get("state") == RUNNING
    except grpc.RpcError:
        return False
