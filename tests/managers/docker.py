"""A dockerd of the tests' own, with the runtime as its default one."""

from __future__ import annotations

import json
import os
from pathlib import Path

from managers import CGROUPS, NAT, Client, Daemon

IMAGE = "local/busybox:latest"


class Docker(Client):
    seconds = 120

    def __init__(self, oci: str, kind: str, folder: Path, name: str = "docker", enter: tuple[str, ...] = ()) -> None:
        """enter: a command that runs another somewhere, such as in a network namespace."""
        self.folder = folder
        self.socket = folder / f"{name}.sock"
        settings = {
            # runc is a name that dockerd keeps for itself.
            "runtimes": {f"the-{kind}": {"path": oci}},
            "default-runtime": f"the-{kind}",
            "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1024, "Hard": 1024}},
            "data-root": f"/var/lib/docker/{name}",
            "exec-root": f"/run/{name}",
            "pidfile": f"/run/{name}.pid",
            "hosts": [f"unix://{self.socket}"],
            "exec-opts": [f"native.cgroupdriver={CGROUPS}"],
            "live-restore": False,
            # Docker 20.10 calls the second one experimental.
            **({} if NAT else {"iptables": False, "ip6tables": False}),
        }
        config = folder / f"{name}.json"
        config.write_text(json.dumps(settings))
        command = [*enter, "dockerd", "--config-file", config]
        self.daemon = Daemon(command, folder / f"{name}.log", self.socket, env={**os.environ, "DOCKER_RAMDISK": "1"})
        client = "/usr/bin/docker" if os.path.exists("/usr/bin/docker") else "docker"
        self.command = [client, "--host", f"unix://{self.socket}"]
