"""Why a step mostly fails, and how that is mended, in plain words: a table, read from the top."""

from __future__ import annotations

from typing import NamedTuple


class Cause(NamedTuple):
    """pointer: what the error's begins with; call: its system call; errno: by name; word: what its text has. "": any.
    why, mend: what to tell."""

    pointer: str
    call: str
    errno: str
    word: str
    why: str
    mend: str


CAUSES = (
    Cause(
        "/process/args", "execve", "ENOENT", "",
        "The program is there, and what it is run by is not: the loader that its ELF header names, or the interpreter "
        "in a script's first line. A program built for another C library does this, and a script with carriage "
        "returns.",
        "Add the interpreter to the image, build the program for the image's C library or statically, or save the "
        "script with Unix line ends.",
    ),
    Cause(
        "/process/args", "", "ENOENT", "",
        "There is no such program in the image, or no directory of PATH has it.",
        "Look what the image has, or name the program by its whole path.",
    ),
    Cause(
        "/process/args", "", "EACCES", "",
        "The file may not be executed by the container's user: it lacks the execute bit, is a directory, lies on a "
        "mount with noexec, or a directory on the way may not be searched.",
        "chmod +x in the image, mount with exec, or run as another user.",
    ),
    Cause(
        "/process/args", "", "ENOEXEC", "",
        "The file is neither an executable of this machine nor a script with #! in its first line.",
        "Use an image of this architecture, or begin the script with #!/bin/sh.",
    ),
    Cause(
        "/process/args", "", "", "",
        "The container's program could not be executed.",
        "",
    ),
    Cause(
        "/process/cwd", "", "ENOENT", "",
        "The working directory is not in the image.",
        "Make it in the image, or choose one that is there.",
    ),
    Cause(
        "/process/cwd", "", "EACCES", "",
        "The container's user may not enter its working directory.",
        "Change its mode or its owner, or run as another user.",
    ),
    Cause(
        "/process/rlimits", "", "EPERM", "",
        "Nobody may raise a limit above the hard one that pyrun itself has, but with CAP_SYS_RESOURCE.",
        "Ask for no more than the hard limit, or raise it for the manager: LimitNOFILE= and the like of its unit.",
    ),
    Cause(
        "/process/capabilities", "", "EPERM", "",
        "A container is given no capability that pyrun has not itself.",
        "Ask for fewer, or run the manager with more.",
    ),
    Cause(
        "/process/user", "", "EINVAL", "",
        "The id is not mapped into the container's user namespace.",
        "Choose an id within uidMappings and gidMappings, or map more: /etc/subuid and /etc/subgid.",
    ),
    Cause(
        "/process/apparmorProfile", "", "", "",
        "The profile is not loaded, or this kernel has no AppArmor.",
        "Load it with apparmor_parser, or run without.",
    ),
    Cause(
        "/mounts", "", "ENOENT", "",
        "What is to be mounted is not on the host, or a directory on the way to it is not.",
        "Make it first, or correct the path.",
    ),
    Cause(
        "/mounts", "fsconfig", "EINVAL", "",
        "The file system does not know an option, or not with this value.",
        "Correct the option: what the kernel says names it.",
    ),
    Cause(
        "/mounts", "fsopen", "ENODEV", "",
        "This kernel has no such file system, or its module is not loaded.",
        "modprobe it, or see /proc/filesystems for what there is.",
    ),
    Cause(
        "/mounts", "", "ENOTDIR", "",
        "A directory is to be mounted on a file, or a file on a directory; or something on the way is a file.",
        "Mount a file on a file, and a directory on a directory.",
    ),
    Cause(
        "/mounts", "", "EPERM", "",
        "The kernel lets nobody without privilege over this file system mount it, or change flags that its owner has "
        "locked (mount_namespaces(7)).",
        "In a user namespace bind a directory instead, and keep the flags of the host's mount (nosuid, nodev, ro).",
    ),
    Cause(
        "/mounts", "", "EBUSY", "",
        "It is mounted already in another way, or a directory of the overlay is in use by another mount.",
        "Use other directories, or unmount what has them.",
    ),
    Cause(
        "/mounts", "", "ELOOP", "",
        "A symlink stands where none is followed: it could lead out of the container.",
        "Name the directory itself.",
    ),
    Cause(
        "/linux/resources/memory", "", "", "OOM",
        "The limit is too low even for what starts the container, and the OOM killer has ended it.",
        "Raise the limit: some hundred KiB is the least; a real program wants MiB.",
    ),
    Cause(
        "/linux/resources", "", "EBUSY", "",
        "The limit is below what is in use already, or processes sit where only cgroups may.",
        "Raise the limit; on cgroup v2 a cgroup with processes has no controllers for those below it.",
    ),
    Cause(
        "/linux/resources", "", "EINVAL", "",
        "The kernel takes no such value, or no such CPU, node or device is there.",
        "`pyrun check --host` says which.",
    ),
    Cause(
        "/linux/resources", "", "", "not enabled",
        "The controller is not handed down to this cgroup.",
        "As root: write it to cgroup.subtree_control above; for a user, Delegate= of systemd's user@.service.",
    ),
    Cause(
        "/linux/cgroupsPath", "", "EACCES", "",
        "This caller may not make cgroups there.",
        "Without root let systemd do it (--systemd-cgroup), or have a cgroup delegated.",
    ),
    Cause(
        "/linux/namespaces", "", "EPERM", "",
        "Making namespaces takes CAP_SYS_ADMIN, or a user namespace, which this host may forbid "
        "(kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns, user.max_user_namespaces).",
        "Add a user namespace (`pyrun spec --rootless` has one), or allow them: `pyrun doctor` says what is set here.",
    ),
    Cause(
        "/linux/namespaces", "", "ENOSPC", "",
        "There are as many namespaces as the host allows.",
        "Raise /proc/sys/user/max_*_namespaces, or remove containers.",
    ),
    Cause(
        "/linux/namespaces", "", "ENOENT", "",
        "The namespace that is to be joined is gone: its process or container has ended.",
        "Start that one first.",
    ),
    Cause(
        "/linux/uidMappings", "", "", "",
        "The ids can't be mapped for this caller.",
        "Give it a range in /etc/subuid and /etc/subgid, and install newuidmap and newgidmap.",
    ),
    Cause(
        "/linux/sysctl", "", "ENOENT", "",
        "This kernel has no such parameter, or a module that has it is not loaded.",
        "Correct the name, or modprobe the module.",
    ),
    Cause(
        "/linux/sysctl", "", "", "",
        "The parameter can't be set in this container's namespaces.",
        "Give the container the namespace that the parameter belongs to.",
    ),
    Cause(
        "/linux/seccomp", "", "EACCES", "",
        "Loading a filter takes CAP_SYS_ADMIN, or process.noNewPrivileges.",
        "Set noNewPrivileges.",
    ),
    Cause(
        "/linux/devices", "", "EPERM", "",
        "Making devices takes CAP_MKNOD on the host; in a user namespace they are bound instead.",
        "Remove the device, or bind it from the host's /dev by a mount.",
    ),
    Cause(
        "/hooks", "", "", "",
        "A hook failed, and with it what it was run for.",
        "Look at what it said; run it by hand with the container's state on its stdin.",
    ),
    Cause(
        "/root", "", "ENOENT", "",
        "The root file system is not where the config says.",
        "Unpack or mount it there first.",
    ),
)  # fmt: skip


def cause(pointer: str, call: str, errno: str, text: str) -> Cause | None:
    """The first row that fits. call: the system call with its operands; text: the error's line."""
    name = call.partition(" ")[0]
    for row in CAUSES:
        if (
            (pointer == row.pointer or pointer.startswith(f"{row.pointer}/"))
            and row.call in ("", name)
            and row.errno in ("", errno)
            and row.word in text
        ):
            return row
    return None
