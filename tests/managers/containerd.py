"""A containerd of the tests' own."""

from __future__ import annotations

from pathlib import Path

from managers import CGROUPS, Client, Daemon

IMAGE = "docker.io/local/busybox:latest"
PAUSE = "docker.io/local/pause:latest"

CONFIG = """
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "ADDRESS"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "PAUSE"
restrict_oom_score_adj = true
disable_apparmor = true
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "KIND"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.KIND]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.KIND.options]
BinaryName = "PATH"
SystemdCgroup = SYSTEMD
[plugins."io.containerd.internal.v1.opt"]
path = "/run/containerd/opt"
"""

NETWORK = """
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
 {"type": "bridge", "bridge": "cri0", "isGateway": true, "ipam": {"type": "host-local", "subnet": "10.99.0.0/16"}}]}
"""


class Containerd(Client):
    def __init__(self, oci: str, kind: str, folder: Path) -> None:
        self.address = folder / "containerd.sock"
        config, by_systemd = CONFIG, str(CGROUPS == "systemd").lower()
        words = {"ADDRESS": str(self.address), "PAUSE": PAUSE, "KIND": kind, "PATH": oci, "SYSTEMD": by_systemd}
        for word, value in words.items():
            config = config.replace(word, value)
        (folder / "config.toml").write_text(config)
        networks = Path("/etc/cni/net.d")
        networks.mkdir(parents=True, exist_ok=True)
        (networks / "pods.conflist").write_text(NETWORK)
        self.daemon = Daemon(["containerd", "--config", folder / "config.toml"], folder / "log", self.address)
        self.command = ["ctr", "--address", self.address]
        self.flags = ["--runc-binary", oci]
