"""All that can be said on the command line, as data: the fast parser reads it, and so does click for help.

An option is a row: (names, metavar, key, help). metavar "" makes it a switch, one that ends in "..." may be repeated.
Keys are what a command's module finds the value under: a switch that isn't given is False, one that may be repeated [],
any other "".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Option: TypeAlias = tuple[tuple[str, ...], str, str, str]

GLOBAL: tuple[Option, ...] = (
    (("--root",), "DIR", "root", "folder of the containers' states (default: /run/pyrun, or XDG_RUNTIME_DIR/pyrun)"),
    (("--log",), "FILE", "log", "append messages to FILE (default: stderr)"),
    (("--log-format",), "FORMAT", "log_format", "text or json"),
    (("--debug",), "", "debug", "say more, and show a traceback when pyrun itself fails"),
    (("--systemd-cgroup",), "", "systemd_cgroup", "let systemd make the cgroups"),
    (("--cgroup-manager",), "MANAGER", "cgroup_manager", "who makes the cgroups: cgroupfs, systemd or disabled"),
    (("--rootless",), "BOOL", "rootless", "true, false or auto: tolerate what only root may do to cgroups"),
    (("--version", "-v"), "", "version", "print the version"),
    (("--help", "-h"), "", "help", "print this"),
)

_BUNDLE: Option = (("--bundle", "-b"), "DIR", "bundle", "folder with config.json (default: the current one)")
_CREATE: tuple[Option, ...] = (
    _BUNDLE,
    (("--config", "-f"), "FILE", "config", "another file than BUNDLE/config.json"),
    (("--console-socket",), "SOCKET", "console_socket", "unix socket that gets the terminal's master"),
    (("--pid-file",), "FILE", "pid_file", "write the container's pid to FILE"),
    (("--pidfd-socket",), "SOCKET", "pidfd_socket", "unix socket that gets a pidfd of the container's init"),
    (("--no-pivot",), "", "no_pivot", "mount over / and chroot, where the host's root is an initramfs"),
    (("--no-new-keyring",), "", "no_new_keyring", "keep the caller's session keyring"),
    (("--preserve-fds",), "N", "preserve_fds", "give the container N more descriptors, from 3 on"),
)
_HELP: Option = (("--help", "-h"), "", "help", "print this")
_FORCE: Option = (("--force", "-f"), "", "force", "kill it first if it runs; remove what is broken")
_REGEX: Option = (("--regex", "-r"), "", "regex", "all containers whose id matches, ID being a regular expression")


class Command:
    """summary: one line. arguments: for usage texts; least, most: how many. options: rows. rest: options end at the
    first argument, what follows belongs to it."""

    __slots__ = ("arguments", "least", "most", "options", "rest", "summary")

    def __init__(
        self, summary: str, arguments: str, least: int, most: int, *options: Option, rest: bool = False
    ) -> None:
        self.summary = summary
        self.arguments = arguments
        self.least = least
        self.most = most
        self.options = (*options, _HELP)
        self.rest = rest


COMMANDS = {
    "create": Command("make a container that waits for start", "ID", 1, 1, *_CREATE),
    "start": Command("run the program of a created container", "ID", 1, 1),
    "run": Command(
        "create, start, wait and delete",
        "ID",
        1,
        1,
        *_CREATE,
        (("--detach", "-d"), "", "detach", "return once it is started"),
        (("--keep",), "", "keep", "don't delete it when it has ended"),
        (("--no-subreaper",), "", "no_subreaper", "leave orphans of the container to others"),
    ),
    "state": Command("print a container's state as JSON", "ID", 1, 1),
    "kill": Command(
        "send a signal (default SIGTERM)",
        "ID [SIGNAL]",
        1,
        2,
        (("--all", "-a"), "", "all", "to all processes of the container"),
        _REGEX,
    ),
    "delete": Command("remove a stopped container", "ID", 1, 1, _FORCE, _REGEX),
    "exec": Command(
        "run one more program in a container",
        "ID [COMMAND] [ARGS]...",
        1,
        1 << 16,
        (("--process", "-p"), "FILE", "process", "a process as in config.json, in place of COMMAND"),
        (("--tty", "-t"), "", "tty", "give it a terminal"),
        (("--console-socket",), "SOCKET", "console_socket", "unix socket that gets the terminal's master"),
        (("--detach", "-d"), "", "detach", "return once it runs"),
        (("--pid-file",), "FILE", "pid_file", "write its pid to FILE"),
        (("--user", "-u"), "UID[:GID]", "user", "run it as this user"),
        (("--additional-gids", "-g"), "GID...", "additional_gids", "one more group"),
        (("--cwd",), "DIR", "cwd", "its working directory"),
        (("--env", "-e"), "NAME=VALUE...", "env", "one more variable"),
        (("--cap", "-c"), "CAPABILITY...", "cap", "one more capability"),
        (("--no-new-privs",), "", "no_new_privs", "it can't gain privileges"),
        (("--preserve-fds",), "N", "preserve_fds", "give it N more descriptors, from 3 on"),
        (("--ignore-paused",), "", "ignore_paused", "in a paused container too, where it waits"),
        (("--apparmor",), "PROFILE", "apparmor", "its AppArmor profile"),
        (("--process-label",), "LABEL", "process_label", "its SELinux label"),
        (("--cgroup",), "[CONTROLLER:]PATH...", "cgroup", "in a cgroup below the container's"),
        (("--pidfd-socket",), "SOCKET", "pidfd_socket", "unix socket that gets a pidfd of it"),
        rest=True,
    ),
    "pause": Command("stop all processes of a container", "ID", 1, 1),
    "resume": Command("let the processes of a paused container run", "ID", 1, 1),
    "ps": Command(
        "list the processes of a container",
        "ID [ARGS]...",
        1,
        1 << 16,
        (("--format", "-f"), "FORMAT", "format", "table, or json: only pids"),
        rest=True,
    ),
    "events": Command(
        "print what a container uses, and when it runs out of memory",
        "ID",
        1,
        1,
        (("--interval",), "DURATION", "interval", "how often (default: 5s)"),
        (("--stats",), "", "stats", "once, and end"),
    ),
    "update": Command(
        "change the limits of a container",
        "ID",
        1,
        1,
        (("--resources", "-r"), "FILE", "resources", "all of them as in config.json, - for stdin; not the others then"),
        (("--blkio-weight",), "N", "blkio_weight", "share of block I/O, 10 to 1000"),
        (("--cpu-period",), "N", "cpu_period", "period of the quota, in µs"),
        (("--cpu-quota",), "N", "cpu_quota", "time on CPUs in a period, in µs; -1 for no limit"),
        (("--cpu-burst",), "N", "cpu_burst", "unused quota to be used later, in µs"),
        (("--cpu-share", "--cpu-shares"), "N", "cpu_share", "share of the CPUs"),
        (("--cpu-rt-period",), "N", "cpu_rt_period", "period of the real-time budget, in µs"),
        (("--cpu-rt-runtime",), "N", "cpu_rt_runtime", "real-time budget in a period, in µs"),
        (("--cpu-idle",), "N", "cpu_idle", "1: only when nothing else wants the CPUs"),
        (("--cpuset-cpus",), "LIST", "cpuset_cpus", "CPUs, such as 0-2,5"),
        (("--cpuset-mems",), "LIST", "cpuset_mems", "memory nodes"),
        (("--memory",), "BYTES", "memory", "limit; 64m and the like, -1 for none"),
        (("--memory-reservation",), "BYTES", "memory_reservation", "what is left to it under pressure"),
        (("--memory-swap",), "BYTES", "memory_swap", "limit of memory and swap together"),
        (("--kernel-memory",), "BYTES", "kernel_memory", "no kernel heeds it any more: a warning"),
        (("--kernel-memory-tcp",), "BYTES", "kernel_memory_tcp", "buffers of TCP, on cgroup v1"),
        (("--pids-limit",), "N", "pids_limit", "most processes; -1 for no limit"),
        (("--l3-cache-schema",), "TEXT", "l3_cache_schema", "line for the L3 cache, of intelRdt"),
        (("--mem-bw-schema",), "TEXT", "mem_bw_schema", "line for the memory bandwidth, of intelRdt"),
    ),
    "list": Command(
        "list the containers",
        "",
        0,
        0,
        (("--format", "-f"), "FORMAT", "format", "table or json"),
        (("--quiet", "-q"), "", "quiet", "print only ids"),
    ),
    "spec": Command(
        "write an example config.json",
        "",
        0,
        0,
        _BUNDLE,
        (("--rootless",), "", "rootless", "one that a user without privilege can run"),
    ),
    "features": Command("print what pyrun supports as JSON", "", 0, 0),
    "check": Command(
        "print all that is wrong with a bundle, and run nothing",
        "[BUNDLE]",
        0,
        1,
        _BUNDLE,
        (("--config", "-f"), "FILE", "config", "another file than BUNDLE/config.json"),
        (("--host",), "", "host", "also what this host can't do"),
        (("--json",), "", "json", "as JSON"),
    ),
    "plan": Command(
        "print the program a bundle compiles to, and run nothing",
        "[ID]",
        0,
        1,
        _BUNDLE,
        (("--config", "-f"), "FILE", "config", "another file than BUNDLE/config.json"),
        (("--format",), "FORMAT", "format", "text or json"),
    ),
    "trace": Command("run a container and print the time of each step", "ID", 1, 1, *_CREATE),
}
