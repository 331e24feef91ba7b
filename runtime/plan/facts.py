"""What a plan must know of the host and of the command line."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.runtime.executor.launch import Layout


class Facts:
    """
    layout      numbers of the descriptors that the program finds open: "fifo", "status", "preserved-N"
    bundle      absolute path of the bundle
    container   its id
    privileged  the runtime has the rights of the host's root
    capabilities  those that the runtime itself has, as bits: no others can be had without a user namespace
    cgroup_v2   the host's cgroups are unified
    cgroups     what to show of the cgroups inside: (name below /sys/fs/cgroup, mount point on the host, path of the
                container's cgroup below it), on v2 one row with name ""
    device_filter  eBPF for the container's cgroup on v2 (b"": none), and the cgroup's folder
    preserve    how many descriptors from 3 on belong to the container
    keyring     join a session keyring of the container's own
    pivot       pivot_root; otherwise MS_MOVE and chroot
    """

    __slots__ = (
        "bundle",
        "capabilities",
        "cgroup_directory",
        "cgroup_v2",
        "cgroups",
        "container",
        "device_filter",
        "keyring",
        "layout",
        "pivot",
        "preserve",
        "privileged",
    )

    def __init__(
        self,
        layout: Layout,
        bundle: str,
        container: str,
        *,
        privileged: bool = True,
        capabilities: int = (1 << 41) - 1,
        cgroup_v2: bool = True,
        cgroups: list[tuple[str, str, str]] | None = None,
        device_filter: bytes = b"",
        cgroup_directory: str = "",
        preserve: int = 0,
        keyring: bool = True,
        pivot: bool = True,
    ) -> None:
        self.layout = layout
        self.bundle = bundle
        self.container = container
        self.privileged = privileged
        self.capabilities = capabilities
        self.cgroup_v2 = cgroup_v2
        self.cgroups = cgroups or []
        self.device_filter = device_filter
        self.cgroup_directory = cgroup_directory
        self.preserve = preserve
        self.keyring = keyring
        self.pivot = pivot
