"""All that can be said on the command line, as data: the fast parser reads it, and so does click for help.

A command's module finds an option's value under its first name, with _ for -: a switch that isn't given is False, one
that may be repeated [], any other "" (cli/parse.py, Values).
"""

from __future__ import annotations

from pyrun.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal


class Option(Record):
    names: tuple[str, ...]
    kind: Literal["switch", "value", "repeated"]
    # What stands for the value in usage texts
    metavar: str = ""
    help: str
    key: str


def _option(kind: Literal["switch", "value", "repeated"], names: str, metavar: str, help: str) -> Option:  # noqa: A002
    first = names.partition(" ")[0]
    key = first.lstrip("-").replace("-", "_")
    return Option(names=tuple(names.split()), kind=kind, metavar=metavar, help=help, key=key)


def switch(names: str, help: str) -> Option:  # noqa: A002
    return _option("switch", names, "", help)


def value(names: str, metavar: str, help: str) -> Option:  # noqa: A002
    return _option("value", names, metavar, help)


def repeated(names: str, metavar: str, help: str) -> Option:  # noqa: A002
    return _option("repeated", names, metavar, help)


GLOBAL: tuple[Option, ...] = (
    value("--root", "DIR", "directory of the containers' states (default: /run/pyrun, or XDG_RUNTIME_DIR/pyrun)"),
    value("--log", "FILE", "append messages to FILE (default: stderr)"),
    value("--log-format", "FORMAT", "text or json"),
    switch("--debug", "say more, and show a traceback when pyrun itself fails"),
    switch("--systemd-cgroup", "let systemd make the cgroups"),
    value("--cgroup-manager", "MANAGER", "who makes the cgroups: cgroupfs, systemd or disabled"),
    value("--rootless", "BOOL", "true, false or auto: tolerate what only root may do to cgroups"),
    switch("--version -v", "print the version"),
    switch("--help -h", "print this"),
)

