"""What a plan must know of the host and of the command line."""

from __future__ import annotations

from pyrun.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyrun.machine.launch import Layout


class Facts(Record):
    """Gathered by container/gather.py for create, and by container/joining.py for who joins."""

    # Numbers of the descriptors that the program finds open: "fifo", "status", "preserved-N"
    layout: Layout
    # Absolute path of the bundle
    bundle: str
    container: str
    # The runtime has the rights of the host's root
    privileged: bool = True
    # ... but only in a user namespace that the runtime itself is in
    nested: bool = False
    # Those that the runtime itself has, as bits: no others can be had without a user namespace
    capabilities: int = (1 << 41) - 1
    # What a mount with copy-symlink leads to, if its source is a symlink: number of the mount -> text of the symlink
    symlinks: Mapping[int, str] = {}
    # Where destinations of mounts lead by symlinks of the image whose target is missing: number of the mount -> path
    destinations: Mapping[int, str] = {}
    # The SELinux label of the mounts; "" without one, and where SELinux isn't in force
    mount_label: str = ""
    # ... and the option that it is given by
    mount_context: str = "context"
    # The caller's supplementary groups stay
    keep_groups: bool = False
    # The host's cgroups are unified
    cgroup_v2: bool = True
    # What to show of the cgroups inside: (name below /sys/fs/cgroup, mount point on the host, path of the container's
    # cgroup below it), on v2 one row with name ""
    cgroups: Sequence[tuple[str, str, str]] = ()
    # The container's directory in the cgroup2 tree, also of a hybrid host; "" when there is none
    unified_cgroup: str = ""
    # A cgroup in it in which the container's processes begin, so that it can hand out controllers itself; "" for none
    leaf: str = ""
    # Its directories in the hierarchies of v1
    v1_cgroups: Sequence[str] = ()
    # Not to be allowed into them is no error
    cgroups_optional: bool = False
    # The executor is to wait until the runtime has put it into its cgroup (systemd)
    held: bool = False
    # eBPF for unified_cgroup on v2; b"" for none
    device_filter: bytes = b""
    # ... which was there before the container, and will be after it
    cgroup_stays: bool = False
    # The BPF program of linux.seccomp, b"" without one, and the flags for loading it
    seccomp: bytes = b""
    seccomp_flags: int = 0
    # How many descriptors from 3 on belong to the container
    preserve: int = 0
    # Join a session keyring of the container's own
    keyring: bool = True
    # pivot_root; otherwise MS_MOVE and chroot
    pivot: bool = True
    # A procfs can be mounted for another pid namespace than that of who mounts it
    procfs_takes_namespace: bool = True
