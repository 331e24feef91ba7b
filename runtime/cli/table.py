"""All that can be said on the command line, as data: the fast parser reads it, and so does click for help.

A row is an option: its names, what stands for its value in usage texts ("": it is a switch; with "...": it may be
repeated), and what it is for. A command's module finds its value under the first name, with _ for -: a switch that
isn't given is False, one that may be repeated [], any other "" (cli/parse.py, Values).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Row: TypeAlias = tuple[str, str, str]


class Option:
    """A row, read."""

    __slots__ = ("help", "key", "kind", "metavar", "names")

    def __init__(self, row: Row) -> None:
        names, self.metavar, self.help = row
        self.names = names.split()
        self.key = self.names[0].lstrip("-").replace("-", "_")
        self.kind = "switch" if not self.metavar else "repeated" if self.metavar.endswith("...") else "value"


GLOBAL: tuple[Row, ...] = (
    ("--root", "DIR", "directory of the containers' states (default: /run/pyrun, or XDG_RUNTIME_DIR/pyrun)"),
    ("--log", "FILE", "append messages to FILE (default: stderr); journald:[NAME] and syslog:[NAME] are those daemons"),
    ("--log-format", "FORMAT", "text or json"),
    ("--log-level", "LEVEL", "error, warning, info or debug (default: warning, with --log error)"),
    ("--debug", "", "say more, and show a traceback when pyrun itself fails"),
    ("--systemd-cgroup", "", "let systemd make the cgroups"),
    ("--cgroup-manager", "MANAGER", "who makes the cgroups: cgroupfs, systemd or disabled"),
    ("--rootless", "BOOL", "true, false or auto: tolerate what only root may do to cgroups"),
    ("--criu", "PATH", "CRIU's executable, for checkpoint and restore"),
    ("--require", "POLICY", "refuse a config that breaks the rules in this file"),
    ("--no-record", "", "keep nothing of a failure for `pyrun explain`"),
    ("--version -v", "", "print the version"),
    ("--help -h", "", "print this"),
)

_BUNDLE: Row = ("--bundle -b", "DIR", "directory with config.json (default: the current one)")
_CONFIG: Row = ("--config -f", "FILE", "another file than BUNDLE/config.json")
_NO_PIVOT: Row = ("--no-pivot", "", "mount over / and chroot, where the host's root is an initramfs")
_TRACE: Row = (
    "--trace",
    "FILE",
    "write what was done and when: FILE.html, FILE.json (Perfetto), or a table (-: stderr)",
)
_NO_SUBREAPER: Row = ("--no-subreaper", "", "leave orphans of the container to others; create always does")
_NO_KEYRING: Row = ("--no-new-keyring", "", "keep the caller's session keyring")
_CREATE: tuple[Row, ...] = (
    _BUNDLE,
    _CONFIG,
    ("--console-socket", "SOCKET", "unix socket that gets the terminal's master"),
    ("--pid-file", "FILE", "write the container's pid to FILE"),
    ("--pidfd-socket", "SOCKET", "unix socket that gets a pidfd of the container's init"),
    _NO_PIVOT,
    _NO_KEYRING,
    ("--preserve-fds", "N", "give the container N more descriptors, from 3 on"),
    ("--expect-plan", "DIGEST", "refuse when the plan is another than that of this digest (pyrun plan --digest)"),
    _TRACE,
)
_RUN: tuple[Row, ...] = (
    *_CREATE,
    ("--detach -d", "", "return once it is started"),
    ("--keep", "", "don't delete it when it has ended"),
    ("--seccomp-record", "FILE", "write a seccomp profile that allows the calls it makes, and no others"),
    _NO_SUBREAPER,
)
_JSON: Row = ("--json", "", "as JSON")
_HELP: Row = ("--help -h", "", "print this")
_FORCE: Row = ("--force -f", "", "kill it first if it runs; remove what is broken")
_REGEX: Row = ("--regex -r", "", "all containers whose id matches, ID being a regular expression")


_IMAGE: tuple[Row, ...] = (
    ("--image-path", "DIR", "directory of the image (default: checkpoint, in the current one)"),
    ("--work-path", "DIR", "directory of CRIU's log (default: that of the image)"),
    ("--tcp-established", "", "TCP connections as well"),
    ("--ext-unix-sk", "", "unix sockets whose other end is outside"),
    ("--shell-job", "", "processes that share a terminal with the caller"),
    ("--file-locks", "", "locks of files"),
    ("--auto-dedup", "", "no page is kept twice"),
    ("--lazy-pages", "", "memory comes when it is asked for: by a page server"),
    ("--manage-cgroups-mode", "MODE", "cgroups of the image: soft (default), full, strict or ignore"),
    ("--network-lock", "METHOD", "how connections are held: iptables, nftables or skip"),
    ("--empty-ns", "TYPE...", "what is in namespaces of this type, network, is not in the image"),
)


class Command:
    """summary: one line. arguments: for usage texts; least, most: how many. options: rows. rest: options end at the
    first argument, what follows belongs to it."""

    __slots__ = ("arguments", "least", "most", "options", "rest", "summary")

    def __init__(self, summary: str, arguments: str, least: int, most: int, *options: Row, rest: bool = False) -> None:
        self.summary = summary
        self.arguments = arguments
        self.least = least
        self.most = most
        self.options = (*options, _HELP)
        self.rest = rest


COMMANDS = {
    "create": Command("make a container that waits for start", "ID", 1, 1, *_CREATE, _NO_SUBREAPER),
    "start": Command("run the program of a created container", "ID", 1, 1),
    "run": Command("create, start, wait and delete", "ID", 1, 1, *_RUN),
    "state": Command("print a container's state as JSON", "ID", 1, 1),
    "kill": Command(
        "send a signal (default SIGTERM)",
        "ID [SIGNAL]",
        1,
        2,
        ("--all -a", "", "to all processes of the container"),
        _REGEX,
    ),
    "delete": Command("remove a stopped container", "ID", 1, 1, _FORCE, _REGEX),
    "exec": Command(
        "run one more program in a container",
        "ID [COMMAND] [ARGS...]",
        1,
        1 << 16,
        ("--process -p", "FILE", "a process as in config.json, in place of COMMAND"),
        ("--tty -t", "", "give it a terminal"),
        ("--console-socket", "SOCKET", "unix socket that gets the terminal's master"),
        ("--detach -d", "", "return once it runs"),
        ("--pid-file", "FILE", "write its pid to FILE"),
        ("--user -u", "UID[:GID]", "run it as this user"),
        ("--additional-gids -g", "GID...", "one more group"),
        ("--cwd", "DIR", "its working directory"),
        ("--env -e", "NAME=VALUE...", "one more variable"),
        ("--cap -c", "CAPABILITY...", "one more capability"),
        ("--no-new-privs", "", "it can't gain privileges"),
        ("--preserve-fds", "N", "give it N more descriptors, from 3 on"),
        ("--ignore-paused", "", "in a paused container too, where it waits"),
        ("--apparmor", "PROFILE", "its AppArmor profile"),
        ("--process-label", "LABEL", "its SELinux label"),
        ("--cgroup", "[CONTROLLER:]PATH...", "in a cgroup below the container's"),
        ("--pidfd-socket", "SOCKET", "unix socket that gets a pidfd of it"),
        _TRACE,
        rest=True,
    ),
    "pause": Command("stop all processes of a container", "ID", 1, 1),
    "resume": Command("let the processes of a paused container run", "ID", 1, 1),
    "ps": Command(
        "list the processes of a container",
        "ID [ARGS...]",
        1,
        1 << 16,
        ("--format -f", "FORMAT", "table, or json: only pids"),
        rest=True,
    ),
    "events": Command(
        "print what a container uses, and when it runs out of memory",
        "[ID]",
        0,
        1,
        ("--interval", "DURATION", "how often (default: 5s)"),
        ("--stats", "", "once, and end"),
        ("--prometheus", "", "once, in Prometheus' text format; of all containers without ID"),
    ),
    "update": Command(
        "change the limits of a container",
        "ID",
        1,
        1,
        ("--resources -r", "FILE", "all of them as in config.json, - for stdin; not the others then"),
        ("--blkio-weight", "N", "share of block I/O, 10 to 1000"),
        ("--cpu-period", "N", "period of the quota, in µs"),
        ("--cpu-quota", "N", "time on CPUs in a period, in µs; -1 for no limit"),
        ("--cpu-burst", "N", "unused quota to be used later, in µs"),
        ("--cpu-share --cpu-shares", "N", "share of the CPUs"),
        ("--cpu-rt-period", "N", "period of the real-time budget, in µs"),
        ("--cpu-rt-runtime", "N", "real-time budget in a period, in µs"),
        ("--cpu-idle", "N", "1: only when nothing else wants the CPUs"),
        ("--cpuset-cpus", "LIST", "CPUs, such as 0-2,5"),
        ("--cpuset-mems", "LIST", "memory nodes"),
        ("--memory", "BYTES", "limit; 64m and the like, -1 for none"),
        ("--memory-reservation", "BYTES", "what is left to it under pressure"),
        ("--memory-swap", "BYTES", "limit of memory and swap together"),
        ("--kernel-memory", "BYTES", "no kernel heeds it any more: a warning"),
        ("--kernel-memory-tcp", "BYTES", "buffers of TCP, on cgroup v1"),
        ("--pids-limit", "N", "most processes; -1 for no limit"),
        ("--l3-cache-schema", "TEXT", "line for the L3 cache, of intelRdt"),
        ("--mem-bw-schema", "TEXT", "line for the memory bandwidth, of intelRdt"),
    ),
    "mounts": Command("add mounts to a container that runs, or remove some", "add|remove ID FILE", 3, 3),
    "list": Command(
        "list the containers",
        "",
        0,
        0,
        ("--format -f", "FORMAT", "table or json"),
        ("--quiet -q", "", "print only ids"),
        ("--watch -w", "", "print it again whenever it has changed, until interrupted"),
    ),
    "spec": Command(
        "write an example config.json",
        "",
        0,
        0,
        _BUNDLE,
        ("--file -f", "FILE", "write it there, in place of BUNDLE/config.json; -: to stdout"),
        ("--rootless", "", "one that a user without privilege can run"),
        ("--network", "", "with hooks that give it a network: a bridge, an address, NAT"),
    ),
    "hook": Command(
        "be a hook: give a container a network, log what becomes of it, or hold it to a policy",
        "network|log|policy [FILE]",
        1,
        2,
        ("--bridge", "NAME", "of the network (default: pyrun0)"),
        ("--subnet", "ADDRESS/BITS", "of the network (default: 10.87.0.0/16)"),
        ("--no-nat", "", "other networks are not reached"),
        ("--remove", "", "give the address back, as poststop hook"),
    ),
    "bundle": Command(
        "make a bundle of an image in a file",
        "IMAGE DIR [ARGS...]",
        0,
        1 << 16,
        ("--tty -t", "", "its program gets a terminal"),
        ("--copy", "", "the bundle has a copy of all, and shares no layers"),
        ("--layers", "STORE", "directory of shared layers (default: /var/lib/pyrun/layers)"),
        (
            "--signature",
            "FILE",
            "signed claim that the image is this one (podman push --sign-by, skopeo standalone-sign)",
        ),
        ("--keyring", "FILE", "OpenPGP keys that may have signed it"),
        ("--rm", "", "remove the bundle in DIR, and what was written to its root"),
        ("--mount", "", "mount the root of the bundle in DIR again, after a restart of the machine"),
        ("--prune", "", "remove layers that no bundle is made of"),
        rest=True,
    ),
    "doctor": Command("say what this host has for containers, and how to have more", "", 0, 0, _JSON),
    "info": Command("the same as doctor", "", 0, 0, _JSON),
    "features": Command("print what pyrun supports as JSON", "", 0, 0),
    "check": Command(
        "print all that is wrong with a bundle, and run nothing",
        "[BUNDLE]",
        0,
        1,
        _BUNDLE,
        _CONFIG,
        ("--host", "", "also what this host can't do"),
        ("--explain", "RULE", "say what a rule of the specification demands, such as MUST 54, and check nothing"),
        ("--json", "", "as JSON"),
    ),
    "minimize": Command(
        "find the capabilities that a bundle's program needs, by running it without each",
        "[BUNDLE]",
        0,
        1,
        _BUNDLE,
        ("--timeout", "DURATION", "how long a run may take (default: 1m)"),
        ("--json", "", "as JSON"),
    ),
    "plan": Command(
        "print the program a bundle compiles to, and run nothing",
        "[ID]",
        0,
        1,
        _BUNDLE,
        _CONFIG,
        ("--all", "", "each instruction, in place of a summary"),
        ("--json", "", "as JSON"),
        ("--format", "FORMAT", "text or json"),
        ("--diff", "OTHER", "what only one of the two does: another bundle, or another config.json of this one"),
        ("--digest", "", "print only the plan's digest, for create --expect-plan"),
        _NO_PIVOT,
        _NO_KEYRING,
    ),
    "prove": Command(
        "show that no path of a bundle's programs breaks a rule of security",
        "[BUNDLE]",
        0,
        1,
        _BUNDLE,
        _CONFIG,
        ("--json", "", "as JSON"),
    ),
    "explain": Command(
        "say why the last create, run, start or exec failed, and how to mend it",
        "[ID]",
        0,
        1,
        ("--list", "", "a line for each failure that is kept"),
        ("--forget", "", "remove what is kept"),
        ("--json", "", "as JSON"),
    ),
    "help": Command("print the help of pyrun, or of a command", "[COMMAND]", 0, 1),
    "version": Command("print the version", "", 0, 0),
    "completion": Command("print what makes a shell complete pyrun's command lines", "SHELL", 1, 1),
    "checkpoint": Command(
        "write a container's processes to files, by CRIU, and stop it",
        "ID",
        1,
        1,
        *_IMAGE,
        ("--tcp-skip-in-flight", "", "TCP connections that are being made are left out"),
        ("--parent-path", "DIR", "image of a pre-dump, relative to that of this one"),
        ("--leave-running", "", "it goes on"),
        ("--pre-dump", "", "only its memory, while it goes on: the checkpoint that follows is quicker"),
        ("--page-server", "ADDRESS:PORT", "where memory is sent, in place of a file"),
        ("--status-fd", "N", "descriptor that hears when lazy pages can be asked for"),
        ("--link-remap", "", "files that are open, and have no name any more"),
    ),
    "restore": Command(
        "make a container of an image of checkpoint's",
        "ID",
        1,
        1,
        *_IMAGE,
        _BUNDLE,
        _CONFIG,
        ("--detach -d", "", "return once it runs"),
        ("--keep", "", "don't delete it when it has ended"),
        ("--console-socket", "SOCKET", "unix socket that gets the terminal's master"),
        ("--pid-file", "FILE", "write the container's pid to FILE"),
        ("--tcp-close", "", "connections are closed, not taken up"),
        ("--lsm-profile", "TYPE:PROFILE", "label of the processes, as apparmor:NAME"),
        ("--lsm-mount-context", "CONTEXT", "SELinux label of mounts"),
        _NO_SUBREAPER,
        ("--no-pivot", "", "ignored: the root is as it was"),
    ),
    "seccomp": Command(
        "say what a bundle's profile makes of a system call, and why",
        "explain BUNDLE CALL [ARGS...]",
        3,
        9,
        _CONFIG,
    ),
    "trace": Command("run a container, and say what was done and when", "ID", 1, 1, *_RUN),
}