_BUNDLE: Option = value("--bundle -b", "DIR", "directory with config.json (default: the current one)")
_CREATE: tuple[Option, ...] = (
    _BUNDLE,
    value("--config -f", "FILE", "another file than BUNDLE/config.json"),
    value("--console-socket", "SOCKET", "unix socket that gets the terminal's master"),
    value("--pid-file", "FILE", "write the container's pid to FILE"),
    value("--pidfd-socket", "SOCKET", "unix socket that gets a pidfd of the container's init"),
    switch("--no-pivot", "mount over / and chroot, where the host's root is an initramfs"),
    switch("--no-new-keyring", "keep the caller's session keyring"),
    value("--preserve-fds", "N", "give the container N more descriptors, from 3 on"),
)
_HELP: Option = switch("--help -h", "print this")
_FORCE: Option = switch("--force -f", "kill it first if it runs; remove what is broken")
_REGEX: Option = switch("--regex -r", "all containers whose id matches, ID being a regular expression")


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
        switch("--detach -d", "return once it is started"),
        switch("--keep", "don't delete it when it has ended"),
        switch("--no-subreaper", "leave orphans of the container to others"),
    ),
    "state": Command("print a container's state as JSON", "ID", 1, 1),
    "kill": Command(
        "send a signal (default SIGTERM)",
        "ID [SIGNAL]",
        1,
        2,
        switch("--all -a", "to all processes of the container"),
        _REGEX,
    ),
    "delete": Command("remove a stopped container", "ID", 1, 1, _FORCE, _REGEX),
    "exec": Command(
        "run one more program in a container",
        "ID [COMMAND] [ARGS...]",
        1,
        1 << 16,
        value("--process -p", "FILE", "a process as in config.json, in place of COMMAND"),
        switch("--tty -t", "give it a terminal"),
        value("--console-socket", "SOCKET", "unix socket that gets the terminal's master"),
        switch("--detach -d", "return once it runs"),
        value("--pid-file", "FILE", "write its pid to FILE"),
        value("--user -u", "UID[:GID]", "run it as this user"),
        repeated("--additional-gids -g", "GID", "one more group"),
        value("--cwd", "DIR", "its working directory"),
        repeated("--env -e", "NAME=VALUE", "one more variable"),
        repeated("--cap -c", "CAPABILITY", "one more capability"),
        switch("--no-new-privs", "it can't gain privileges"),
        value("--preserve-fds", "N", "give it N more descriptors, from 3 on"),
        switch("--ignore-paused", "in a paused container too, where it waits"),
        value("--apparmor", "PROFILE", "its AppArmor profile"),
        value("--process-label", "LABEL", "its SELinux label"),
        repeated("--cgroup", "[CONTROLLER:]PATH", "in a cgroup below the container's"),
        value("--pidfd-socket", "SOCKET", "unix socket that gets a pidfd of it"),
        rest=True,
    ),
    "pause": Command("stop all processes of a container", "ID", 1, 1),
    "resume": Command("let the processes of a paused container run", "ID", 1, 1),
    "ps": Command(
        "list the processes of a container",
        "ID [ARGS...]",
        1,
        1 << 16,
        value("--format -f", "FORMAT", "table, or json: only pids"),
        rest=True,
    ),
    "events": Command(
        "print what a container uses, and when it runs out of memory",
        "ID",
        1,
        1,
        value("--interval", "DURATION", "how often (default: 5s)"),
        switch("--stats", "once, and end"),
    ),
    "update": Command(
        "change the limits of a container",
        "ID",
        1,
        1,
        value("--resources -r", "FILE", "all of them as in config.json, - for stdin; not the others then"),
        value("--blkio-weight", "N", "share of block I/O, 10 to 1000"),
        value("--cpu-period", "N", "period of the quota, in µs"),
        value("--cpu-quota", "N", "time on CPUs in a period, in µs; -1 for no limit"),
        value("--cpu-burst", "N", "unused quota to be used later, in µs"),
        value("--cpu-share --cpu-shares", "N", "share of the CPUs"),
        value("--cpu-rt-period", "N", "period of the real-time budget, in µs"),
        value("--cpu-rt-runtime", "N", "real-time budget in a period, in µs"),
        value("--cpu-idle", "N", "1: only when nothing else wants the CPUs"),
        value("--cpuset-cpus", "LIST", "CPUs, such as 0-2,5"),
        value("--cpuset-mems", "LIST", "memory nodes"),
        value("--memory", "BYTES", "limit; 64m and the like, -1 for none"),
        value("--memory-reservation", "BYTES", "what is left to it under pressure"),
        value("--memory-swap", "BYTES", "limit of memory and swap together"),
        value("--kernel-memory", "BYTES", "no kernel heeds it any more: a warning"),
        value("--kernel-memory-tcp", "BYTES", "buffers of TCP, on cgroup v1"),
        value("--pids-limit", "N", "most processes; -1 for no limit"),
        value("--l3-cache-schema", "TEXT", "line for the L3 cache, of intelRdt"),
        value("--mem-bw-schema", "TEXT", "line for the memory bandwidth, of intelRdt"),
    ),
    "list": Command(
        "list the containers",
        "",
        0,
        0,
        value("--format -f", "FORMAT", "table or json"),
        switch("--quiet -q", "print only ids"),
    ),
    "spec": Command(
        "write an example config.json",
        "",
        0,
        0,
        _BUNDLE,
        switch("--rootless", "one that a user without privilege can run"),
    ),
    "features": Command("print what pyrun supports as JSON", "", 0, 0),
    "check": Command(
        "print all that is wrong with a bundle, and run nothing",
        "[BUNDLE]",
        0,
        1,
        _BUNDLE,
        value("--config -f", "FILE", "another file than BUNDLE/config.json"),
        switch("--host", "also what this host can't do"),
        switch("--json", "as JSON"),
    ),
    "plan": Command(
        "print the program a bundle compiles to, and run nothing",
        "[ID]",
        0,
        1,
        _BUNDLE,
        value("--config -f", "FILE", "another file than BUNDLE/config.json"),
        value("--format", "FORMAT", "text or json"),
    ),
    "trace": Command("run a container and print the time of each step", "ID", 1, 1, *_CREATE),
}
