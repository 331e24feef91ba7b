"""The shape of Docker's default seccomp profile, as data: every call is allowed but those that reach the host, and some
are allowed by their arguments (Docker's documentation, "Seccomp security profiles")."""

from __future__ import annotations

import ctypes
from typing import Any

# Not allowed to a container without further capabilities.
DENIED = """
    _sysctl acct add_key bpf clock_adjtime clock_settime create_module delete_module finit_module fsconfig fsmount
    fsopen fspick get_kernel_syms get_mempolicy init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl
    kcmp kexec_file_load kexec_load keyctl lookup_dcookie mbind mount mount_setattr move_mount move_pages nfsservctl
    open_by_handle_at open_tree perf_event_open pivot_root process_vm_readv process_vm_writev ptrace query_module
    quotactl quotactl_fd reboot request_key set_mempolicy set_mempolicy_home_node setns settimeofday stime swapoff
    swapon sysfs syslog umount umount2 unshare uselib userfaultfd ustat vhangup vm86 vm86old
""".split()  # noqa: SIM905

# By their arguments, or with an errno of their own.
CONDITIONAL = ("clone", "clone3", "personality", "socket")
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_AF_VSOCK = 40
_ENOSYS = 38


def known() -> list[str]:
    """The names of all calls that libseccomp knows here."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_syscall_resolve_num_arch.restype = ctypes.c_char_p
    library.seccomp_arch_native.restype = ctypes.c_uint32
    native = library.seccomp_arch_native()
    names = (library.seccomp_syscall_resolve_num_arch(native, number) for number in range(600))
    return [name.decode() for name in names if name]


def profile() -> dict[str, Any]:
    allowed = [name for name in known() if name not in DENIED and name not in CONDITIONAL]
    masked = {"index": 0, "value": _NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    not_vsock = {"index": 0, "value": _AF_VSOCK, "op": "SCMP_CMP_NE"}
    personalities = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"],
        "syscalls": [
            {"names": allowed, "action": "SCMP_ACT_ALLOW"},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [masked]},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [not_vsock]},
            *(
                {
                    "names": ["personality"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}],
                }
                for value in personalities
            ),
        ],
    }
