"""What a plan must know of the host and of the command line."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.machine.launch import Layout


class Facts:
    """
    layout      numbers of the descriptors that the program finds open: "fifo", "status", "preserved-N"
    bundle      absolute path of the bundle
    container   its id
    privileged  the runtime has the rights of the host's root
    nested      … but only in a user namespace that the runtime itself is in
    capabilities  those that the runtime itself has, as bits: no others can be had without a user namespace
    links       what source a mount with copy-symlink has, if that is a link: number of the mount -> text of the link
    mount_label the SELinux label of the mounts; "" without one, and where SELinux isn't in force
    cgroup_v2   the host's cgroups are unified
    cgroups     what to show of the cgroups inside: (name below /sys/fs/cgroup, mount point on the host, path of the
                container's cgroup below it), on v2 one row with name ""
    unified_cgroup  the container's folder in the cgroup2 tree, also of a hybrid host; "" when there is none
    v1_cgroups  its folders in the hierarchies of v1
    cgroups_optional  not to be allowed into them is no error
    held        the executor is to wait until the runtime has put it into its cgroup (systemd)
    device_filter  eBPF for unified_cgroup on v2; b"" for none
    seccomp     the BPF program of linux.seccomp, b"" without one; seccomp_flags: for loading it
    preserve    how many descriptors from 3 on belong to the container
    keyring     join a session keyring of the container's own
    pivot       pivot_root; otherwise MS_MOVE and chroot
    procfs_takes_namespace  a procfs can be mounted for another pid namespace than that of who mounts it
    """

    __slots__ = (
        "bundle",
        "capabilities",
        "cgroup_v2",
        "cgroups",
        "cgroups_optional",
        "container",
        "device_filter",
        "held",
        "keyring",
        "layout",
        "links",
        "mount_label",
        "nested",
        "pivot",
        "preserve",
        "privileged",
        "procfs_takes_namespace",
        "seccomp",
        "seccomp_flags",
        "unified_cgroup",
        "v1_cgroups",
    )

    def __init__(
        self,
        layout: Layout,
        bundle: str,
        container: str,
        *,
        privileged: bool = True,
        nested: bool = False,
        capabilities: int = (1 << 41) - 1,
        cgroup_v2: bool = True,
        cgroups: list[tuple[str, str, str]] | None = None,
        held: bool = False,
        device_filter: bytes = b"",
        unified_cgroup: str = "",
        v1_cgroups: list[str] | None = None,
        cgroups_optional: bool = False,
        seccomp: bytes = b"",
        seccomp_flags: int = 0,
        preserve: int = 0,
        keyring: bool = True,
        pivot: bool = True,
        links: dict[int, str] | None = None,
        mount_label: str = "",
        procfs_takes_namespace: bool = True,
    ) -> None:
        self.layout = layout
        self.bundle = bundle
        self.container = container
        self.privileged = privileged
        self.nested = nested
        self.capabilities = capabilities
        self.cgroup_v2 = cgroup_v2
        self.cgroups = cgroups or []
        self.held = held
        self.device_filter = device_filter
        self.unified_cgroup = unified_cgroup
        self.v1_cgroups = v1_cgroups or []
        self.cgroups_optional = cgroups_optional
        self.seccomp = seccomp
        self.seccomp_flags = seccomp_flags
        self.preserve = preserve
        self.keyring = keyring
        self.pivot = pivot
        self.links = links or {}
        self.mount_label = mount_label
        self.procfs_takes_namespace = procfs_takes_namespace
