"""A containerd of the tests' own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
[plugins."io.containerd.internal.v1.opt"]
path = "/run/containerd/opt"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "KIND"
"""

HANDLER = """
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.KIND]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.KIND.options]
BinaryName = "PATH"
SystemdCgroup = SYSTEMD
"""

NETWORK = """
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
 {"type": "bridge", "bridge": "cri0", "isGateway": true, "ipam": {"type": "host-local", "subnet": "10.99.0.0/16"}}]}
"""


class Containerd(Client):
    """runtimes: name of the handler -> path; ctr runs the first."""

    def __init__(self, runtimes: Mapping[str, str], folder: Path) -> None:
        self.address = folder / "containerd.sock"
        config = CONFIG.replace("ADDRESS", str(self.address)).replace("PAUSE", PAUSE)
        by_systemd = str(CGROUPS == "systemd").lower()
        for kind, path in runtimes.items():
            config += HANDLER.replace("PATH", path).replace("SYSTEMD", by_systemd).replace("KIND", kind)
        oci = next(iter(runtimes.values()))
        (folder / "config.toml").write_text(config.replace("KIND", next(iter(runtimes))))
        networks = Path("/etc/cni/net.d")
        networks.mkdir(parents=True, exist_ok=True)
        (networks / "pods.conflist").write_text(NETWORK)
        self.daemon = Daemon(["containerd", "--config", folder / "config.toml"], folder / "log", self.address)
        self.command = ["ctr", "--address", self.address]
        self.flags = ["--runc-binary", oci]

    @contextmanager
    def serving(self, archive: Callable[[str, list[str]], Path]) -> Iterator[Containerd]:
        """It runs, and has images, for ctr and for the CRI; archive: makes one."""
        self.daemon.start()
        try:
            self.ok("image", "import", archive(IMAGE, ["sh"]))
            self.ok("--namespace", "k8s.io", "image", "import", archive(IMAGE, ["sh"]))
            self.ok("--namespace", "k8s.io", "image", "import", archive(PAUSE, ["sleep", "100000"]))
            yield self
        finally:
            self.daemon.stop()
